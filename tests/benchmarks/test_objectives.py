"""Comparison of objectives at equal processor seconds."""

from __future__ import annotations

import csv

import pytest
from conftest import ROOT


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def test_quick_run_writes_every_method_and_resumes(scripts, tmp_path, capsys):
    import objectives

    objectives.main(["--quick", f"--out={tmp_path}"])
    rows = list(csv.DictReader((tmp_path / "objectives.csv").open()))
    assert [row["method"] for row in rows] == list(objectives.METHODS)
    assert {row["data"] for row in rows} == {"digits"}
    dm = rows[0]
    assert (dm["method"], dm["steps"], dm["budget_s"]) == ("dm", "3", "")
    for row in rows[1:]:
        assert 0 <= float(row["balanced_acc"]) <= 1
        if row["method"] != "herding":
            assert float(row["budget_s"]) == float(dm["processor_s"]) <= float(row["processor_s"])
    capsys.readouterr()
    objectives.main(["--quick", f"--out={tmp_path}"])
    assert capsys.readouterr().out == ""


def test_a_method_without_the_seconds_of_dm_is_refused(scripts, tmp_path):
    import objectives

    with pytest.raises(SystemExit):
        objectives.main(["--quick", "--only=digits/mmd", f"--out={tmp_path}"])
