"""A study: balanced pairs of one class, pictures that tell nothing, a key bound to its page, bad input in one line."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from reader_study.helpers import SPEC, images_of, page_data, real_of

from lightning_distill.reader_study import build_study, check_page, read_key
from lightning_distill.reader_study.page import render_page
from lightning_distill.reader_study.pictures import png_uri, to_pictures
from lightning_distill.reader_study.selection import select_images


def png_of(uri):
    return base64.b64decode(uri.removeprefix("data:image/png;base64,"))


def chunks_of(png):
    """Types of the chunks of a PNG file, read by hand."""
    position, names = 8, []
    while position < len(png):
        length = int.from_bytes(png[position : position + 4], "big")
        names.append(png[position + 4 : position + 8].decode())
        position += 12 + length
    return names


def test_the_page_shows_exactly_the_pixels_of_the_key(make_study):
    folder, key = make_study(sets=("A", "B"))
    shown = page_data(folder)
    real, _ = real_of(200)
    sets = {"A": images_of(60, seed=0), "B": images_of(60, seed=1)}
    for name, facts in key.images.items():
        picture = np.asarray(Image.open(io.BytesIO(png_of(shown["images"][name]))))
        source = sets[facts["set"]].pixels.numpy() if facts["truth"] == "synthetic" else real
        np.testing.assert_array_equal(picture, source[facts["row"], 0])


def test_half_of_the_images_of_each_set_and_class_are_real_and_none_comes_twice(make_study):
    _, key = make_study(sets=("A", "B"), items=10)
    facts = [tuple(entry[name] for name in ("set", "class", "truth")) for entry in key.images.values()]
    assert set(Counter(facts).values()) == {5}
    assert len(facts) == 40
    rows = [(e["truth"], e["set"] if e["truth"] == "synthetic" else "", e["row"]) for e in key.images.values()]
    assert len(set(rows)) == len(rows)


def test_pictures_are_of_one_length_without_metadata_and_identifiers_follow_no_seed(make_study):
    folder, key = make_study()
    shown = page_data(folder)
    files = [png_of(uri) for uri in shown["images"].values()]
    assert len({len(file) for file in files}) == 1
    assert {tuple(chunks_of(file)) for file in files} == {("IHDR", "IDAT", "IEND")}
    _, other = make_study("other")  # the same seed
    assert not set(key.images) & set(other.images)
    assert sorted(e["row"] for e in key.images.values()) == sorted(e["row"] for e in other.images.values())
    assert [trial["id"] for trial in shown["trials"]] == sorted(key.trials)
    text = json.dumps({name: value for name, value in shown.items() if name != "practice"})
    assert "synthetic" not in text, "the truth is in the key alone"
    assert "malignant" not in text


def test_the_page_allows_its_own_script_and_style_alone_and_names_no_address(make_study):
    text = (make_study()[0] / "study.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    script, style = (re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1] for tag in ("script", "style"))
    for name, source in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert rules.pop(name) == f"'sha256-{digest}'"
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    assert not re.search(r"https?:|//\w+\.|@import|url\(", text.replace(script, script.replace("//", "")))
    assert "images of patients are patients' data" in " ".join(text.split())


def test_names_of_data_are_text_and_no_markup():
    spec = dataclasses.replace(SPEC, name="</script><script>alert(1)</script>")
    study = build_study({"A": images_of(20, spec)}, real_of(60), spec, split="test", items=3)
    text = render_page(study.page)
    assert "<script>alert" not in text
    block = text.split('type="application/json">')[1].split("</script>")[0]
    assert json.loads(block) == study.page


def test_practice_images_are_none_of_the_study_and_are_answered_rightly(make_study):
    folder, key = make_study(practice=5)
    shown = page_data(folder)
    assert len(shown["practice"]) == 5
    practised = {name for trial in shown["practice"] for name in trial["images"]}
    assert not practised & set(key.images)
    real = real_of(200)[0][:, 0]
    for trial in shown["practice"]:
        picture = np.asarray(Image.open(io.BytesIO(png_of(shown["images"][trial["images"][0]]))))
        assert (real == picture).all((1, 2)).any() == (trial["answer"] == "real")


def test_pairs_hold_a_synthetic_and_a_real_image_of_one_class_in_an_order_that_tells_nothing(make_study):
    _, key = make_study(design="pairs", items=40, repeats=0)
    first = Counter()
    for trial, ids in key.trials.items():
        one, other = (key.images[name] for name in ids)
        assert {one["truth"], other["truth"]} == {"real", "synthetic"}
        assert one["class"] == other["class"]
        assert key.right_answer(trial) in ids
        assert list(ids) == sorted(ids)
        first[one["truth"]] += 1
    assert min(first.values()) >= 5  # of 40; fewer once in five million runs


def test_the_selection_follows_the_seed():
    sets = {"A": images_of(60)}
    one, same, other = (select_images(sets, real_of(200), SPEC, 10, 4, seed).study for seed in (0, 0, 1))
    rows = [[(pair.synthetic.row, pair.real.row) for pair in pairs] for pairs in (one, same, other)]
    assert rows[0] == rows[1] != rows[2]


def test_sub_images_are_decoded():
    stored = dataclasses.replace(images_of(4), formation=2)
    chosen = select_images({"A": stored}, real_of(200), SPEC, 16, 0)
    decoded = to_pictures(stored.decode().pixels, SPEC)
    assert len(chosen.study) == 16
    for pair in chosen.study:
        np.testing.assert_array_equal(pair.synthetic.picture, decoded[pair.synthetic.row])


def test_multi_label_images_get_partners_of_the_same_combination():
    combinations = ((0, 0, 0), (1, 0, 0), (1, 0, 1))
    spec = dataclasses.replace(
        SPEC, class_names=("edema", "mass", "nodule"), task="multi-label", combinations=combinations
    )
    labels = torch.arange(30) % 3
    real_labels = np.array([combinations[row % 3] if row % 4 else (0, 1, 0) for row in range(200)])
    made = build_study(
        {"A": images_of(30, spec, labels=labels)}, (real_of(200)[0], real_labels), spec, split="test", items=9
    )
    facts = made.key["images"].values()
    assert Counter(e["class"] for e in facts) == {"none": 6, "edema": 6, "edema + nodule": 6}
    for entry in facts:
        row = entry["row"]
        label = combinations[int(labels[row])] if entry["truth"] == "synthetic" else tuple(real_labels[row])
        assert entry["class"] == (
            " + ".join(n for n, has in zip(spec.class_names, label, strict=True) if has) or "none"
        )


def test_colour_and_float_images_are_shown_by_one_rule():
    spec = dataclasses.replace(SPEC, shape=(3, 4, 5), min_value=-2.0, max_value=2.0, storage_dtype="float16")
    pixels = torch.tensor([-3.0, -2.0, 0.0, 2.0, 9.0]).expand(1, 3, 4, 5)
    (picture,) = to_pictures(pixels, spec)
    assert picture.shape == (4, 5, 3)
    assert picture[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert Image.open(io.BytesIO(png_of(png_uri(picture)))).mode == "RGB"


def test_a_changed_key_and_a_changed_or_short_page_are_refused(make_study):
    folder, key = make_study()
    assert check_page(folder / "study.html", key)
    assert not check_page(folder / "none.html", key)
    state = json.loads((folder / "key.json").read_text())
    name = next(iter(state["images"]))
    state["images"][name]["truth"] = {"real": "synthetic", "synthetic": "real"}[state["images"][name]["truth"]]
    (folder / "changed.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"changed\.json was changed after it was written"):
        read_key(folder / "changed.json")
    text, shown = (folder / "study.html").read_text(), page_data(folder)
    block = text.split('type="application/json">')[1].split("</script>")[0]

    def rewritten(**changes):
        (folder / "page.html").write_text(text.replace(block, json.dumps({**shown, **changes})))
        return folder / "page.html"

    assert check_page(rewritten(), key)
    with pytest.raises(ValueError, match="shows 19 trials, the study states 20"):
        check_page(rewritten(trials=shown["trials"][1:]), key)
    images = dict(zip(shown["images"], reversed(shown["images"].values()), strict=True))
    with pytest.raises(ValueError, match="was changed after it was written"):
        check_page(rewritten(images=images), key)
    with pytest.raises(ValueError, match="page of another study"):
        check_page(rewritten(study="0" * 64), key)
    (folder / "page.html").write_text("<p>nothing")
    with pytest.raises(ValueError, match="no page of a reader study"):
        check_page(folder / "page.html", key)
    for content in ("{}", "no json", "[]", '{"study": 1, "design": 2}'):
        (folder / "bad.json").write_text(content)
        with pytest.raises(ValueError, match="is no key of a reader study"):
            read_key(folder / "bad.json")
    with pytest.raises(FileNotFoundError, match="no key"):
        read_key(folder / "none.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": 70}, "the set A gives 60 images with a real partner of their class, 70 are asked for"),
        ({"items": 40, "real": 30}, "gives 30 images"),
        ({"items": 0}, "--items 0"),
        ({"repeats": 21}, "--repeats 21 of 20 trials"),
        ({"repeats": -1}, "--repeats -1"),
        ({"readers": 0}, "--readers 0"),
        ({"practice": -1}, "--practice -1"),
        ({"sets": ()}, "a reader study needs a set"),
    ],
)
def test_bad_options_are_refused(make_study, options, message):
    with pytest.raises(ValueError, match=message):
        make_study(**options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (1, 8, 8)}, r"the set A has images \(1, 8, 8\)"),
        ({"class_names": ("a", "b")}, "the set A has images .* of a, b"),
        ({"max_value": 1.0}, "pixels of the set A are from 0 to 1, .* brightness would tell them apart"),
    ],
)
def test_sets_of_other_data_are_refused(change, message):
    spec = dataclasses.replace(SPEC, **change)
    with pytest.raises(ValueError, match=message):
        select_images({"A": images_of(20, spec)}, real_of(40), SPEC)


def test_images_of_four_channels_are_refused():
    spec = dataclasses.replace(SPEC, shape=(4, 8, 8), mean=(1.0,) * 4, std=(1.0,) * 4)
    with pytest.raises(ValueError, match="images of 4 channels cannot be shown"):
        select_images({"A": images_of(20, spec)}, real_of(40, spec), spec)


def test_few_images_give_a_study_with_less_practice(make_study):
    _, key = make_study(images=6, items=None, practice=2, repeats=None)
    assert len(key.trials) == 10
    folder, key = make_study("tiny", images=2, items=None, practice=20, repeats=None)
    assert (len(key.trials), len(page_data(folder)["practice"])) == (2, 2)
