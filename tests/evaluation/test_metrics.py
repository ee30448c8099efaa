from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from lightning_distill.evaluation import StudentMetrics


def random_predictions(num_classes: int, rows: int = 200, seed: int = 0):
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(num_classes), rows).astype(np.float32)
    return torch.from_numpy(probabilities), torch.from_numpy(random.integers(0, num_classes, rows))


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_equals_scikit_learn_over_batches(num_classes):
    p, y = random_predictions(num_classes)
    metrics = StudentMetrics(num_classes)
    for rows in torch.arange(len(y)).split(64):
        metrics.update(p[rows], y[rows])
    scores = metrics.scores()
    assert scores["acc"] == pytest.approx(accuracy_score(y, p.argmax(1)), abs=1e-6)
    assert scores["balanced_acc"] == pytest.approx(balanced_accuracy_score(y, p.argmax(1)), abs=1e-6)
    one_hot = np.eye(num_classes)[y]
    assert scores["auroc"] == pytest.approx(roc_auc_score(one_hot, p, average="macro"), abs=1e-5)
    assert metrics.absent == []


def test_absent_class_is_left_out_and_named_never_counted_as_zero():
    p, y = random_predictions(4)
    y = y.clamp(max=2)
    metrics = StudentMetrics(4)
    metrics.update(p, y)
    scores = metrics.scores()
    assert metrics.absent == [3]
    recalls = [(p.argmax(1)[y == c] == c).float().mean().item() for c in range(3)]
    assert scores["balanced_acc"] == pytest.approx(sum(recalls) / 3, abs=1e-6)
    expected = np.mean([roc_auc_score(y == c, p[:, c]) for c in range(3)])
    assert scores["auroc"] == pytest.approx(expected, abs=1e-5)


def test_auroc_below_one_half_stays_there():
    y = torch.tensor([0, 0, 1, 1])
    wrong = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.8, 0.2], [0.9, 0.1]])
    metrics = StudentMetrics(2)
    metrics.update(wrong, y)
    assert metrics.scores()["auroc"] == 0.0


def test_a_single_class_has_no_auroc():
    metrics = StudentMetrics(2)
    metrics.update(torch.tensor([[0.4, 0.6]]), torch.tensor([1]))
    scores = metrics.scores()
    assert scores["acc"] == 1.0
    assert math.isnan(scores["auroc"])
