"""Recovery of the starts as steps grow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill import DMDistiller
from lightning_distill.leakage.recipes import DistillRecipe
from lightning_distill.leakage.reconstruction import Recovery, forgotten_after, measure_recovery, recovery, step_grid
from lightning_distill.sets.labeled_set import LabeledSet


@pytest.mark.parametrize(("init", "formation"), [("real", 1), ("herding", 2)])
def test_starts_are_recognised_before_the_first_step(make_data, init, formation):
    options = {"ipc": 2, "network": "convnet_w16", "init": init, "formation": formation, "compile": "off"}
    rows = measure_recovery(DistillRecipe("dm", DMDistiller, options, steps=3), make_data(size=16), [0, 1, 3])
    assert [row.steps for row in rows] == [0, 1, 3]
    assert rows[0].top1 == 1
    assert rows[0].correlation > 0.999
    assert rows[0].ssim > 0.99
    assert rows[0].images == 4 * formation**2
    assert rows[2].correlation <= rows[0].correlation
    assert rows[0].recognisable


def test_noise_has_no_start(make_data):
    options = {"ipc": 2, "network": "convnet_w16", "init": "noise", "compile": "off"}
    assert measure_recovery(DistillRecipe("dm", DMDistiller, options, steps=1), make_data()) == []


def test_other_images_are_not_taken_for_the_start(make_data):
    data = make_data(per_class=40)
    noise = torch.rand(20, 1, 8, 8) * 255
    row = recovery(7, LabeledSet(noise, torch.arange(20) % 2, data.spec), np.arange(20), data)
    assert row.top1 < 0.3
    assert abs(row.correlation) < 0.5


def test_forgotten_starts_stay_forgotten():
    def row(steps, low):
        return Recovery(steps, 0.5, 0.5, 0.5, low, 1.0, 0.01, 10)

    assert forgotten_after([row(0, 0.9), row(10, 0.0), row(30, 0.0)]) == 10
    assert forgotten_after([row(0, 0.9), row(10, 0.0), row(30, 0.2)]) is None
    assert forgotten_after([]) is None
    assert step_grid(1000) == [0, 1, 3, 10, 30, 100, 300, 1000]
