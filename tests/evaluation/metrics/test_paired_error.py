from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from lightning_distill.evaluation.metrics.paired_error import paired_standard_error
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.spec import DataSpec


def predictions(logits, targets, architectures=None, task="multi-class", groups=None):
    names = tuple(map(str, range(logits.shape[-1])))
    spec = DataSpec("made", (1, 8, 8), names, (0.0,), (1.0,), task=task)
    students = len(logits)
    return Predictions(
        logits.float(), targets, spec, list(range(students)), architectures or ["mlp"] * students, groups, "val"
    )


def from_hits(hits, **more):
    """Two-class predictions ``(S, N)``, right where 1."""
    targets = torch.arange(hits.shape[1]) % 2
    predicted = torch.where(torch.from_numpy(hits.astype(bool)), targets, 1 - targets)
    return predictions(torch.nn.functional.one_hot(predicted, 2) * 3.0, targets, **more)


def random_hits(students, images, seed, student_effect=0.0, image_effect=1.0):
    """Hits of two sets ``(S, N)``, with effects of students and images that differ between the sets."""
    random = np.random.default_rng(seed)
    return [
        (
            0.5
            + student_effect * random.normal(size=(students, 1))
            + image_effect * random.normal(size=(1, images))
            + random.normal(size=(students, images))
            > 0
        ).astype(float)
        for _ in range(2)
    ]


def components(differences):
    """Variance components of ``(S, N)`` by the textbook's two-way analysis of variance: V_s, V_n, V_e."""
    s, n = differences.shape
    rows, columns, mean = differences.mean(1), differences.mean(0), differences.mean()
    residual = differences - rows[:, None] - columns[None] + mean
    mse = (residual**2).sum() / ((s - 1) * (n - 1))
    return rows.var(ddof=1) / s, columns.var(ddof=1) / n, mse / (s * n)


@pytest.mark.parametrize(("student_effect", "image_effect"), [(0.3, 1.0), (0.0, 0.0), (1.0, 0.2)])
def test_accuracy_equals_the_two_way_analysis_of_variance(student_effect, image_effect):
    a, b = random_hits(4, 150, 1, student_effect, image_effect)
    v_s, v_n, v_e = components(a - b)
    expected = math.sqrt(max(v_s, v_n, v_s + v_n - v_e))
    measured = paired_standard_error(from_hits(a), from_hits(b), resamples=20_000)
    assert measured == pytest.approx(expected, rel=0.02)


def test_it_is_the_spread_of_repeated_experiments():
    """Mean estimate of the variance over 100 experiments, against the variance of their differences."""
    pairs = [random_hits(5, 60, seed, 0.5, 0.7) for seed in range(100)]
    differences = [a.mean() - b.mean() for a, b in pairs]
    squares = [paired_standard_error(from_hits(a), from_hits(b), resamples=200) ** 2 for a, b in pairs]
    spread = np.var(differences, ddof=1)
    low, high = (99 * spread / stats.chi2.ppf(q, 99) for q in (0.995, 0.005))
    assert low < np.mean(squares) < 1.1 * high  # the maximum makes it a little conservative


def test_equal_predictions_have_no_error_and_the_order_does_not_matter():
    a, b = (from_hits(hits) for hits in random_hits(3, 40, 0))
    assert paired_standard_error(a, a) == 0
    assert paired_standard_error(a, b) == pytest.approx(paired_standard_error(b, a))


def test_one_student_has_the_error_over_images_alone():
    a, b = random_hits(1, 100, 3)
    expected = (a - b)[0].std() / 10
    assert paired_standard_error(from_hits(a), from_hits(b), resamples=20_000) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("metric", ["balanced_acc", "auroc"])
def test_other_metrics_against_a_bootstrap_by_hand(metric):
    g = torch.Generator().manual_seed(0)
    targets = torch.arange(60) % 3
    signal = torch.nn.functional.one_hot(targets, 3)
    logits = [skill * signal + torch.randn(3, 60, 3, generator=g) for skill in (1.0, 0.6)]

    def score(own, rows):
        probabilities, true = own[rows].softmax(-1).numpy(), targets[rows].numpy()
        if metric == "auroc":
            return roc_auc_score(true, probabilities, multi_class="ovr")
        return balanced_accuracy_score(true, probabilities.argmax(1))

    every, random = np.arange(60), np.random.default_rng(7)
    whole = np.array([score(logits[0][s], every) - score(logits[1][s], every) for s in range(3)])
    drawn = []
    for _ in range(150):
        rows = random.integers(0, 60, 60)
        drawn.append([score(logits[0][s], rows) - score(logits[1][s], rows) for s in range(3)])
    drawn = np.array(drawn)  # (R, S)
    v_s, v_n = whole.var(ddof=1) / 3, drawn.mean(1).var(ddof=1)
    v_e = (drawn.var(0, ddof=1).mean() - v_n) / 2
    expected = math.sqrt(max(v_s, v_n, v_s + v_n - v_e))
    a, b = (predictions(own, targets) for own in logits)
    assert paired_standard_error(a, b, metric, resamples=3000) == pytest.approx(expected, rel=0.2)


def test_images_of_one_patient_count_as_one():
    """Ten copies of each image in one group leave the error as it was; ungrouped it is too small."""
    a, b = random_hits(1, 50, 5)
    once = paired_standard_error(from_hits(a), from_hits(b), resamples=5000)
    wide = [hits.repeat(10, axis=1) for hits in (a, b)]
    targets = (torch.arange(50) % 2).repeat_interleave(10)
    groups = torch.arange(50).repeat_interleave(10)

    def grouped(hits, **more):
        predicted = torch.where(torch.from_numpy(hits.astype(bool)), targets, 1 - targets)
        return predictions(torch.nn.functional.one_hot(predicted, 2) * 3.0, targets, **more)

    pair = [grouped(hits, groups=groups) for hits in wide]
    assert paired_standard_error(*pair, resamples=5000) == pytest.approx(once, rel=0.05)
    assert paired_standard_error(*(grouped(hits) for hits in wide)) < 0.5 * once


def test_a_constant_difference_of_architectures_is_no_error():
    """Two networks, one far better by the set: their difference is not sampled, so it does not count."""
    a, b = random_hits(4, 200, 2, 0.1, 0.1)
    b[2:] = 0
    names = ["mlp", "mlp", "lenet", "lenet"]
    stratified = paired_standard_error(*(from_hits(hits, architectures=names) for hits in (a, b)), resamples=5000)
    v_s = sum((a - b)[rows].mean(1).var(ddof=1) / 2 for rows in (slice(0, 2), slice(2, 4))) / 4
    v_n = (a - b).mean(0).var() / 200
    assert v_n <= stratified**2 * 1.05
    assert stratified**2 <= (v_s + v_n) * 1.05
    assert stratified < 0.5 * paired_standard_error(from_hits(a), from_hits(b))


def test_bad_input_is_refused():
    a, b = (from_hits(hits) for hits in random_hits(2, 30, 0))
    with pytest.raises(ValueError, match="the students differ"):
        paired_standard_error(a, from_hits(np.ones((1, 30))))
    with pytest.raises(ValueError, match="targets differ"):
        paired_standard_error(a, from_hits(np.ones((2, 29))))
    with pytest.raises(ValueError, match="unknown metric 'mAP'"):
        paired_standard_error(a, b, "mAP")
    with pytest.raises(ValueError, match="needs at least 2"):
        paired_standard_error(from_hits(np.ones((2, 1))), from_hits(np.ones((2, 1))))
