from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from medmnist.evaluator import getACC, getAUC
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    recall_score,
    roc_auc_score,
)

from lightning_distill.evaluation import StudentMetrics, class_recalls, compute_metrics, undefined_classes, worst_class
from lightning_distill.evaluation.metrics.classification import calibration_scores
from lightning_distill.evaluation.metrics.registry import metrics_for
from lightning_distill.spec import DataSpec

EVERYWHERE = {"acc", "balanced_acc", "auroc", "worst_recall", "macro_f1", "ece", "brier", "nll"}


def make_spec(num_classes: int, task="multi-class") -> DataSpec:
    return DataSpec("numbers", (1, 8, 8), tuple(f"c{k}" for k in range(num_classes)), (0.0,), (1.0,), task=task)


def random_predictions(num_classes: int, rows: int = 200, seed: int = 0):
    """Logits ``(N, K)`` that know a little of the labels ``(N,)``, which are unevenly spread over the classes."""
    random = np.random.default_rng(seed)
    shares = np.arange(1, num_classes + 1) / sum(range(1, num_classes + 1))
    labels = random.choice(num_classes, rows, p=shares)
    logits = random.normal(size=(rows, num_classes)) * 2 + np.eye(num_classes)[labels]
    return torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(labels)


def random_labels(num_labels: int, rows: int = 200, seed: int = 0):
    """Logits ``(N, K)`` that know a little of the labels ``(N, K)``, of which the later ones are rarer."""
    random = np.random.default_rng(seed)
    labels = (random.random((rows, num_labels)) < 0.6 / np.arange(1, num_labels + 1)).astype(np.int64)
    logits = random.normal(size=(rows, num_labels)) * 2 + labels - 0.5
    return torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(labels)


def seen_by(metrics: StudentMetrics, logits, targets, batch=64):
    for rows in torch.arange(len(targets)).split(batch):
        metrics.update(logits[rows], targets[rows])
    return metrics.scores()


@pytest.mark.parametrize(
    ("num_classes", "task"), [(2, "multi-class"), (2, "binary"), (3, "ordinal"), (7, "multi-class")]
)
def test_equals_scikit_learn_over_batches(num_classes, task):
    logits, y = random_predictions(num_classes)
    metrics = StudentMetrics(make_spec(num_classes, task))
    scores = seen_by(metrics, logits, y)
    p = logits.double().softmax(1).numpy()
    guess, one_hot = p.argmax(1), np.eye(num_classes)[y]
    assert scores["acc"] == pytest.approx(accuracy_score(y, guess), abs=1e-6)
    assert scores["balanced_acc"] == pytest.approx(balanced_accuracy_score(y, guess), abs=1e-6)
    assert scores["auroc"] == pytest.approx(roc_auc_score(one_hot, p, average="macro"), abs=1e-5)
    assert scores["worst_recall"] == pytest.approx(recall_score(y, guess, average=None).min(), abs=1e-6)
    assert scores["macro_f1"] == pytest.approx(f1_score(y, guess, average="macro"), abs=1e-6)
    assert scores["nll"] == pytest.approx(log_loss(y, p), abs=1e-6)
    assert metrics.absent == []
    assert not metrics.diverged
    if task == "ordinal":
        assert scores["kappa"] == pytest.approx(cohen_kappa_score(y, guess, weights="quadratic"), abs=1e-6)
        assert scores["mae"] == pytest.approx(mean_absolute_error(y, guess), abs=1e-6)
    assert set(scores) == EVERYWHERE | ({"kappa", "mae"} if task == "ordinal" else set())


def test_multi_label_equals_scikit_learn():
    logits, y = random_labels(4)
    spec = make_spec(4, "multi-label")
    scores = seen_by(StudentMetrics(spec), logits, y)
    p = logits.double().sigmoid().numpy()
    yes, y = (p > 0.5).astype(int), y.numpy()
    each = range(4)
    assert scores["acc"] == pytest.approx(np.mean([accuracy_score(y[:, k], yes[:, k]) for k in each]), abs=1e-6)
    balanced = [balanced_accuracy_score(y[:, k], yes[:, k]) for k in each]
    assert scores["balanced_acc"] == pytest.approx(np.mean(balanced), abs=1e-6)
    assert scores["mAP"] == pytest.approx(average_precision_score(y, p, average="macro"), abs=1e-5)
    assert scores["auroc"] == pytest.approx(roc_auc_score(y, p, average="macro"), abs=1e-5)
    for k in each:
        assert scores[f"auroc/c{k}"] == pytest.approx(roc_auc_score(y[:, k], p[:, k]), abs=1e-5)
    assert scores["worst_recall"] == pytest.approx(recall_score(y, yes, average=None).min(), abs=1e-6)
    assert scores["macro_f1"] == pytest.approx(f1_score(y, yes, average="macro"), abs=1e-6)
    assert scores["nll"] == pytest.approx(np.mean([log_loss(y[:, k], p[:, k]) for k in each]), abs=1e-6)
    assert set(scores) == EVERYWHERE | {"mAP", *(f"auroc/c{k}" for k in each)}
    assert metrics_for(spec)["auroc/c1"].label == "AUROC of c1"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("task", "package_task", "num_classes"),
    [
        ("multi-class", "multi-class", 2),
        ("multi-class", "multi-class", 5),
        ("ordinal", "ordinal-regression", 5),
        ("binary", "binary-class", 2),
        ("multi-label", "multi-label, binary-class", 6),
    ],
)
def test_auc_and_acc_are_those_of_the_medmnist_package(task, package_task, num_classes, seed):
    spec = make_spec(num_classes, task)
    if task == "multi-label":
        logits, y = random_labels(num_classes, seed=seed)
        p, targets = logits.sigmoid().numpy(), y.numpy()
    else:
        logits, y = random_predictions(num_classes, seed=seed)
        p, targets = logits.softmax(1).numpy(), y[:, None].numpy()  # labels of the package are (N, 1)
    scores = compute_metrics(logits, y, spec)
    assert scores["auroc"] == pytest.approx(getAUC(targets, p, package_task), abs=1e-6)
    assert scores["acc"] == pytest.approx(getACC(targets, p, package_task), abs=1e-6)
    if task == "binary":  # the package also takes the positive score alone
        assert scores["auroc"] == pytest.approx(getAUC(targets, p[:, 1], package_task), abs=1e-6)
        assert scores["acc"] == pytest.approx(getACC(targets, p[:, 1], package_task), abs=1e-6)


def test_the_second_class_of_a_binary_task_is_the_positive_one():
    """Where float32 rounds a probability to one, only the positive score's order counts, as in the package."""
    logits = torch.tensor([[0.0, 30.0], [0.0, 40.0], [0.0, 20.0], [0.0, -1.0]])
    y = torch.tensor([1, 0, 1, 0])
    p = logits.softmax(1).numpy()
    expected = getAUC(y[:, None].numpy(), p, "binary-class")
    assert compute_metrics(logits, y, make_spec(2, "binary"))["auroc"] == expected == 0.75
    assert compute_metrics(logits, y, make_spec(2))["auroc"] == getAUC(y[:, None].numpy(), p, "multi-class") != 0.75


def test_a_tie_is_no_for_a_binary_task_as_in_the_package():
    logits, y = torch.zeros(4, 2), torch.tensor([1, 0, 0, 0])
    expected = getACC(y[:, None].numpy(), logits.softmax(1).numpy(), "binary-class")
    assert compute_metrics(logits, y, make_spec(2, "binary"))["acc"] == expected == 0.75


def ece_by_hand(confidence, hit, bins=15):
    """Bin by bin: how far the share of hits lies from the mean confidence, weighted by the images in the bin."""
    total = 0.0
    for b in range(bins):
        last = b == bins - 1
        rows = [n for n, c in enumerate(confidence) if b / bins <= c and (c < (b + 1) / bins or last)]
        if rows:
            gap = sum(hit[n] for n in rows) / len(rows) - sum(confidence[n] for n in rows) / len(rows)
            total += len(rows) / len(confidence) * abs(gap)
    return total


@pytest.mark.parametrize("scale", [0.3, 3.0, 60.0])
@pytest.mark.parametrize(("num_classes", "task"), [(2, "binary"), (2, "multi-class"), (5, "ordinal")])
def test_calibration_by_hand(num_classes, task, scale):
    logits, y = random_predictions(num_classes)
    scores = calibration_scores(logits * scale, y, make_spec(num_classes, task))
    p = (logits * scale).softmax(1).numpy()
    expected = ece_by_hand(p.max(1).tolist(), (p.argmax(1) == y.numpy()).tolist())
    assert scores["ece"] == pytest.approx(expected, abs=1e-5)
    brier = np.mean([sum((p[n, k] - float(y[n] == k)) ** 2 for k in range(num_classes)) for n in range(len(y))])
    if num_classes == 2:
        brier = np.mean((p[:, 1] - y.numpy()) ** 2)
    assert scores["brier"] == pytest.approx(brier, abs=1e-6)
    exact = (logits * scale).double()
    nll = np.mean([exact[n].logsumexp(0) - exact[n, y[n]] for n in range(len(y))])
    assert scores["nll"] == pytest.approx(nll, rel=1e-6)


def test_calibration_of_labels_by_hand():
    logits, y = random_labels(3)
    scores = calibration_scores(logits, y, make_spec(3, "multi-label"))
    p, y = logits.sigmoid().numpy(), y.numpy()
    errors = [ece_by_hand(p[:, k].tolist(), y[:, k].tolist()) for k in range(3)]
    assert scores["ece"] == pytest.approx(np.mean(errors), abs=1e-5)
    assert scores["brier"] == pytest.approx(np.mean((p - y) ** 2), abs=1e-6)


def test_a_probability_of_exactly_one_is_in_the_last_bin():
    """torchmetrics alone would say .5 * .5 + .5 * .05: the two errors have opposite signs in one bin."""
    confident = math.log(0.95 / 0.05)
    logits = torch.tensor([[0.0, 200.0], [0.0, 200.0], [0.0, confident], [0.0, confident]])
    y = torch.tensor([1, 0, 1, 1])
    ece = calibration_scores(logits, y, make_spec(2))["ece"]
    assert ece == pytest.approx(abs(3 / 4 - (1 + 1 + 0.95 + 0.95) / 4), abs=1e-6)


@pytest.mark.parametrize("task", ["binary", "multi-class", "ordinal"])
def test_perfect_predictions_have_perfect_scores(task):
    y = torch.arange(2).repeat(5)
    scores = compute_metrics(torch.eye(2)[y] * 1000, y, make_spec(2, task))
    zero = {"ece", "brier", "nll", "mae"}
    assert scores == pytest.approx({name: 0.0 if name in zero else 1.0 for name in scores}, abs=1e-6)


def test_perfect_labels_have_perfect_scores():
    _, y = random_labels(3)
    scores = compute_metrics((y - 0.5) * 2000, y, make_spec(3, "multi-label"))
    zero = {"ece", "brier", "nll"}
    assert scores == pytest.approx({name: 0.0 if name in zero else 1.0 for name in scores}, abs=1e-6)


def test_no_score_depends_on_the_order_of_images_or_on_a_constant_added_to_all_logits():
    logits, y = random_predictions(4)
    scores, order = compute_metrics(logits, y, make_spec(4, "ordinal")), torch.randperm(len(y))
    assert compute_metrics(logits[order] + 3, y[order], make_spec(4, "ordinal")) == pytest.approx(scores, abs=1e-5)


def test_absent_class_is_left_out_and_named_never_counted_as_zero():
    logits, y = random_predictions(4)
    y = y.clamp(max=2)
    metrics = StudentMetrics(make_spec(4))
    scores = seen_by(metrics, logits, y)
    assert metrics.absent == undefined_classes(y, make_spec(4)) == [3]
    guess, p = logits.argmax(1), logits.softmax(1)
    expected = [(guess[y == c] == c).float().mean().item() for c in range(3)]
    assert scores["balanced_acc"] == pytest.approx(sum(expected) / 3, abs=1e-6)
    assert scores["worst_recall"] == pytest.approx(min(expected), abs=1e-6)
    assert scores["auroc"] == pytest.approx(np.mean([roc_auc_score(y == c, p[:, c]) for c in range(3)]), abs=1e-5)
    f1 = f1_score(y, guess, average="macro", labels=[0, 1, 2])
    assert scores["macro_f1"] == pytest.approx(f1, abs=1e-6)
    assert class_recalls(logits, y, make_spec(4)) == pytest.approx(dict(zip(["c0", "c1", "c2"], expected, strict=True)))


@pytest.mark.parametrize("value", [0, 1])
def test_a_label_of_no_or_of_all_images_is_left_out_and_named(value):
    logits, y = random_labels(3)
    y[:, 1] = value
    spec = make_spec(3, "multi-label")
    scores = compute_metrics(logits, y, spec)
    assert undefined_classes(y, spec) == [1]
    rest, fewer = [0, 2], make_spec(2, "multi-label")
    for name in ("auroc", "mAP", "balanced_acc", "worst_recall", "macro_f1"):
        assert scores[name] == pytest.approx(compute_metrics(logits[:, rest], y[:, rest], fewer)[name], abs=1e-6)
    assert math.isnan(scores["auroc/c1"])
    assert set(class_recalls(logits, y, spec)) == {"c0", "c2"}
    package_acc = getACC(y.numpy(), logits.sigmoid().numpy(), "multi-label, binary-class")
    assert scores["acc"] == pytest.approx(package_acc, abs=1e-6)  # an accuracy needs no positives


def test_without_any_label_to_tell_there_is_no_score_but_an_accuracy():
    spec = make_spec(2, "multi-label")
    scores = compute_metrics(torch.tensor([[1.0, -1.0]]), torch.tensor([[1, 0]]), spec)
    assert scores["acc"] == 1
    none = ("auroc", "mAP", "balanced_acc", "worst_recall", "macro_f1", "auroc/c0", "auroc/c1")
    assert all(math.isnan(scores[name]) for name in none)
    with pytest.raises(ValueError, match="none of the 2 labels"):
        worst_class(torch.tensor([[1.0, -1.0]]), torch.tensor([[1, 0]]), spec)


def test_the_worst_class_is_named():
    y = torch.tensor([0, 0, 1, 1, 2, 2])
    logits = torch.eye(4)[torch.tensor([0, 0, 1, 0, 0, 1])]
    assert worst_class(logits, y, make_spec(4)) == "c2"  # c3 has no images
    assert compute_metrics(logits, y, make_spec(4))["worst_recall"] == 0.0


@pytest.mark.parametrize("task", ["binary", "multi-class"])
def test_auroc_below_one_half_stays_there(task):
    y = torch.tensor([0, 0, 1, 1])
    wrong = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.8, 0.2], [0.9, 0.1]])
    assert compute_metrics(wrong.log(), y, make_spec(2, task))["auroc"] == 0.0


@pytest.mark.parametrize("task", ["binary", "multi-class", "ordinal"])
def test_a_single_class_has_no_auroc(task):
    metrics = StudentMetrics(make_spec(2, task))
    metrics.update(torch.tensor([[0.4, 0.6]]), torch.tensor([1]))
    scores = metrics.scores()
    assert scores["acc"] == 1.0
    assert math.isnan(scores["auroc"])
    assert metrics.absent == [0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_student_that_diverged_knows_nothing_and_is_told(bad):
    logits, y = random_predictions(4)
    logits[7, 2] = bad
    metrics = StudentMetrics(make_spec(4))
    scores = seen_by(metrics, logits, y)
    assert metrics.diverged
    assert scores["balanced_acc"] == pytest.approx(1 / 4)
    assert scores["auroc"] == 0.5
    assert scores["nll"] == pytest.approx(math.log(4))
    seen, targets = metrics.all_predictions()
    assert torch.equal(seen, torch.zeros(200, 4))
    assert torch.equal(targets, y)


def test_what_cannot_be_scored_is_refused():
    spec, labels = make_spec(3), make_spec(3, "multi-label")
    with pytest.raises(ValueError, match=r"multi-class task are \(N, 3\) and \(N,\), got \(5, 2\) and \(5,\)"):
        compute_metrics(torch.zeros(5, 2), torch.zeros(5), spec)
    with pytest.raises(ValueError, match=r"multi-label task are \(N, 3\) and \(N, 3\), got \(5, 3\) and \(5,\)"):
        compute_metrics(torch.zeros(5, 3), torch.zeros(5), labels)
    with pytest.raises(ValueError, match="no images"):
        compute_metrics(torch.zeros(0, 3), torch.zeros(0), spec)
    with pytest.raises(ValueError, match="range from 0 to 3, expected 0 to 2 for numbers"):
        compute_metrics(torch.zeros(2, 3), torch.tensor([0, 3]), spec)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        compute_metrics(torch.zeros(2, 3), torch.tensor([[0, 1, 1], [2, 0, 0]]), labels)
    with pytest.raises(ValueError, match="not finite"):
        compute_metrics(torch.full((2, 3), math.nan), torch.tensor([0, 2]), spec)
