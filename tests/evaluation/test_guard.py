"""The guard of an export, outside of any Trainer."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import blobs

from lightning_distill import ArrayDataModule
from lightning_distill.evaluation import LabeledSet, StudentEvaluator, coreset_sampler, get_protocol
from lightning_distill.evaluation.guard import GainCheck, check_gain, following_students
from lightning_distill.evaluation.metrics.paired_error import paired_standard_error
from lightning_distill.sets.formation import encode


def students(count=2, epochs=60, seed=0):
    protocol = replace(get_protocol("tiny"), epochs=epochs)
    return StudentEvaluator(protocol, students=count, architectures=["mlp"], seed=seed, compile="off")


@pytest.fixture
def data():
    return ArrayDataModule(*(blobs(3, 12, 12, seed=seed) for seed in (0, 1)), name="blobs", augmentation="none")


@pytest.fixture
def real(data):
    """Four real images of each class."""
    images, labels = data.train_arrays()
    rows = np.concatenate([np.flatnonzero(labels == c)[:4] for c in range(3)])
    return LabeledSet(torch.from_numpy(images[rows].copy()), torch.from_numpy(labels[rows]), data.spec)


@pytest.fixture
def noise(real):
    random = torch.Generator().manual_seed(0)
    return replace(real, pixels=torch.randint(0, 256, real.pixels.shape, generator=random, dtype=torch.uint8))


def test_a_better_set_is_not_marked_and_its_numbers_are_those_of_the_evaluation(data, real, noise):
    picks = {name: coreset_sampler(name, data.train_arrays(), [4] * 3, data.spec, 0) for name in ("herding", "kmeans")}
    ticks, evaluator = [], students()
    check = check_gain(real, noise, picks, evaluator, data.val_dataloader(), on_epoch=lambda: ticks.append(1))
    assert check.beats_start
    assert check.mark is None
    assert list(check.yardsticks) == ["start", "herding", "kmeans"]
    assert check.gain == pytest.approx(check.score - check.yardsticks["start"])
    assert check.seeds == [2, 3]  # not the students that select among validations
    assert len(ticks) == 4 * evaluator.epochs
    again = following_students(evaluator)
    results = {}
    for name, make in {"set": lambda _: real, "start": lambda _: noise, **picks}.items():
        trained = again.train(make).update_all(data.val_dataloader())
        results[name] = trained.predictions("val")
        expected = check.score if name == "set" else check.yardsticks[name]
        assert trained.scores().mean("acc") == pytest.approx(expected)
    assert check.standard_error == pytest.approx(paired_standard_error(results["set"], results["start"]))
    best = max(picks, key=check.yardsticks.__getitem__)
    assert check.best_pick == best
    assert check.gain_over_pick == pytest.approx(check.score - check.yardsticks[best])
    assert check.pick_standard_error == pytest.approx(paired_standard_error(results["set"], results[best]))
    assert check.sentence().startswith("Gain over the start +")
    assert f"over {best}" in check.sentence()
    assert json.loads(json.dumps(check.to_dict(), allow_nan=False))["beats_start"] is True


def test_the_start_itself_and_a_worse_set_are_marked(data, real, noise):
    ticks, evaluator = [], students()
    equal = check_gain(real, replace(real), {}, evaluator, data.val_dataloader(), on_epoch=lambda: ticks.append(1))
    assert len(ticks) == evaluator.epochs  # the same images are not trained twice
    assert (equal.gain, equal.standard_error, equal.beats_start) == (0, 0, False)
    assert equal.mark == "no better than 4 picked images a class"
    assert "`lightning-distill coreset` if real images may be shared" in equal.sentence()
    assert equal.to_dict()["gain_over_best_pick"] is None
    worse = check_gain(noise, real, {}, evaluator, data.val_dataloader())
    assert worse.gain < 0
    assert worse.mark is not None
    assert worse.sentence().startswith("No better than 4 picked images a class (val accuracy: set ")


@pytest.mark.parametrize("metric", ["balanced_acc", "auroc", "nll", "ece"])
def test_every_metric_has_its_direction(data, real, noise, metric):
    check = check_gain(real, noise, {}, students(), data.val_dataloader(), metric=metric)
    lower = metric in ("nll", "ece")
    assert check.gain == pytest.approx((check.score - check.yardsticks["start"]) * (-1 if lower else 1))
    if metric != "ece":  # students of noise are badly calibrated too, but not surely worse
        assert check.beats_start
    assert ("points" in check.sentence()) == (metric != "nll")


def test_the_best_pick_of_a_loss_is_the_lowest(data, real, noise):
    picks = {"good": lambda _: real, "bad": lambda _: noise}
    check = check_gain(real, noise, picks, students(), data.val_dataloader(), metric="nll")
    assert check.best_pick == "good"
    assert check.gain_over_pick == 0
    assert not check.beats_pick
    assert "no better than 4 picked images a class by good" in check.sentence()


def test_soft_labels_learning_rates_and_sub_images_are_those_of_the_set(data, real):
    soft = torch.nn.functional.one_hot(real.labels, 3) * 0.8 + 0.2 / 3
    good = replace(real, soft_labels=soft, lr=0.02)
    wrong = replace(good, soft_labels=soft.roll(1, 1))
    check = check_gain(good, wrong, {}, students(), data.val_dataloader())
    assert check.beats_start
    stored = encode(real.pixels.float(), 2).round().to(torch.uint8)
    compact = LabeledSet(stored, real.labels[::4], data.spec, formation=2)
    check = check_gain(compact, replace(compact, labels=compact.labels.roll(1)), {}, students(), data.val_dataloader())
    assert check.beats_start
    assert list(check.counts) == [1, 1, 1]


def test_groups_widen_the_error(data, real, noise):
    groups = torch.arange(len(data.splits["val"][1])) // 6
    weak = students(epochs=3)
    alone = check_gain(real, noise, {}, weak, data.val_dataloader())
    together = check_gain(real, noise, {}, weak, data.val_dataloader(), groups=groups)
    assert (alone.groups, together.groups, together.images) == (None, 6, 36)
    assert together.gain == alone.gain
    assert together.standard_error != alone.standard_error


def test_an_unknown_metric_is_refused_before_any_training(data, real):
    with pytest.raises(ValueError, match="unknown metric 'kappa'"):
        check_gain(real, real, {}, students(), data.val_dataloader(), metric="kappa", on_epoch=pytest.fail)


@pytest.mark.parametrize(
    ("gain", "error", "init", "counts", "mark"),
    [
        (0.0201, 0.02, "real", (10, 10), None),
        (0.02, 0.02, "real", (10, 10), "no better than 10 picked images a class"),
        (-0.01, 0.0, "kmeans", (1, 1), "no better than 1 picked image a class"),
        (0.01, 0.02, "herding", (3, 7), "no better than 10 picked images"),
        (0.01, 0.02, "noise", (10, 10), "no better than its start, which was noise"),
        (math.nan, 0.02, "real", (10, 10), "no better than 10 picked images a class"),
        (0.1, math.nan, "real", (10, 10), "no better than 10 picked images a class"),
    ],
)
def test_the_mark(real, gain, error, init, counts, mark):
    check = GainCheck(
        "acc", 0.7, {"start": 0.7 - gain}, gain, error, None, math.nan, math.nan, counts, init, 200, None, "quick",
        ["convnet"], [3], real.spec,
    )  # fmt: skip
    assert check.mark == mark
    assert check.beats_start == (mark is None)
    assert check.to_dict()["mark"] == mark
    json.dumps(check.to_dict(), allow_nan=False)
    for word in ("private", "anonym", "privacy"):
        assert word not in check.sentence()
