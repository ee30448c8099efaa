"""Additions to trajectory matching, against trajectory matching and elementary geometry."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from conftest import ROOT

from lightning_distill import DigitsDataModule
from lightning_distill.distillers.mtt.train_experts import train_experts
from lightning_distill.distillers.quiet import quiet_trainer


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import trajectories

    return trajectories


def test_angles_obey_the_law_of_cosines(script):
    generator = torch.Generator().manual_seed(0)
    points = list(torch.randn(3, 50, generator=generator, dtype=torch.float64))
    found = script.angles(points)
    for i, j, k in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        a, b, c = (math.dist(points[m].tolist(), points[n].tolist()) for m, n in ((i, j), (i, k), (j, k)))
        assert float(found[i, j, k]) == pytest.approx((a * a + b * b - c * c) / (2 * a * b))
    moved = [3 * point + 5 for point in points]
    assert float(script.shape_distance(points, moved)) == pytest.approx(0, abs=1e-12), "size and place do not count"
    assert float(script.shape_distance(points, points[::-1])) > 0


def test_without_its_terms_the_path_is_that_of_trajectory_matching(script, tmp_path):
    data = DigitsDataModule(real_per_class=1)
    data.prepare_data()
    data.setup()
    train_experts(data, tmp_path, count=1, epochs=3, network="convnet_w16", accelerator="cpu")

    def images(distiller):
        quiet_trainer(2, "32-true", "cpu", []).fit(distiller, datamodule=data)
        return distiller.synthetic.images.detach()

    about = {"ipc": 1, "experts": str(tmp_path), "network": "convnet_w16", "max_start": 1, "expert_epochs": 2,
             "syn_steps": 2, "lr": 1.0, "compile": "off"}  # fmt: skip
    plain, path = images(script.make("mtt", 2, **about)), images(script.PathDistiller(shape=0.0, **about))
    assert torch.allclose(plain, path, atol=1e-5)
    assert not torch.allclose(plain, images(script.make("shape", 2, **about)), atol=1e-5)
    easy = script.PathDistiller(easy_steps=4, **about)
    easy.shape = 0.0
    assert not torch.allclose(plain, images(easy), atol=1e-5)
    assert 0.3 <= float(easy._easy.float().mean()) < 1, "the easy parameters of two steps"


def test_quick_rows_of_all_methods(script, tmp_path):
    script.main(["--quick", "--only", "*-mtt-*,*-hop_tm-*", "--out", str(tmp_path)])
    with (tmp_path / "trajectories.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["lr"]) for row in rows] == [("mtt", "10.0"), ("hop_tm", "10.0")]
    assert all(row["split"] == "val" and float(row["acc"]) > 0 for row in rows)
