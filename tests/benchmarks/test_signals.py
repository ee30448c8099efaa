"""The benchmarks of signal banks: sites, guarantee and pool sizes, at tiny sizes."""

from __future__ import annotations

import csv

import pytest
import yaml
from conftest import ROOT


@pytest.fixture(autouse=True)
def folder_of_scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_sites_fill_every_row_and_go_on_where_they_stopped(tmp_path, monkeypatch):
    import signal_sites

    monkeypatch.setattr(signal_sites, "NETWORK", "convnet_w16")
    monkeypatch.setattr(signal_sites, "IPC", 1)
    signal_sites.main(["--quick", "--out", str(tmp_path)])
    rows = rows_of(tmp_path / "signal_sites.csv")
    assert len(rows) == 2 * 9
    assert {row["split"] for row in rows} == {"val", "test"}
    by_name = {row["learned"]: row for row in rows}
    assert int(by_name["banks of all sites merged"]["images"]) == 10
    assert int(by_name["banks merged, as many images as joined"]["images"]) == 30
    assert int(by_name["sets of all sites joined"]["images"]) <= 30
    assert by_name["all images"]["images"] == "1077"
    counts = [list(map(int, part.split(", "))) for part in by_name["all images"]["counts"].strip("[]").split("], [")]
    assert sum(map(sum, counts)) == 1077
    monkeypatch.setattr(signal_sites, "distil", None)
    signal_sites.main(["--quick", "--out", str(tmp_path)])  # nothing is distilled again
    assert rows_of(tmp_path / "signal_sites.csv") == rows


def test_guarantee_states_the_terms_of_every_noisy_bank(tmp_path):
    pytest.importorskip("opacus", reason="the extra dp is not installed")
    import guarantee

    guarantee.main(["--quick", "--out", str(tmp_path)])
    rows = {row["learned"]: row for row in rows_of(tmp_path / "guarantee.csv") if row["split"] == "val"}
    assert len(rows) == 8
    for epsilon in (8, 4, 2, 1):
        row = rows[f"epsilon {epsilon}"]
        assert epsilon * 0.98 < float(row["epsilon"]) <= epsilon
        assert all(row[name] for name in ("sigma", "rate"))
        assert row["delta"] == "1e-05"
    assert rows["random images"]["epsilon"] == ""


def test_whole_runs_start_from_the_same_images_and_are_timed(tmp_path, monkeypatch):
    import signal_run

    from lightning_distill import DigitsDataModule

    monkeypatch.setattr(signal_run, "real_data", lambda per_class: DigitsDataModule(real_per_class=per_class))
    signal_run.main(["--quick", "--out", str(tmp_path)])
    rows = rows_of(tmp_path / "signal_run.csv")
    assert [row["run"] for row in rows] == [
        "textbook", "new network every step", "pool of 2", "pool of 2, bf16",
    ]  # fmt: skip
    assert all(float(row["seconds"]) >= 0 for row in rows)  # a fast machine takes less than is written
    assert rows[0]["times_textbook"] == "1.00"


def test_pools_are_compared_at_equal_steps_but_for_one():
    grid = yaml.safe_load((ROOT / "benchmarks" / "grids" / "signal_pool.yaml").read_text())
    steps = {name: about["steps"] for name, about in grid["methods"].items()}
    assert {name for name, count in steps.items() if count != 300} == {"pool_100_longer"}
    assert grid["methods"]["fresh"]["init_args"]["pool"] == 0


def test_leakage_of_banks_has_a_row_for_every_attack_and_none_is_measured_twice(tmp_path, monkeypatch):
    pytest.importorskip("opacus", reason="the extra dp is not installed")
    import signal_leakage

    signal_leakage.main(["--quick", "--out", str(tmp_path)])
    rows = rows_of(tmp_path / "signal_leakage.csv")
    assert [(row["epsilon"], row["attack"]) for row in rows] == [
        ("none", "tracing"), ("none", "decoding"), ("8", "tracing"), ("8", "decoding"),
    ]  # fmt: skip
    assert all(0 <= float(row["auc_low"]) <= float(row["auc"]) <= float(row["auc_high"]) <= 1 for row in rows)
    monkeypatch.setattr(signal_leakage, "audit_signals", None)
    signal_leakage.main(["--quick", "--out", str(tmp_path)])
    assert rows_of(tmp_path / "signal_leakage.csv") == rows
