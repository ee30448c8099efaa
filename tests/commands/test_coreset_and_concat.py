"""``coreset``, ``concat`` and ``mix`` on the command line, with valid and invalid options."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from conftest import blobs

from lightning_distill import DigitsDataModule, NpzDataModule
from lightning_distill.cli import main
from lightning_distill.evaluation import PROTOCOLS, LabeledSet, Protocol
from lightning_distill.evaluation.mixing import measure
from lightning_distill.sets.card import UNCHANGED, make_card, privacy_warning, strictest_warning
from lightning_distill.sets.coresets import counts_for_ratio, select
from lightning_distill.sets.storage import read_set, save_set

DIGITS = "--data=DigitsDataModule"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(here):
    """A data set of two classes, 20 and 10 images, as a file, and the arguments that name it."""
    arrays = {}
    for seed, split in enumerate(("train", "val", "test")):
        images, labels = blobs(2, 20, 8, 1, seed)
        kept = slice(0, 30) if split == "train" else slice(0, 40)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[kept], labels[kept]
    np.savez(here / "small.npz", **arrays)
    return ["--data=NpzDataModule", "--data.path=small.npz"]


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in errors
    return errors


@pytest.mark.parametrize("method", ["random", "herding", "kcenter", "kmeans"])
def test_a_coreset_is_a_set_file_of_unchanged_training_images(method, here, capsys):
    with pytest.warns(
        UserWarning, match="REAL IMAGES in .*: This file contains unchanged real images of the training data"
    ):
        main(["coreset", f"--method={method}", "--ipc=2", DIGITS, "--out=runs/coreset", "--seed=3"])
    assert "20 real images of digits, unchanged" in " ".join(capsys.readouterr().out.split())
    synthetic, card = read_set("runs/coreset")
    images, labels = DigitsDataModule().train_arrays()
    for image, label in zip(synthetic.pixels.numpy(), synthetic.labels.tolist(), strict=True):
        same = (images == image).all((1, 2, 3))
        assert labels[same].tolist().count(label) >= 1
    assert synthetic.labels.tolist() == np.repeat(np.arange(10), 2).tolist()
    assert (card["method"], card["start"], card["steps"]) == (method, UNCHANGED, 0)
    assert card["hyper_parameters"] == {"ipc": 2, "ratio": "balanced", "space": "pixels", "seed": 3}
    assert "contains unchanged real images of the training data" in card["warning"]
    assert str(here) not in json.dumps(card)


@pytest.mark.filterwarnings("ignore:REAL IMAGES")
def test_a_coreset_in_the_ratio_of_the_data_and_in_the_embedding(small):
    base = ["coreset", "--method=herding", "--ipc=3", *small]
    main([*base, "--out=pixels", "--ratio=natural"])
    synthetic, _ = read_set("pixels")
    data = NpzDataModule("small.npz")
    images, labels = data.train_arrays()
    counts = counts_for_ratio(labels, 6, "natural")
    assert synthetic.labels.bincount().tolist() == counts == [4, 2]
    assert np.array_equal(synthetic.pixels, images[select("herding", images, labels, counts, data.spec, 0)])
    main([*base, "--out=embedding", "--space=embedding", "--network=convnet_w16", "--protocol=tiny"])
    embedded, card = read_set("embedding")
    assert embedded.labels.bincount().tolist() == [3, 3]
    assert card["hyper_parameters"]["network"] == "convnet_w16"


@pytest.mark.filterwarnings("ignore:REAL IMAGES")
def test_a_coreset_of_floats_is_shipped_as_float16(here):
    images, labels = blobs(2, 6)
    np.savez(here / "f.npz", train_images=images / np.float64(255), train_labels=labels)
    main(["coreset", "--ipc=2", "--data=NpzDataModule", "--data.path=f.npz", "--out=c"])
    synthetic, _ = read_set("c")
    assert synthetic.pixels.dtype == torch.float16
    assert 0 <= synthetic.pixels.min() < synthetic.pixels.max() <= 1


def test_bad_coresets_are_refused_before_anything_is_written(small, here, capsys):
    assert "unknown coreset method 'herdin'; use one of random" in refused(
        ["coreset", "--method=herdin", *small], capsys
    )
    assert "the closest is herding" in refused(["coreset", "--method=herdin", *small], capsys)
    assert "class '1' has 10 training images, ipc=11" in refused(["coreset", "--ipc=11", *small], capsys)
    assert "unknown network 'convnetz'" in refused(
        ["coreset", "--ipc=1", "--space=embedding", "--network=convnetz", *small], capsys
    )
    assert not list(here.rglob("*.safetensors"))


def write(folder, seed=0, start="noise", **changes):
    spec = DigitsDataModule().spec
    pixels = torch.randint(0, 256, (10, 1, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    card = make_card(f"Method{seed}", {}, {}, start, 1)
    save_set(folder, LabeledSet(pixels, torch.arange(10), spec, **changes), card)


def test_sets_are_put_together_as_the_issue_writes_it(here, capsys):
    write("A", 0)
    write("B", 1, "real")
    main(["concat", "A", "B", "--out", "runs/both"])
    assert "20 images of 2 sets" in " ".join(capsys.readouterr().out.split())
    both, card = read_set("runs/both")
    (a, card_a), (b, card_b) = read_set("A"), read_set("B")
    assert torch.equal(both.pixels, torch.stack([a.pixels, b.pixels], 1).flatten(0, 1))
    assert both.labels.tolist() == np.repeat(np.arange(10), 2).tolist()
    assert both.spec == a.spec
    assert card["method"] == "Method0 + Method1"
    assert [source["sha256"] for source in card["sources"]] == [card_a["sha256"], card_b["sha256"]]
    assert [source["method"] for source in card["sources"]] == ["Method0", "Method1"]
    assert [source["warning"] for source in card["sources"]] == [card_a["warning"], card_b["warning"]]
    assert card["warning"] == card_b["warning"] != card_a["warning"]
    main(["concat", "--sets=[A,B]", "--out=again"])
    assert torch.equal(read_set("again")[0].pixels, both.pixels)


def test_real_images_in_one_source_are_said_of_all(here):
    write("A", 0)
    write("B", 1, UNCHANGED)
    write("C", 2, "real")
    with pytest.warns(UserWarning, match="REAL IMAGES in"):
        main(["concat", "A", "B", "C", "--out=both"])
    _, card = read_set("both")
    assert (card["warning"], card["start"]) == (privacy_warning(UNCHANGED), UNCHANGED)
    with pytest.warns(UserWarning, match="REAL IMAGES in"):
        main(["concat", "both", "A", "--out=more"])  # and it is passed on
    assert read_set("more")[1]["warning"] == privacy_warning(UNCHANGED)


def test_the_strongest_warning_wins_in_any_order():
    cards = {start: {"start": start, "warning": start} for start in ("noise", "real", UNCHANGED)}
    assert strictest_warning([cards["noise"], cards["real"]]) is cards["real"]
    assert strictest_warning([cards[UNCHANGED], cards["real"], cards["noise"]]) is cards[UNCHANGED]
    assert strictest_warning([cards["noise"], {}]) == {}  # nobody knows: not less than copies
    assert strictest_warning([{}, cards[UNCHANGED]]) is cards[UNCHANGED]
    assert len({privacy_warning(start) for start in cards}) == 3


def test_learned_labels_and_rates_are_put_together(here, capsys):
    write("A", 0, soft_labels=torch.full((10, 10), 0.1), lr=0.03)
    write("B", 1)
    assert "learned rates of the sets differ (0.03, none)" in refused(["concat", "A", "B", "--out=both"], capsys)
    main(["concat", "A", "B", "--out=both", "--lr=0.02"])
    both, card = read_set("both")
    assert both.lr == pytest.approx(0.02)
    assert torch.equal(both.soft_labels[1::2], torch.eye(10))
    assert "soft_labels" in card["use"]
    assert "lr" in card["use"]


def test_bad_concatenations_are_refused(here, small, capsys):
    write("A")
    data = NpzDataModule("small.npz").spec
    save_set("B", LabeledSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), data), {})
    assert "classes: 0, 1, 2" in refused(["concat", "A", "B", "--out=both"], capsys)
    assert "concat needs at least two sets, got 1" in refused(["concat", "A", "--out=both"], capsys)
    assert "no set file" in refused(["concat", "A", "C", "--out=both"], capsys)
    assert "--out B holds one of the sets" in refused(["concat", "A", "B", "--out=B"], capsys)
    assert "sets" in refused(["concat", "--out=both"], capsys)


MIX = ["--protocol=tiny", "--students=2", "--network=convnet_w16", "--accelerator=cpu"]


@pytest.mark.filterwarnings("ignore:REAL IMAGES")
def test_the_mix_curve_answers_in_plain_words(small, here, capsys, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "tiny", Protocol("tiny", 24, lr=0.03))  # learns enough for scores to differ
    main(["coreset", "--ipc=2", *small, "--out=theirs"])
    capsys.readouterr()
    command = ["mix", "--set=theirs", *small, "--real", "[4,10]", "--ratio", "[0.1,1,10]", *MIX, "--out=mix.csv"]
    main(command)
    shown = " ".join(capsys.readouterr().out.split())
    for real in (4, 10):
        assert f"with {real} real images their 4-image file changes accuracy by" in shown
    assert shown.count("(paired over 2 students, 95 % interval") == 6
    with open("mix.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["real"], row["ratio"], row["synthetic"]) for row in rows] == [
        ("4", "0.0", "0"), ("4", "0.1", "1"), ("4", "1.0", "4"), ("4", "10.0", "40"),
        ("10", "0.0", "0"), ("10", "0.1", "1"), ("10", "1.0", "10"), ("10", "10.0", "100"),
    ]  # fmt: skip
    for row in rows:
        alone = next(other for other in rows if (other["real"], other["ratio"]) == (row["real"], "0.0"))
        assert float(row["gain"]) == pytest.approx(float(row["acc"]) - float(alone["acc"]), abs=2e-5)
        assert float(row["gain_low"]) <= float(row["gain"]) <= float(row["gain_high"])
        assert (row["split"], row["set"], row["set_images"]) == ("test", "herding", "4")
        assert "mix --data NpzDataModule --set theirs --real '[4,10]'" in row["command"]
    assert len({row["gain"] for row in rows if row["ratio"] != "0.0"}) > 1
    main([*command, "--seed=5", "--split=val"])
    with open("mix.csv") as file:
        again = list(csv.DictReader(file))
    assert again[:8] == rows
    assert {row["split"] for row in again[8:]} == {"val"}


@pytest.mark.filterwarnings("ignore:REAL IMAGES")
def test_a_mix_that_was_killed_goes_on(small, here, capsys, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "tiny", Protocol("tiny", 24, lr=0.03))
    main(["coreset", "--ipc=2", *small, "--out=theirs"])
    command = ["mix", "--set=theirs", *small, "--real=[4,10]", "--ratio=[1,10]", *MIX, "--out=mix.csv"]
    main(command)
    whole = here.joinpath("mix.csv").read_text().splitlines(keepends=True)
    here.joinpath("mix.csv").write_text("".join(whole[:5]))  # the first of 10 real images was there: no set
    capsys.readouterr()
    trained = []
    examine = measure.evaluate_students
    monkeypatch.setattr(measure, "evaluate_students", lambda *a, **k: trained.append(a) or examine(*a, **k))
    main(command)
    shown = " ".join(capsys.readouterr().out.split())
    assert len(trained) == 2
    assert "4 of 6 rows were already in mix.csv and are kept" in shown
    assert shown.count("(paired over 2 students, 95 % interval") == 4
    lost = [dict(zip(whole[0].split(","), row, strict=False)) for row in csv.reader(whole[1:])]
    with open("mix.csv") as file:
        again = list(csv.DictReader(file))
    same = ("real", "ratio", "sha256", "acc", "accs", "gain_low")
    assert [[row[key] for key in same] for row in again] == [[row[key] for key in same] for row in lost]
    save_set("theirs", LabeledSet(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]),
                                    NpzDataModule("small.npz").spec), {})  # fmt: skip
    main(command)
    assert len(trained) == 8, "rows of another file of the same name are no rows of this one"


@pytest.mark.filterwarnings("ignore:REAL IMAGES")
def test_a_set_of_another_site_is_mixed_in_by_a_map(small, capsys):
    main(["coreset", "--ipc=1", DIGITS, "--out=digits"])
    arguments = ["mix", "--set=digits", *small, "--real=[4]", "--ratio=[1]", *MIX]
    assert "--map-classes" in refused(arguments, capsys)
    names = json.dumps({str(digit): str(digit % 2) for digit in range(10)})
    main([*arguments, "--map-classes", names])
    assert "their 10-image file" in " ".join(capsys.readouterr().out.split())
    assert "the set has no class '11'" in refused([*arguments, "--map-classes", '{"11": "0"}'], capsys)


@pytest.mark.filterwarnings("ignore:REAL IMAGES")
def test_bad_mixtures_are_refused(small, here, capsys):
    main(["coreset", "--ipc=1", *small, "--out=theirs"])
    base = ["mix", "--set=theirs", *small, *MIX]
    for arguments, message in (
        (["--real=[4]", "--ratio=[-1]"], "ratio=-1.0; synthetic images per real image must be 0 or more"),
        (["--real=[31]"], "real=31; npz has 30 training images"),
        (["--real=[22]"], "11 images of class '1' are needed, it has 10"),
        (["--real=[1]"], "every class needs at least 1"),
        (["--real=[]"], "real=[]"),
        (["--real=[4]", "--students=1"], "students=1; an interval needs at least 2"),
        (["--real=[4]", "--set=nowhere"], "no set file"),
        (["--real=[4]", "--protocol=slow"], "unknown protocol 'slow'"),
    ):
        assert message in refused([*base, *arguments], capsys)
    (here / "other.csv").write_text("a,b\n1,2\n")
    assert "other.csv holds other rows" in refused([*base, "--real=[4]", "--out=other.csv"], capsys)


def test_every_new_command_has_help_and_is_listed(capsys):
    main([])
    shown = capsys.readouterr().out
    for command in ("coreset", "concat", "mix"):
        assert f"\n  {command} " in shown
        main([command, "--help"])
        assert "--out" in capsys.readouterr().out
