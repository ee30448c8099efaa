"""The benchmark of leakage: rows for every attack, and nothing measured twice."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from conftest import ROOT

from lightning_distill import ArrayDataModule
from lightning_distill.leakage import ATTACKS, audit_run


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import leakage

    monkeypatch.setattr(leakage, "DigitsDataModule", clinic)
    monkeypatch.setattr(audit_run, "EMBEDDING_STEPS", 1)
    return leakage


def clinic(real_per_class):
    random = np.random.default_rng(0)

    def split(count):
        labels = np.arange(count) // 2 % 2
        return (random.integers(0, 160, (count, 1, 8, 8)) + 60 * labels[:, None, None, None]).astype(np.uint8), labels

    groups = {"train": np.arange(80) // 2, "val": 500 + np.arange(40) // 2}
    return ArrayDataModule(
        split(80), split(40), channels="first", name="clinic", groups=groups, real_per_class=real_per_class
    )


def test_every_attack_has_a_row_by_image_and_by_patient_and_a_second_run_reads_the_shadows(script, tmp_path):
    arguments = ["--quick", "--baselines", "random", "--out", str(tmp_path)]
    script.main(arguments)
    with (tmp_path / "leakage.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    keys = {(row["recipe"], row["attack"], row["unit"]) for row in rows}
    assert len(keys) == len(rows) == 2 * 2 * len(ATTACKS), "two recipes, by image and by patient"
    for row in rows:
        assert 0 <= float(row["auc_low"]) <= float(row["auc"]) <= float(row["auc_high"]) <= 1
        assert row["tpr_at_0.1"] == "not resolvable"
        assert row["shadows"] == "8"
        assert row["command"].startswith("python benchmarks/leakage.py")
    files = sorted((tmp_path / "leakage").rglob("shadow-*.safetensors"))
    assert len(files) == 16
    times = [file.stat().st_mtime_ns for file in files]
    script.main(arguments)
    assert [file.stat().st_mtime_ns for file in files] == times


def test_krr_is_audited_without_baselines(script, tmp_path):
    script.main(["--quick", "--recipes", "krr", "--baselines", "none", "--out", str(tmp_path)])
    with (tmp_path / "leakage.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["audited"], row["recipe"]) for row in rows} == {("krr", "KRRDistiller")}
    assert "--recipes krr --baselines none" in rows[0]["command"]


def attack_row(recipe, attack, tpr, **other):
    row = {
        "dataset": "clinic", "source": "a file", "ipc": "10", "audited": "dm default", "recipe": recipe,
        "attack": attack, "unit": "image", "steps": "100", "shadows": "8", "balanced_acc": "0.7",
        "balanced_acc_std": "0.02", "network": "convnet_w16",
        "auc": "0.6", "auc_low": "0.5", "auc_high": "0.7", "tpr_at_1": tpr, "low_at_1": "0.01", "high_at_1": "0.59",
        "started_tpr": "", "make_seconds": "2.0", "measure_seconds": "10.0", "peak_mb": "1234",
    }  # fmt: skip
    return {**row, **other}


def test_the_figure_and_the_tables_show_the_strongest_attack_on_images(script, monkeypatch, tmp_path):
    import leakage_figure
    import tables

    rows = [
        attack_row("DMDistiller", "loss", "0.02"), attack_row("DMDistiller", "rmia", "0.05", started_tpr="0.5"),
        attack_row("DMDistiller", "rmia", "0.9", unit="patient"),
        attack_row("full", "rmia", "0.3"), attack_row("full", "rmia", "0.4", ipc="50"),
        attack_row("noise", "loss", "not resolvable"), attack_row("noise", "loss", "0.9", shadows="4"),
    ]  # fmt: skip
    monkeypatch.setattr(tables, "read", lambda name: rows if name == "leakage" else [])
    own, full = (5, 1, 59, 70, 2), (30, 1, 59, 70, 2)
    found = leakage_figure.points("clinic")
    assert set(found) == {("dm default", "10"), ("all real images", "all")}, "one point for all real images"
    assert found["dm default", "10"] == pytest.approx(own)
    assert found["all real images", "all"] == pytest.approx(full)
    figure = leakage_figure.draw({"clinic": found, "other": found, "third": {}})
    assert [axis.get_title() for axis in figure.axes] == ["clinic", "other", "third", ""]
    figure.savefig(tmp_path / "figure.png")
    lines = tables.leakage_table().splitlines()[2:]
    assert "dm default | 8 | 70.0 ± 2.0 | rmia | 0.600 [0.500, 0.700] | 5.0 [1.0, 59.0] | 50 |" in lines[0]
    assert "all real images" in lines[1]
    assert "not resolvable | - |" in lines[2]
    cost = tables.leakage_cost_table().splitlines()[2:]
    assert cost[0] == "| clinic, 10 per class, convnet_w16 | dm default | 8 | 2.0 | 10.0 | 2 | 1,234 |"
    assert len(cost) == 5, "one line for every number of shadow sets"
