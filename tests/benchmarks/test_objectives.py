"""Comparison of objectives at equal processor seconds."""

from __future__ import annotations

import csv

import pytest
from conftest import ROOT


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def test_quick_run_writes_every_method_and_resumes(scripts, tmp_path, capsys, monkeypatch):
    import objectives

    monkeypatch.setattr(objectives, "ROUNDS", 1)
    objectives.main(["--quick", f"--out={tmp_path}"])
    rows = list(csv.DictReader((tmp_path / "objectives.csv").open()))
    assert [row["method"] for row in rows] == list(objectives.METHODS)
    assert {row["data"] for row in rows} == {"digits"}
    assert [row["steps"] for row in rows if row["method"] in ("dm", "herding")] == ["3", "1"]
    for row in rows:
        assert 0 <= float(row["balanced_acc"]) <= 1
        equal_seconds = max(1, 3 / float(row["step_ratio"]))  # the ratio is rounded in the file
        assert abs(int(row["steps"]) - equal_seconds) < 0.6 or row["method"] == "herding"
    capsys.readouterr()
    objectives.main(["--quick", f"--out={tmp_path}"])
    assert capsys.readouterr().out == ""
