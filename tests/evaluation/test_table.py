from __future__ import annotations

import csv

import pytest

from lightning_distill.evaluation import Exam, Scores
from lightning_distill.evaluation.table import append_csv, make_row, percent


def row(make_data, acc=0.9):
    scores = Scores([{"acc": acc, "balanced_acc": acc, "auroc": 0.95}] * 2, [4, 5], ["mlp"] * 2, 1.5)
    spec = make_data().spec
    return make_row("DM", [2, 2], 4, spec, "test", Exam("quick", 2, ["mlp"], seed=4), scores, False, "a command")


def test_rows_are_added_and_read_back(make_data, tmp_path):
    path = tmp_path / "new" / "r.csv"
    append_csv(path, [row(make_data)])
    append_csv(path, [row(make_data, 0.5)])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [r["acc"] for r in rows] == ["0.9", "0.5"]
    assert rows[0]["ipc"] == "2"
    assert rows[0]["seeds"] == "4-5"
    assert rows[0]["epochs"] == "301"
    assert all(value for value in rows[0].values()), "an empty cell"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_with_other_columns_is_left_alone(make_data, tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="other columns"):
        append_csv(path, [row(make_data)])
    assert path.read_text() == "a,b\n1,2\n"


def test_a_crash_while_writing_loses_nothing(make_data, tmp_path, monkeypatch):
    path = tmp_path / "r.csv"
    append_csv(path, [row(make_data)])
    before = path.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_distill.evaluation.table.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        append_csv(path, [row(make_data)])
    assert path.read_text() == before


def test_percent():
    assert percent(0.8432, 0.0121) == "84.3 ± 1.2"
    assert percent(0.8432, float("nan")) == "84.3"
