"""The benchmark of leakage: rows for every attack, and nothing measured twice."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from conftest import ROOT

from lightning_distill import ArrayDataModule
from lightning_distill.leakage import ATTACKS, audit


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import leakage

    monkeypatch.setattr(leakage, "DigitsDataModule", clinic)
    monkeypatch.setattr(audit, "EMBEDDING_STEPS", 1)
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
