"""What draws and tabulates results."""

from __future__ import annotations

import runpy

import pytest
from conftest import ROOT
from PIL import Image

ROW = {"source": "a file", "images": "2", "acc_std": "0.01", "balanced_acc_std": "0.01"}


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tables

    return tables


def rows():
    scores = {"random": 0.5, "DCDistiller": 0.61, "DMDistiller": 0.6}
    return [
        {**ROW, "dataset": name, "trained_on": method, "ipc": ipc, "acc": str(acc), "balanced_acc": str(acc)}
        for name in ("breastmnist", "dermamnist")
        for ipc in ("10", "1")
        for method, acc in scores.items()
    ]


def test_a_grid_becomes_a_table_with_the_best_of_each_line_bold(tables, monkeypatch):
    made = rows()[:-1]  # one job is missing
    monkeypatch.setattr(tables, "read", lambda name: made)
    lines = tables.grid_table("any", ("acc",)).splitlines()
    assert lines[0] == "| data | ipc | | random subset | DC | DM |"
    assert lines[2] == "| breastmnist (a file) | 1 | accuracy | 50.0 ± 1.0 | **61.0 ± 1.0** | 60.0 ± 1.0 |"
    assert lines[5].startswith("| dermamnist (a file) | 10 |")
    assert lines[4].endswith("| - |")


def test_a_csv_that_is_not_there_makes_an_empty_table(tables):
    assert tables.read("nothing") == []
    assert len(tables.grid_table("nothing", ("acc",)).splitlines()) == 2


def test_curves_are_drawn(tables, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    curves = runpy.run_path(str(ROOT / "benchmarks" / "curves.py"))
    curves["draw"](rows(), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size[0] > picture.size[1] > 300
        assert "Software" not in picture.info
        assert len(set(picture.convert("RGB").getdata())) > 50
