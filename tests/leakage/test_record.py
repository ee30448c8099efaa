"""The audit in the card of a set: bound to it, shown by the report, and refused where it does not belong."""

from __future__ import annotations

import json
import re

import pytest
import torch

from lightning_distill.leakage import attach_audit, read_audit
from lightning_distill.leakage.sheet import data_sheet
from lightning_distill.report.leakage_section import leakage_section
from lightning_distill.report.page import page
from lightning_distill.report.runs import read_run
from lightning_distill.sets.card import make_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import read_set, save_set
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
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    for needed in ("What was measured", "What was not measured", "What would change it", "uessing", "not a guarantee"):
        assert needed in text, needed
    assert card["audit"]["set_sha256"] in text
    assert len(text.split()) < 1100, "one printed page"
    assert "private" not in text.lower()
    assert "anonym" not in text.lower()
    assert "src=" not in html
    assert "http" not in html.replace("http-equiv", "")
