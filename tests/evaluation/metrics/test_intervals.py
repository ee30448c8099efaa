from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from lightning_distill.evaluation.metrics.classification import compute_metrics
from lightning_distill.evaluation.metrics.intervals import (
    Estimate,
    bootstrap,
    bootstrap_interval,
    paired_bootstrap,
    small_split_warning,
    student_interval,
    weighted_statistic,
    wilson_half_width,
)
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.registry import METRICS
from lightning_distill.evaluation.scores import Scores
from lightning_distill.spec import DataSpec
from lightning_distill.visualization.format import bracket


def predictions(logits, targets, task="multi-class", **more) -> Predictions:
    names = tuple(f"c{k}" for k in range(logits.shape[-1]))
    spec = DataSpec("made", (1, 8, 8), names, (0.0,), (1.0,), task=task)
    students = len(logits)
    return Predictions(logits.float(), targets, spec, list(range(students)), ["mlp"] * students, **more)


def guesses(images=120, classes=3, students=2, skill=1.0, seed=0, task="multi-class", **more) -> Predictions:
    """Students who see a class through noise; coarse logits, so that there are ties."""
    g = torch.Generator().manual_seed(seed)
    if task == "multi-label":
        targets = torch.randint(2, (images, classes), generator=g)
        signal = skill * (2.0 * targets - 1)
    else:
        targets = torch.randint(classes, (images,), generator=g)
        signal = skill * torch.nn.functional.one_hot(targets, classes)
    noise = torch.randn(students, images, classes, generator=g)
    return predictions(((signal + noise) * 4).round() / 4, targets, task, **more)


def from_hits(hits: np.ndarray, **more) -> Predictions:
    """Two-class predictions, ``(S, N)`` of them right or wrong as told; every target is class 0 or 1 in turn."""
    hits = np.atleast_2d(hits)
    targets = torch.arange(hits.shape[1]) % 2
    predicted = torch.where(torch.from_numpy(hits.astype(bool)), targets, 1 - targets)
    return predictions(torch.nn.functional.one_hot(predicted, 2) * 3.0, targets, **more)


# --- over students --------------------------------------------------------------------------------------------------


def test_t_interval_is_scipys():
    values = [0.81, 0.84, 0.79, 0.86, 0.83]
    estimate = student_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))
    assert (estimate.mean, estimate.std) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert (estimate.n, estimate.unit, estimate.level) == (5, "students", 0.95)
    scores = Scores([{"acc": value} for value in values])
    scores.architectures = ["mlp"] * 5
    assert (estimate.high - estimate.low) / 2 == pytest.approx(scores.half_interval("acc"))


def test_t_interval_covers_what_it_says():
    random = np.random.default_rng(0)
    for level in (0.8, 0.95):
        estimates = [student_interval(random.normal(0.7, 0.05, 5), level) for _ in range(1500)]
        covered = np.mean([e.low <= 0.7 <= e.high for e in estimates])
        assert covered == pytest.approx(level, abs=0.025)  # three standard errors at .8


def test_t_interval_moves_and_stretches_with_its_values():
    one = student_interval([0.1, 0.2, 0.4])
    other = student_interval([1.2, 1.4, 1.8])  # 2 v + 1
    assert (other.low, other.high) == pytest.approx((2 * one.low + 1, 2 * one.high + 1))


def test_one_student_has_no_interval():
    with pytest.raises(ValueError, match="students=1; an interval needs at least 2"):
        student_interval([0.8])
    with pytest.raises(ValueError, match="students=0"):
        student_interval([], level=None)
    alone = student_interval([0.8], level=None)
    assert alone.mean == 0.8
    assert math.isnan(alone.std)
    assert math.isnan(alone.low)
    with pytest.raises(ValueError, match=r"level=95"):
        student_interval([0.8, 0.9], level=95)
    assert math.isnan(student_interval([0.8, math.nan, 0.9]).mean), "nothing is dropped silently"


def test_text():
    estimate = Estimate(0.843, 0.012, 0.821, 0.865, 0.95, 5, "students")
    assert str(estimate) == "84.3 ± 1.2 (82.1 to 86.5)"
    assert estimate.text(percent=False) == "0.843 ± 0.012 (0.821 to 0.865)"
    assert str(student_interval([0.8, 0.9], level=None)) == "85.0 ± 7.1"
    assert str(student_interval([0.8], level=None)) == "80.0"


# --- the score of a resample ----------------------------------------------------------------------------------------

#: Without the recall of the worst class, which a resample does not seek anew: see below.
KINDS = [
    ("multi-class", 4, ["acc", "balanced_acc", "macro_f1", "auroc", "ece", "brier", "nll"]),
    ("binary", 2, ["acc", "balanced_acc", "macro_f1", "auroc", "brier", "nll"]),
    ("ordinal", 3, ["acc", "auroc", "mae", "kappa"]),
    ("multi-label", 3, ["acc", "balanced_acc", "macro_f1", "auroc", "auroc/c1", "mAP", "brier", "nll", "ece"]),
]


@pytest.mark.parametrize(("task", "classes", "metrics"), KINDS, ids=[kind[0] for kind in KINDS])
def test_a_resample_scores_what_measure_says_of_its_images(task, classes, metrics):
    p = guesses(60, classes, 3, task=task)
    drawn = np.random.default_rng(1).integers(0, 60, (3, 60))
    drawn[0] = np.arange(60)
    counts = np.stack([np.bincount(rows, minlength=60) for rows in drawn]).astype(float)
    for metric in metrics:
        expected = [
            np.mean([compute_metrics(own[rows], p.targets[rows], p.spec)[metric] for own in p.logits]) for rows in drawn
        ]
        assert weighted_statistic(metric, p.logits, p.targets, p.spec)(counts) == pytest.approx(expected, abs=2e-6), (
            metric
        )


def test_a_resample_against_scikit_learn():
    p = guesses(80, 3, 2, seed=5)
    rows = np.random.default_rng(2).integers(0, 80, 80)
    counts = np.bincount(rows, minlength=80)[None].astype(float)
    y = p.targets.numpy()[rows]
    predicted = [own.argmax(1).numpy()[rows] for own in p.logits]
    chances = [own.numpy()[rows] for own in p.probabilities]
    expected = {
        "acc": np.mean([accuracy_score(y, s) for s in predicted]),
        "balanced_acc": np.mean([balanced_accuracy_score(y, s) for s in predicted]),
        "auroc": np.mean([[roc_auc_score(y == k, c[:, k]) for k in range(3)] for c in chances]),
    }
    for metric, value in expected.items():
        assert weighted_statistic(metric, p.logits, p.targets, p.spec)(counts)[0] == pytest.approx(value), metric


def test_the_worst_class_is_the_one_of_the_images_as_they_are():
    hits = np.ones(40)
    hits[:20:2] = 0  # class 0: 10 of 20 right; class 1: all
    p = from_hits(hits)
    score = weighted_statistic("worst_recall", p.logits, p.targets, p.spec)
    assert score(np.ones((1, 40)))[0] == compute_metrics(p.logits[0], p.targets, p.spec)["worst_recall"] == 0.5
    only_right = np.where((hits == 1) | (np.arange(40) % 2 == 1), 1.0, 0.0)[None]
    assert score(only_right)[0] == 1.0
    estimate = bootstrap_interval(p, "worst_recall")
    assert estimate.low < estimate.mean < estimate.high


def test_a_class_that_a_resample_lacks_is_left_out():
    p = guesses(40, 3, 1)
    keep = (p.targets != 2).numpy()
    counts = keep.astype(float)[None]
    for metric in ("balanced_acc", "macro_f1", "auroc"):
        expected = compute_metrics(p.logits[0][keep], p.targets[keep], p.spec)[metric]
        assert weighted_statistic(metric, p.logits, p.targets, p.spec)(counts)[0] == pytest.approx(expected), metric
    single = (p.targets == 1).numpy().astype(float)[None]
    assert math.isnan(weighted_statistic("auroc", p.logits, p.targets, p.spec)(single)[0])


def test_a_label_that_all_images_have_is_left_out():
    p = guesses(40, 3, 2, task="multi-label")
    rows = torch.nonzero(p.targets[:, 1]).flatten()
    counts = np.bincount(rows, minlength=40)[None].astype(float)
    for metric in ("acc", "balanced_acc", "macro_f1", "auroc"):
        expected = np.mean([compute_metrics(own[rows], p.targets[rows], p.spec)[metric] for own in p.logits])
        assert weighted_statistic(metric, p.logits, p.targets, p.spec)(counts)[0] == pytest.approx(expected), metric
    worst = np.mean([compute_metrics(own, p.targets, p.spec)["worst_recall"] for own in p.logits])
    assert weighted_statistic("worst_recall", p.logits, p.targets, p.spec)(np.ones((1, 40)))[0] == pytest.approx(worst)


def test_of_two_classes_the_second_ones_probability_ranks():
    """The first one's is 1 in float32 for all of these images, and ties them."""
    logits = torch.stack([torch.tensor([20.0, 25.0, 22.0, 30.0]), torch.zeros(4)], 1)[None]
    p = predictions(logits, torch.tensor([1, 0, 0, 0]), "binary")
    assert p.probabilities[..., 0].unique().tolist() == [1.0]
    assert weighted_statistic("auroc", p.logits, p.targets, p.spec)(np.ones((1, 4)))[0] == 1.0


def test_what_is_no_metric_or_no_number_is_refused():
    p = guesses(20)
    with pytest.raises(ValueError, match="unknown metric 'accuracy' of multi-class labels; known: acc"):
        bootstrap_interval(p, "accuracy")
    with pytest.raises(ValueError, match="unknown metric 'auroc/c1'"):
        bootstrap_interval(p, "auroc/c1")
    broken = p.logits.clone()
    broken[1, 3, 0] = math.nan
    with pytest.raises(ValueError, match="logits of student 1 "):
        bootstrap_interval(predictions(broken, p.targets))


# --- over images ----------------------------------------------------------------------------------------------------


def test_interval_of_accuracy_is_scipys_bootstrap_of_a_mean():
    hits = np.random.default_rng(4).random((2, 90)) < 0.8
    estimate = bootstrap_interval(from_hits(hits), seed=3)
    random = np.random.default_rng(3)
    expected = stats.bootstrap(
        (hits.mean(0),), np.mean, n_resamples=1000, method="percentile", random_state=random, vectorized=True
    )
    interval = expected.confidence_interval
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    assert estimate.std == pytest.approx(expected.standard_error)
    assert (estimate.mean, estimate.n, estimate.unit) == (pytest.approx(hits.mean()), 90, "images")


def test_seed_decides():
    p = guesses()
    assert bootstrap_interval(p, "auroc", seed=1) == bootstrap_interval(p, "auroc", seed=1)
    assert bootstrap_interval(p, "auroc", seed=1) != bootstrap_interval(p, "auroc", seed=2)


def test_bootstrap_over_images_covers_what_it_says():
    random = np.random.default_rng(7)
    covered, truth = [], 0.8
    for trial in range(250):
        estimate = bootstrap_interval(from_hits(random.random(150) < truth), resamples=300, seed=trial)
        covered.append(estimate.low <= truth <= estimate.high)
    assert 0.905 < np.mean(covered) < 0.99  # three standard errors to either side of 95 %


def test_images_of_a_patient_must_be_drawn_together():
    """Patients of five images that agree: drawn one by one, the interval misses the truth far too often."""
    random, truth = np.random.default_rng(8), 0.7
    groups = torch.arange(40).repeat_interleave(5)
    inside, wider = {"grouped": [], "apart": []}, []
    for trial in range(100):
        hits = np.repeat(random.random(40) < truth, 5)
        grouped = bootstrap_interval(from_hits(hits, groups=groups), resamples=300, seed=trial)
        apart = bootstrap_interval(from_hits(hits), resamples=300, seed=trial)
        for name, estimate in (("grouped", grouped), ("apart", apart)):
            inside[name].append(estimate.low <= truth <= estimate.high)
        wider.append((grouped.high - grouped.low) / (apart.high - apart.low))
    assert (grouped.n, grouped.unit) == (40, "groups")
    assert np.mean(inside["grouped"]) > 0.88
    assert np.mean(inside["apart"]) < 0.75
    assert np.mean(wider) == pytest.approx(math.sqrt(5), rel=0.1)


def test_groups_of_one_image_are_images_and_their_numbers_mean_nothing():
    p = guesses(50)
    apart = bootstrap_interval(p, "balanced_acc")
    grouped = bootstrap_interval(predictions(p.logits, p.targets, groups=torch.arange(50) * 7 + 3), "balanced_acc")
    assert (grouped.low, grouped.high) == (apart.low, apart.high)


def test_more_images_narrow_the_interval_by_their_root():
    widths = []
    for images in (200, 3200):
        estimate = bootstrap_interval(from_hits(np.random.default_rng(0).random(images) < 0.75), seed=1)
        widths.append(estimate.high - estimate.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.15)


def test_perfect_students_have_no_error_and_auroc_below_one_half_stays():
    estimate = bootstrap_interval(from_hits(np.ones(30)))
    assert (estimate.low, estimate.mean, estimate.high, estimate.std) == (1, 1, 1, 0)
    assert bootstrap_interval(from_hits(np.zeros(30)), "auroc").high == 0


def test_resamples_without_a_score_are_counted_and_left_out():
    targets = torch.tensor([1] + [0] * 9)
    logits = torch.stack([-torch.arange(10.0), torch.zeros(10)], 1)[None]
    p = predictions(logits, targets, "binary")
    with pytest.warns(UserWarning, match=r"(\d+) of 1000 resamples hold too few classes") as caught:
        estimate = bootstrap_interval(p, "auroc")
    lost = int(str(caught[0].message).split()[0])
    assert lost == pytest.approx(1000 * 0.9**10, abs=60)
    assert estimate.mean == compute_metrics(logits[0], targets, p.spec)["auroc"]
    assert not math.isnan(estimate.low)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bootstrap_interval(p, "acc")


def test_too_little_to_resample_is_refused():
    p = guesses(12)
    with pytest.raises(ValueError, match="1 images or groups"):
        bootstrap_interval(predictions(p.logits, p.targets, groups=torch.zeros(12, dtype=torch.int64)))
    with pytest.raises(ValueError, match="resamples=0"):
        bootstrap_interval(p, resamples=0)
    with pytest.raises(ValueError, match="level=1"):
        bootstrap_interval(p, level=1)


def test_batches_of_resamples_change_nothing(monkeypatch):
    p = guesses(30)
    score = weighted_statistic("auroc", p.logits, p.targets, p.spec)
    whole = bootstrap(score, np.arange(30), 50)
    monkeypatch.setattr("lightning_distill.evaluation.metrics.bootstrap.CHUNK_ELEMENTS", 30 * 7)
    assert bootstrap(score, np.arange(30), 50) == pytest.approx(whole)


# --- two sets -------------------------------------------------------------------------------------------------------


def pair(images=300, students=2, gain=0.05, alike=0.9, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Hits of two sets of students on images that are easy or hard for all; the first is better by ``gain``."""
    random = np.random.default_rng(seed)
    hard = random.random(images)
    a, b = (
        np.where(random.random((students, images)) < alike, hard < skill, random.random((students, images)) < skill)
        for skill in (0.7 + gain, 0.7)
    )
    return a, b


def test_paired_difference_by_plain_resampling():
    a, b = pair(seed=1)
    comparison = paired_bootstrap(from_hits(a), from_hits(b), seed=5)
    rows = np.random.default_rng(99).integers(0, 300, (4000, 300))
    drawn = (a.mean(0) - b.mean(0))[rows].mean(1)
    assert comparison.difference.mean == pytest.approx(a.mean() - b.mean())
    assert comparison.difference.std == pytest.approx(drawn.std(), rel=0.08)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (comparison.difference.low, comparison.difference.high) == pytest.approx((low, high), abs=0.008)


def test_pairing_narrows_the_interval_of_sets_that_err_alike():
    a, b = pair(alike=0.9)
    one, other = bootstrap_interval(from_hits(a), seed=1), bootstrap_interval(from_hits(b), seed=2)
    unpaired = 2 * 1.96 * math.hypot(one.std, other.std)
    comparison = paired_bootstrap(from_hits(a), from_hits(b))
    assert comparison.difference.high - comparison.difference.low < 0.7 * unpaired


def test_sign_and_p_follow_who_is_better():
    a, b = (from_hits(hits) for hits in pair(gain=0.15))
    forth, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert forth.difference.mean == -back.difference.mean > 0
    assert (forth.difference.low, forth.difference.high) == pytest.approx((-back.difference.high, -back.difference.low))
    assert forth.p == back.p == pytest.approx(2 / 1001)
    assert forth.difference.low > 0
    assert str(forth).endswith("p = 0.002")


def test_the_same_set_twice_does_not_differ():
    p = guesses()
    same = paired_bootstrap(p, p, "auroc")
    assert (same.difference.mean, same.difference.low, same.difference.high, same.p) == (0, 0, 0, 1)


def test_p_is_small_as_often_as_it_says_where_nothing_differs():
    small = [
        paired_bootstrap(*(from_hits(h) for h in pair(120, 1, 0.0, 0.5, seed)), resamples=200, seed=seed).p < 0.1
        for seed in range(160)
    ]
    assert 0.03 < np.mean(small) < 0.17  # three standard errors to either side of 10 %


def test_groups_widen_a_difference_too():
    a, b = pair(60)
    groups = torch.arange(60).repeat_interleave(4)
    a, b = np.repeat(a, 4, axis=1), np.repeat(b, 4, axis=1)
    grouped = paired_bootstrap(
        from_hits(a, groups=groups), from_hits(b)
    ).difference  # one of them knowing the groups will do
    apart = paired_bootstrap(from_hits(a), from_hits(b)).difference
    assert (grouped.high - grouped.low) / (apart.high - apart.low) == pytest.approx(2, rel=0.15)
    assert (grouped.unit, grouped.n) == ("groups", 60)


def test_sets_may_have_other_numbers_of_students():
    a, b = pair()
    assert paired_bootstrap(from_hits(a), from_hits(b[:1]), "balanced_acc").difference.n == 300


def test_other_images_are_not_compared():
    p = guesses(30)
    with pytest.raises(ValueError, match="30 and 20 images"):
        paired_bootstrap(p, predictions(p.logits[:, :20], p.targets[:20]))
    with pytest.raises(ValueError, match="the targets differ"):
        paired_bootstrap(p, predictions(p.logits, p.targets.flip(0)))
    with pytest.raises(ValueError, match="3 classes on val"):
        paired_bootstrap(p, predictions(p.logits, p.targets, split="val"))
    with pytest.raises(ValueError, match="the groups differ"):
        paired_bootstrap(*(predictions(p.logits, p.targets, groups=torch.arange(30) // k) for k in (2, 3)))


# --- small splits ---------------------------------------------------------------------------------------------------


def test_tiny_split_solves_wilsons_equation():
    """Its ends are the shares q from which p lies z standard errors of q away."""
    z = stats.norm.ppf(0.975)
    for n, right in ((78, 57), (10, 10), (500, 20), (1, 0)):
        p = right / n
        low, high = sorted(np.roots([1 + z * z / n, -2 * p - z * z / n, p * p]).real)
        assert wilson_half_width(n, p) == pytest.approx((high - low) / 2, abs=1e-6)


def test_tiny_split_shrinks_with_images_and_is_widest_at_one_half():
    widths = [wilson_half_width(n, 0.8) for n in (10, 50, 100, 1000, 10_000)]
    assert (np.diff(widths) < 0).all()
    assert wilson_half_width(100, 0.5) == max(wilson_half_width(100, acc) for acc in (0.1, 0.3, 0.5, 0.9))
    assert wilson_half_width(78, 0.8, level=0.99) > wilson_half_width(78, 0.8)


def test_tiny_split_says_so_where_it_matters():
    assert small_split_warning(78, 0.74) == "78 validation images: accuracy is known to ± 9.5 points"
    assert small_split_warning(10_000, 0.74) is None
    assert small_split_warning(156, 0.8, split="test", limit=0.07) is None
    assert "156 test images" in small_split_warning(156, 0.8, split="test")
    assert small_split_warning(40, 0.8, "test", over="groups") == "40 test groups: accuracy is known to ± 12.1 points"


def test_tiny_split_refuses_nonsense():
    with pytest.raises(ValueError, match="n=0 images"):
        wilson_half_width(0, 0.5)
    with pytest.raises(ValueError, match=r"acc=84\.3 is not a fraction"):
        wilson_half_width(78, 84.3)


def test_an_interval_over_students_stays_in_the_range_of_its_metric():
    values = [0.97, 0.99, 1.0]
    free, cut = student_interval(values), student_interval(values, bounds=(0, 1))
    assert free.high > 1
    assert (cut.low, cut.high) == (free.low, 1)
    low = student_interval([0.0, 0.01, 0.02], bounds=(0, 1))
    assert low.low == 0
    assert METRICS["acc"].bounds == (0, 1)
    assert METRICS["nll"].bounds == (-math.inf, math.inf)


def test_cutting_an_interval_keeps_its_coverage():
    """A mean in the range is in the cut interval exactly where it is in the whole one."""
    random = np.random.default_rng(0)
    for _ in range(300):
        mean = random.uniform(0, 1)
        values = list(np.clip(random.normal(mean, 0.2, 4), 0, 1))
        free, cut = student_interval(values), student_interval(values, bounds=(0, 1))
        assert (free.low <= mean <= free.high) == (cut.low <= mean <= cut.high)


def test_two_students_are_too_few_for_an_interval():
    estimate = student_interval([0.8, 0.9])
    assert estimate.mean == pytest.approx(0.85)
    assert estimate.std == pytest.approx(0.0707, abs=1e-4)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert bracket(estimate) == "(too few students)"
    assert bracket(student_interval([0.8], level=None)) == ""
    assert bracket(student_interval([0.7, 0.8, 0.9])) == "[55.2, 104.8]"
