"""The rates that findings state are those of the committed table, and the script that measures them runs."""

from __future__ import annotations

import csv
import runpy
from collections import Counter

from conftest import ROOT

from lightning_distill.sets.inspection.rates import NULL_RATES, null_rate
from lightning_distill.sets.inspection.registry import CHECKS

KINDS = {"picks": "sets of real images", "distilled": "distilled sets"}


def test_the_stated_rates_are_those_of_the_table():
    with (ROOT / "benchmarks/results/inspection.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["defect"] == "none"]
    for check in ("contradictions", "outliers", "triggers"):
        found, total = Counter(), Counter()
        for row in rows:
            found[KINDS[row["kind"]]] += int(row[check])
            total[KINDS[row["kind"]]] += int(row["sets"])
        assert {kind: (found[kind], total[kind]) for kind in total} == NULL_RATES[check]
        assert f"of {total['distilled sets']} distilled sets" in null_rate(check)


def test_the_script_runs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = runpy.run_path(str(ROOT / "benchmarks" / "inspection.py"))
    script["main"](["--quick", "--out", str(tmp_path)])
    with (tmp_path / "inspection.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["kind"] for row in rows} == {"picks", "distilled"}
    assert all(set(CHECKS) <= set(row) for row in rows)
    copies = [row for row in rows if row["defect"] == "copy"]
    assert all(row["contradictions"] == row["sets"] for row in copies)
