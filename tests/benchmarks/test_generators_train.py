"""The script that trains a generator writes a row and a picture."""

from __future__ import annotations

import csv
import sys

from conftest import ROOT
from PIL import Image


def test_a_quick_run_writes_row_and_picture(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import generators_train

    try:
        generators_train.main(["--quick", "--out", str(tmp_path)])
    finally:
        del sys.modules["generators_train"], sys.modules["script"]
    with (tmp_path / "generators_train.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["dataset"] == "digits"
    assert row["steps"] == "2"
    assert float(row["kid_noise"]) == float(row["kid_noise"])
    assert Image.open(tmp_path / "generators.png").size[0] > 10 * 96


def test_the_published_flow_is_closer_than_half_of_noise():
    with (ROOT / "benchmarks" / "results" / "generators_train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert float(row["kid"]) < 0.5 * float(row["kid_noise"])
        assert float(row["seconds"]) < 3600
