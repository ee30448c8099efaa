from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill.evaluation import Predictions, calibrated, compute_metrics, temperature
from lightning_distill.evaluation.metrics.calibration import temperature_of_labels
from lightning_distill.spec import DataSpec


def make_spec(num_classes: int, task="multi-class") -> DataSpec:
    return DataSpec("numbers", (1, 8, 8), tuple(f"c{k}" for k in range(num_classes)), (0.0,), (1.0,), task=task)


SPECS = [make_spec(2, "binary"), make_spec(5), make_spec(3, "ordinal"), make_spec(4, "multi-label")]
by_task = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.task)


def simulated(spec, rows=20_000, seed=0):
    """Logits, and targets drawn from the probabilities they claim: nobody is better calibrated."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, spec.num_classes, generator=generator) * 2
    if spec.task == "multi-label":
        return logits, (torch.rand(logits.shape, generator=generator) < logits.sigmoid()).long()
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()


@by_task
def test_what_is_calibrated_stays(spec):
    assert temperature(*simulated(spec), spec) == pytest.approx(1, abs=0.04)


@by_task
@pytest.mark.parametrize("factor", [0.2, 3.0, 12.0])
def test_a_known_factor_is_found(spec, factor):
    logits, targets = simulated(spec, 2000)
    assert temperature(logits * factor, targets, spec) == pytest.approx(
        factor * temperature(logits, targets, spec), rel=1e-4
    )


@by_task
def test_at_the_minimum_the_derivative_is_zero(spec):
    """In numpy: d NLL / d(1/T) is the mean of what the model expects of a logit less the true one's."""
    logits, targets = simulated(spec, 500)
    value = temperature(logits * 4, targets, spec)
    z, y = 4 * logits.double().numpy(), targets.numpy()
    if spec.task == "multi-label":
        derivative = np.mean(z / (1 + np.exp(-z / value)) - y * z)
    else:
        p = np.exp(z / value) / np.exp(z / value).sum(1, keepdims=True)
        derivative = np.mean((p * z).sum(1) - z[np.arange(len(y)), y])
    assert derivative == pytest.approx(0, abs=1e-4)


def test_no_other_temperature_is_better():
    spec = make_spec(5)
    logits, targets = simulated(spec, 300)
    logits = logits * 2.5
    z, y = logits.double().numpy(), targets.numpy()

    def loss(t):
        return np.mean(np.log(np.exp(z / t).sum(1)) - z[np.arange(len(y)), y] / t)

    grid = np.geomspace(0.1, 30, 2000)
    best = grid[np.argmin([loss(t) for t in grid])]
    assert temperature(logits, targets, spec) == pytest.approx(best, rel=0.01)


def test_where_it_makes_no_difference_it_is_one():
    spec = make_spec(3)
    assert temperature(torch.zeros(6, 3), torch.arange(3).repeat(2), spec) == 1.0


def test_without_an_error_it_ends_at_the_bound():
    y = torch.arange(3).repeat(2)
    assert 0.01 <= temperature(torch.eye(3)[y], y, make_spec(3)) < 0.1


@by_task
def test_perfect_networks_give_labels_that_are_right_as_often_as_their_number_tells(spec):
    """Where no image is wrong the labels of N images are right with probability (N + 1) / (N + 2)."""
    targets = torch.arange(12) % spec.num_classes
    rows = torch.nn.functional.one_hot(targets, spec.num_classes)
    logits = (2 * rows - 1).float() if spec.multi_label else rows.float()
    found = temperature_of_labels(torch.stack([logits, logits]), rows if spec.multi_label else targets, spec)
    probabilities = (logits / found).sigmoid() if spec.multi_label else (logits / found).softmax(-1)
    true = rows.bool()
    right = torch.where(true, probabilities, 1 - probabilities) if spec.multi_label else probabilities[true]
    torch.testing.assert_close(right, torch.full_like(right, 13 / 14), rtol=0, atol=1e-4)


def test_one_wrong_image_leaves_the_temperature_of_the_likelihood():
    spec, targets = make_spec(3), torch.arange(12) % 3
    logits = torch.eye(3)[targets]
    logits[0] = torch.tensor([0.0, 1.0, 0.0])
    assert temperature_of_labels(logits[None], targets, spec) == temperature(logits, targets, spec)


def predictions(spec, factors, rows=4000, split="test", seed=0):
    logits, targets = simulated(spec, rows, seed)
    stacked = torch.stack([logits * factor for factor in factors])
    return Predictions(stacked, targets, spec, list(range(len(factors))), ["mlp"] * len(factors), split=split)


@by_task
def test_students_are_scaled_by_what_was_found_on_val(spec):
    val, test = predictions(spec, [1.0, 5.0], split="val", seed=1), predictions(spec, [1.0, 5.0])
    results = calibrated(test, val)
    assert [result["temperature"] for result in results] == pytest.approx([1, 5], rel=0.1)
    for student, result in enumerate(results):
        assert result["temperature"] == temperature(val.logits[student], val.targets, spec)
        again = compute_metrics(test.logits[student] / result["temperature"], test.targets, spec)
        scaled = {name.removesuffix("_scaled"): value for name, value in result.items() if name != "temperature"}
        assert scaled == pytest.approx({name: again[name] for name in ("ece", "nll", "brier")}, abs=1e-6)
    before = compute_metrics(test.logits[1], test.targets, spec)
    assert all(results[1][f"{name}_scaled"] < before[name] for name in ("ece", "nll", "brier"))


def test_what_test_says_does_not_change_the_temperature():
    spec = make_spec(5)
    val, test = predictions(spec, [3.0], 500, "val"), predictions(spec, [3.0], 500)
    other = Predictions(test.logits * 2, test.targets.flip(0), spec, [0], ["mlp"])
    first, second = calibrated(test, val), calibrated(other, val)
    assert first[0]["temperature"] == second[0]["temperature"]
    assert first[0]["nll_scaled"] != second[0]["nll_scaled"]


@by_task
@pytest.mark.parametrize("value", [0.05, 0.7, 30.0])
def test_scaling_changes_no_decision(spec, value):
    original = predictions(spec, [1.0, 2.0], 500)
    scaled = original.with_temperatures([value, value])
    if spec.task == "multi-label":
        assert torch.equal(scaled.probabilities > 0.5, original.probabilities > 0.5)
    else:
        assert torch.equal(scaled.logits.argmax(2), original.logits.argmax(2))
    assert not torch.allclose(scaled.probabilities, original.probabilities)


def test_what_does_not_belong_together_is_refused():
    spec = make_spec(3)
    test, val = predictions(spec, [1.0], 10), predictions(spec, [1.0], 10, "val")
    with pytest.raises(ValueError, match="fitted on val, got predictions on 'test'"):
        calibrated(test, test)
    with pytest.raises(ValueError, match=r"test are \[\('mlp', 0\)\], on val \[\('mlp', 0\), \('mlp', 1\)\]"):
        calibrated(test, predictions(spec, [1.0, 1.0], 10, "val"))
    with pytest.raises(ValueError, match="differ in classes: multi-class of c0, c1 and multi-class of c0, c1, c2"):
        calibrated(predictions(make_spec(2), [1.0], 10), val)
