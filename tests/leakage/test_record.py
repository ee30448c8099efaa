"""The audit in the card of a set: bound to it, shown by the report, and refused where it does not belong."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from lightning_distill.commands.report import find_exposed_pairs, report
from lightning_distill.leakage import attach_audit, read_audit
from lightning_distill.leakage.exposed_pairs import exposed_pairs, most_exposed_rows
from lightning_distill.leakage.sheet import data_sheet
from lightning_distill.report.exposed_pairs import pair_picture
from lightning_distill.report.leakage_section import leakage_section
from lightning_distill.report.page import page
from lightning_distill.report.runs import read_run
from lightning_distill.sets.card import NOT_MEASURED, current_warning, make_card, privacy_warning
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import read_set, save_set
from lightning_distill.sets.training_images import ENTRY, hash_training_images
from lightning_distill.spec import DataSpec


@pytest.fixture
def audited(tmp_path, make_clinic, quick_audit):
    """A set folder with a small audit, and the audit."""
    from lightning_distill import audit_set

    result = audit_set("random", make_clinic(), ipc=2, out=tmp_path / "audit", baselines=["herding"], **quick_audit)
    save(tmp_path / "set", 0)
    attach_audit(tmp_path / "set", result.to_dict())
    return tmp_path / "set", result


def save(folder, seed):
    spec = DataSpec("clinic", (1, 8, 8), ("0", "1"), (100.0,), (50.0,))
    pixels = torch.randint(0, 256, (4, 1, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    data = LabeledSet(pixels, torch.tensor([0, 0, 1, 1]), spec)
    save_set(folder, data, make_card("random", {}, {}, "unchanged", 0))


def test_an_audit_is_read_back_and_another_sets_is_refused(audited, tmp_path):
    folder, result = audited
    data, card = read_set(folder)
    assert read_audit(card, data) == json.loads(json.dumps(result.to_dict()))
    assert read_audit({}, data) is None
    save(tmp_path / "other", 1)
    other, other_card = read_set(tmp_path / "other")
    with pytest.raises(ValueError, match="that of another set"):
        read_audit({**other_card, "audit": card["audit"]}, other)


def test_a_changed_audit_is_refused(audited):
    data, card = read_set(audited[0])
    for change in ({"about": {}}, {"verdict": ["nothing was found"]}):
        record = {**card["audit"], "result": {**card["audit"]["result"], **change}}
        with pytest.raises(ValueError, match="changed after it was written"):
            read_audit({**card, "audit": record}, data)
    for record, message in (("yes", "not readable"), ({"result": {}, "format": 9}, "format 9")):
        with pytest.raises(ValueError, match=message):
            read_audit({**card, "audit": record}, data)


def test_an_audit_stays_in_the_file_with_all_other_entries(audited):
    _, before = read_set(audited[0])
    attach_audit(audited[0], {"about": {}})
    data, after = read_set(audited[0])
    assert read_audit(after, data) == {"about": {}}
    same = set(before) - {"audit", "sha256"}
    assert {key: before[key] for key in same} == {key: after[key] for key in same}


def test_the_report_shows_the_audit_and_refuses_a_foreign_one(audited, tmp_path):
    run = read_run(audited[0])
    section = leakage_section(run)
    assert section.sentences
    assert section.rows[0].own
    html = page([run], {}, "2026-01-01")
    assert "What " in html
    assert "Not measured" in html
    assert html.count("ROC curves") >= 1
    _, card = read_set(audited[0])
    save(tmp_path / "other", 1)
    other, other_card = read_set(tmp_path / "other")
    save_set(tmp_path / "other", other, {**other_card, "audit": card["audit"]})
    html = page([read_run(tmp_path / "other")], {}, "2026-01-01")
    assert "Refused" in html
    assert "that of another set" in html
    assert "ROC curves" not in html


def test_an_audit_that_lacks_entries_is_not_shown(audited):
    attach_audit(audited[0], {"about": {}})
    assert "not readable" in leakage_section(read_run(audited[0])).refused


def test_the_data_sheet_is_one_self_contained_page_in_plain_words(audited):
    folder, result = audited
    _, card = read_set(folder)
    html = data_sheet(result.to_dict(), card["audit"]["set_sha256"])
    assert "The file consists of real images, unchanged" in html
    assert re.search(r"Of the \d+ real images that files made in this way\s+show or started from", html)
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    for needed in ("What was measured", "What was not measured", "What would change it", "uessing", "not a guarantee"):
        assert needed in text, needed
    assert card["audit"]["set_sha256"] in text
    assert len(text.split()) < 1100, "one printed page"
    assert "private" not in text.lower()
    assert "anonym" not in text.lower()
    assert "src=" not in html
    assert "http" not in html.replace("http-equiv", "")


@pytest.fixture
def audited_set(tmp_path, make_clinic, quick_audit):
    """A set of real images in a folder with its audit, the folder of the audit, and the data."""
    from lightning_distill import audit_set

    data = make_clinic()
    data.setup()
    images, labels = data.train_arrays()
    rows = np.array([0, 4, 2, 6])
    made = LabeledSet(torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]), data.spec)
    save_set(tmp_path / "set", made, make_card("random", {}, {}, "unchanged", 0))
    result = audit_set("random", data, ipc=2, out=tmp_path / "audit", baselines=[], **quick_audit)
    attach_audit(tmp_path / "set", result.to_dict())
    return tmp_path / "set", tmp_path / "audit", data, result


def test_a_page_shows_exposed_pairs_only_where_they_are_asked_for(audited_set, tmp_path, capsys):
    folder, audit, data, result = audited_set
    shown = {}
    for name, options in {
        "plain": {}, "near": {"data": data}, "pairs": {"data": data, "exposed_pairs": True},
        "exposed": {"data": data, "exposed_pairs": True, "audit": str(audit)},
    }.items():  # fmt: skip
        shown[name] = report([str(folder)], out=str(tmp_path / f"{name}.html"), **options).read_text()
        assert ("shows real images of clinic" in capsys.readouterr().out) == (name != "plain")
    assert "training image" not in re.sub(r"<p.*?</p>", "", shown["plain"], flags=re.DOTALL)
    for name in ("plain", "near"):
        assert "Closest pairs" not in shown[name]
        assert "Most exposed images" not in shown[name]
        assert "Real images." not in shown[name]
    assert "Closest pairs" in shown["pairs"]
    assert "Most exposed images" not in shown["pairs"]
    assert "keep this page under the rules of the data" in shown["pairs"]
    assert "Most exposed images" in shown["exposed"]
    found = exposed_pairs(read_set(folder)[0], result.to_dict(), data, audit)
    assert found.correlations == pytest.approx([1.0] * 4), "the set is four training images"
    shadows = result.strongest("random")
    assert len(shadows.exposed) == 10
    picture = np.asarray(found.closest)
    assert (picture != 255).any()
    assert found.exposed.width > found.closest.width
    html = data_sheet(result.to_dict())
    assert "<img" not in html, "the sheet is handed on: it holds no picture"


def test_exposed_pairs_are_those_of_the_audit_in_the_card_and_of_its_data(audited_set, tmp_path, make_clinic):
    folder, audit, data, result = audited_set
    labeled_set, plain = read_set(folder)[0], result.to_dict()
    listed = most_exposed_rows(audit, plain)
    strongest = result.strongest("random")
    assert [one["number"] for one in listed["exposed"]] == [one.number for one in strongest.exposed]
    with pytest.raises(ValueError, match="the audit is of 120 training images, clinic has 160"):
        exposed_pairs(labeled_set, plain, make_clinic(160))
    with pytest.raises(FileNotFoundError, match="give the folder of audit-set"):
        most_exposed_rows(tmp_path / "nowhere", plain)
    other = {**plain, "rows": [{**plain["rows"][0], "auc": 0.9}, *plain["rows"][1:]]}
    with pytest.raises(ValueError, match="another audit than the one in the card"):
        most_exposed_rows(audit, other)
    (tmp_path / "audit.json").write_text("[]")
    with pytest.raises(ValueError, match="is not the result of an audit"):
        most_exposed_rows(tmp_path, plain)
    options = {"out": str(tmp_path / "r.html")}
    with pytest.raises(ValueError, match="give the data that the set was made from by --data"):
        report([str(folder)], exposed_pairs=True, **options)
    with pytest.raises(ValueError, match="add --exposed_pairs true"):
        report([str(folder)], data=data, audit=str(audit), **options)
    save(tmp_path / "bare", 0)
    with pytest.raises(ValueError, match="needs a set with an audit in its card"):
        report([str(tmp_path / "bare")], data=data, exposed_pairs=True, **options)
    bare, card = read_set(tmp_path / "bare")
    save_set(tmp_path / "bare", bare, {**card, "audit": read_set(folder)[1]["audit"]})
    with pytest.raises(ValueError, match="that of another set"):
        report([str(tmp_path / "bare")], data=data, exposed_pairs=True, **options)
    assert not (tmp_path / "r.html").exists()


def test_a_column_of_pairs_shows_both_images_and_its_caption():
    spec = DataSpec("clinic", (1, 8, 8), ("0", "1"), (100.0,), (50.0,))
    upper, lower = torch.zeros(2, 1, 8, 8), torch.full((2, 1, 8, 8), 255.0)
    picture = np.asarray(pair_picture(upper, lower, spec, ("a", "b"), ["0.10", "0.20"]))
    assert (picture == 0).all(2).sum() == 2 * 88 * 88, "two black images of 88 pixels, and the ink is no black"


def test_the_warning_of_an_audited_set_names_its_audit(audited):
    path = audited[0]
    data, card = read_set(path)
    save_set(path, data, {"warning": privacy_warning("herding")})
    _, before = read_set(path)
    assert NOT_MEASURED in current_warning(before)
    attach_audit(path, {"about": {}})
    _, card = read_set(path)
    assert card["warning"] == before["warning"], "a set that is made from this one does not claim its audit"
    assert "an audit, attached, measured what they reveal" in current_warning(card)
    assert "has not been measured" not in current_warning(card)
    assert "under the same rules as the data" in current_warning(card)
    assert NOT_MEASURED in current_warning({**card, "audit": "looked at by hand"})


def test_a_number_that_json_does_not_have_keeps_the_audit_bound(tmp_path):
    save(tmp_path / "set", 0)
    attach_audit(tmp_path / "set", {"rows": [{"auc": float("nan")}]})
    labeled_set, card = read_set(tmp_path / "set")
    assert read_audit(card, labeled_set) == {"rows": [{"auc": None}]}


def test_the_report_refuses_exposed_pairs_of_other_images(audited_set, make_clinic):
    folder, _, data, result = audited_set
    labeled_set, card = read_set(folder)
    attach_audit(folder, result.to_dict())
    card = {**read_set(folder)[1], ENTRY: hash_training_images(data.splits["train"][0])}
    save_set(folder, labeled_set, card)
    assert find_exposed_pairs([read_run(folder)], data, None)
    with pytest.raises(ValueError, match="0 of the 120 training images of clinic"):
        find_exposed_pairs([read_run(folder)], make_clinic(seed=1), None)
