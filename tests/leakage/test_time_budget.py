"""An audit within minutes: as many shadow sets as fit, and baselines left out where they do not."""

from __future__ import annotations

import json

import pytest

from lightning_distill import DigitsDataModule, DMDistiller, audit_set
from lightning_distill.leakage.recipes import DistillRecipe, FullRecipe, PickRecipe
from lightning_distill.leakage.time_budget import plan_for_minutes

RANDOM, FULL = PickRecipe("random", "random", 1), FullRecipe()
NOISE = DistillRecipe("noise", DMDistiller, {"ipc": 1, "init": "noise"}, 10)
ALL = [RANDOM, FULL, NOISE]


def plan(minutes, spent=0.0, first=(20.0, 5.0), most=64):
    return plan_for_minutes(minutes, spent, first, ALL, most)


def test_all_baselines_come_first_then_more_shadow_sets():
    # one shadow set of everything: 25 s the recipe, 5 s each pick, 25 s from noise
    assert (plan(8).shadows, list(plan(8).left_out), plan(8).seconds) == (8, [], 480.0)
    assert plan(9.9).shadows == 8
    assert plan(10).shadows == 10
    assert plan(10, spent=61).shadows == 8
    assert plan(1000).shadows == 64


def test_a_distilled_baseline_that_does_not_fit_is_left_out_and_named():
    short = plan(7.9)
    assert list(short.left_out) == ["noise"]
    assert short.shadows == 12  # 35 s each
    assert NOISE not in short.baselines


def test_too_few_minutes_are_refused_with_those_that_are_needed():
    with pytest.raises(ValueError, match=r"minutes=4 is too short for 8 shadow sets of 35 s each .* needs 5,"):
        plan(4)
    assert plan(5).shadows == 8


def test_an_audit_in_minutes_keeps_its_first_set_and_goes_on_with_more_minutes(tmp_path):
    recipe = DMDistiller(ipc=1, network="convnet_w16", compile="off")
    data, options = DigitsDataModule(real_per_class=8), {"network": "convnet_w16", "protocol": "tiny", "steps": 1}
    with pytest.raises(ValueError, match="is too short for 8 shadow sets"):
        audit_set(recipe, data, minutes=0.0001, out=tmp_path, recovery=False, **options)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("shadows/*/*.safetensors")}
    assert made
    result = audit_set(recipe, data, shadows=10, minutes=60, out=tmp_path, recovery=False, **options)
    assert result.about["shadows"] == 10
    assert {path: path.stat().st_mtime_ns for path in made} == made
    about = json.loads((tmp_path / "audit.json").read_text())["about"]
    assert about["shadows"] == 10
    with pytest.raises(ValueError, match="minutes=0"):
        audit_set(recipe, data, minutes=0, out=tmp_path, **options)
