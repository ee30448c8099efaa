"""Neighbours and separability against scikit-learn's own and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lightning_distill import DigitsDataModule
from lightning_distill.indicator import knn_accuracy, measure_predictors, predictors, separability


def clouds(apart=2.0, n=30, features=6, classes=3, seed=0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), n)
    centres = apart * random.normal(size=(classes, features))
    return (centres[labels] + random.normal(size=(len(labels), features))).astype(np.float32), labels


def test_separability_is_scatter_between_over_within_by_plain_loops():
    x, y = clouds()
    z = PCA(4, random_state=0).fit_transform(x.astype(np.float64))
    between = within = 0.0
    for label in range(3):
        own = z[y == label]
        between += len(own) * np.square(own.mean(0) - z.mean(0)).sum()
        within += sum(np.square(row - own.mean(0)).sum() for row in own)
    assert separability(x, y, 4) == pytest.approx(between / within, rel=1e-9)
    total = np.square(x - x.mean(0)).sum()
    within = sum(np.square(x[y == c] - x[y == c].mean(0)).sum() for c in range(3))
    assert separability(x, y, 99) == pytest.approx((total - within) / within, rel=1e-4)


def test_separability_grows_with_distance_and_not_with_scale_shift_or_order():
    values = [separability(*clouds(apart)) for apart in (0.0, 1.0, 3.0, 9.0)]
    assert values == sorted(values)
    assert values[0] < 0.2
    assert values[-1] > 5
    x, y = clouds()
    order = np.random.default_rng(0).permutation(len(y))
    for other_x, other_y in ((5 * x + 3, y), (x[order], y[order]), (x, 2 - y)):
        assert separability(other_x, other_y) == pytest.approx(separability(x, y), rel=1e-4)


def test_separability_at_its_ends():
    same = np.ones((4, 3), np.float32)
    assert np.isnan(separability(same, np.array([0, 0, 1, 1])))
    apart = np.array([[0, 0], [0, 0], [1, 0], [1, 0]], np.float32)
    assert separability(apart, np.array([0, 0, 1, 1])) == np.inf
    assert separability(apart, np.array([0, 1, 2, 3])) == np.inf
    assert separability(apart, np.zeros(4, np.int64)) == 0
    assert separability(apart, np.array([0, 1, 0, 1])) == pytest.approx(0)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbours_vote(k):
    x, y = clouds(0.7)
    other, truth = clouds(0.7, n=12)
    other = other + np.float32(0.3)
    predicted = []
    for row in other:
        nearest = np.argsort(((x - row) ** 2).sum(1), kind="stable")[:k]
        predicted.append(
            np.bincount(y[nearest], minlength=3).argmax()
        )  # ties go to the smaller label, as in scikit-learn
    predicted = np.array(predicted)
    acc, balanced = knn_accuracy(x, y, other, truth, k)
    assert acc == pytest.approx((predicted == truth).mean())
    assert balanced == pytest.approx(np.mean([(predicted[truth == c] == c).mean() for c in range(3)]))
    assert 0.3 < acc < 1


def test_a_class_that_is_absent_from_the_scored_images_has_no_recall():
    x, y = clouds(9.0)
    few = y != 1
    assert knn_accuracy(x, y, x[few], y[few]) == (1, 1)
    assert knn_accuracy(x[:2], y[:2], x[:2], y[:2], 5)[0] == 1
    with pytest.raises(ValueError, match="k=0; a vote needs at least 1"):
        knn_accuracy(x, y, x, y, 0)


def test_images_are_looked_at_once_and_not_too_many(make_data, monkeypatch):
    data = make_data(3)
    images, labels = data.train_arrays()
    val = data.val_dataloader()
    stats = measure_predictors((images, labels), (val.images, val.labels), data.spec)
    assert (stats.classes, stats.images, stats.smallest_class, stats.train_images_used, stats.scored) == (
        3,
        36,
        12,
        36,
        18,
    )
    assert stats.knn_acc == 1
    monkeypatch.setattr(predictors, "TRAIN_IMAGES", 20)
    fewer = measure_predictors((images, labels), (val.images, val.labels), data.spec, seed=1)
    assert (fewer.images, fewer.train_images_used) == (36, 20)
    assert fewer == measure_predictors((images, labels), (val.images, val.labels), data.spec, seed=1)
    assert (
        fewer.separability
        != measure_predictors((images, labels), (val.images, val.labels), data.spec, seed=2).separability
    )


def test_pixels_are_normalised_channel_by_channel(make_data):
    data = make_data(2, channels=3)
    images, labels = data.train_arrays()
    pixels, kept = predictors.flat((images, labels), data.spec, 10**6, 0)
    assert pixels.shape == (24, 3 * 8 * 8)
    assert kept.tolist() == labels.tolist()
    by_channel = pixels.reshape(24, 3, -1)
    assert by_channel.mean((0, 2)) == pytest.approx([0, 0, 0], abs=1e-3)
    assert by_channel.std((0, 2)) == pytest.approx([1, 1, 1], abs=1e-3)


def test_digits_are_easier_than_shuffled_digits():
    data = DigitsDataModule()
    images, labels = data.train_arrays()
    val = data.val_dataloader()
    real = measure_predictors((images, labels), (val.images, val.labels), data.spec)
    shuffled = np.random.default_rng(0).permutation(labels)
    none = measure_predictors((images, shuffled), (val.images, val.labels), data.spec)
    assert real.knn_acc > 0.95
    assert none.knn_acc < 0.2
    assert real.separability > 10 * none.separability
