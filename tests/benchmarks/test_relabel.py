"""The benchmark of hard and soft labels of picked images."""

from __future__ import annotations

import csv

import pytest
from conftest import ROOT


@pytest.fixture
def script(monkeypatch, make_data):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import relabel

    monkeypatch.setattr(relabel, "DigitsDataModule", lambda: make_data(per_class=12))
    monkeypatch.setattr(relabel, "IPC", 2)
    monkeypatch.setattr(relabel, "STUDENTS", 2)
    return relabel


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_differ_in_their_labels_alone_and_a_killed_run_resumes(script, tmp_path, monkeypatch, capsys):
    script.main(["--quick", "--teachers=1", f"--out={tmp_path}"])
    rows = rows_of(tmp_path / "relabel.csv")
    assert [(row["labels"], row["prior"]) for row in rows] == [("hard", ""), ("soft", "natural"), ("soft", "balanced")]
    assert {(row["trained_on"], row["split"], row["images"], row["seeds"]) for row in rows} == {
        ("herding", "val", "4", "0-1")
    }
    assert [row["teachers"] for row in rows] == ["", "1", "1"]
    assert rows[1]["temperature"] == rows[2]["temperature"]
    assert rows[0]["teacher_seconds"] == ""
    assert all(float(row["teacher_seconds"]) >= 0 for row in rows[1:])  # a fast machine takes less than is written
    (tmp_path / "relabel.csv").write_text("\n".join((tmp_path / "relabel.csv").read_text().splitlines()[:3]) + "\n")
    monkeypatch.setattr(script, "train_teachers", None)  # the teachers are in their file
    capsys.readouterr()
    script.main(["--quick", "--teachers=1", f"--out={tmp_path}"])
    assert capsys.readouterr().out.count("herding") == 1
    again = rows_of(tmp_path / "relabel.csv")
    assert [row["acc"] for row in again] == [row["acc"] for row in rows]


def test_an_unknown_data_set_is_refused(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--only=nothing"])
    assert "unknown part 'nothing'; use any of breastmnist, " in capsys.readouterr().err
