"""Random subsets of a stream: uniform, reproducible, and small in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from lightning_distill import DataSpec
from lightning_distill.evaluation.reservoir import ClassReservoirs

SPEC = DataSpec("toy", (1, 1, 1), ("a", "b"), (0.0,), (1.0,))


def filled(counts, labels, seed=0, students=1, batch=7):
    """Reservoirs of images that hold their own number."""
    reservoirs, labels = ClassReservoirs(counts, seed, students), np.asarray(labels)
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1)
    for start in range(0, len(labels), batch):
        reservoirs.add(images[start : start + batch], labels[start : start + batch])
    return reservoirs


def numbers(reservoirs, student=0):
    return reservoirs.sample(SPEC, student).pixels.flatten().long().tolist()


def test_a_subset_has_different_images_of_the_right_classes():
    labels = np.random.default_rng(0).integers(0, 2, 60)
    reservoirs = filled([5, 3], labels, students=4)
    for student in range(4):
        sample, chosen = reservoirs.sample(SPEC, student), numbers(reservoirs, student)
        assert sample.labels.tolist() == [0] * 5 + [1] * 3 == labels[chosen].tolist()
        assert len(set(chosen)) == 8
    assert reservoirs.seen == np.bincount(labels).tolist()
    assert len({tuple(sorted(numbers(reservoirs, student))) for student in range(4)}) == 4


def test_every_image_has_the_same_chance():
    hits = np.zeros(20)
    for seed in range(60):
        reservoirs = filled([3, 0], [0] * 20, seed, students=10)
        for student in range(10):
            np.add.at(hits, numbers(reservoirs, student), 1)
    assert hits.sum() == 1800
    assert chisquare(hits).pvalue > 1e-3


def test_subsets_depend_on_seed_and_student_and_not_on_batches():
    labels = [0, 1] * 30
    chosen = [numbers(filled([4, 4], labels, batch=batch)) for batch in (1, 7, 60)]
    assert chosen[0] == chosen[1] == chosen[2]
    assert chosen[0] != numbers(filled([4, 4], labels, seed=1))
    assert chosen[0] == numbers(filled([4, 4], labels, students=3))


def test_other_classes_change_no_subset():
    alone, mixed = filled([4, 0], [0] * 30), filled([4, 4], [0, 1] * 30)
    assert [number // 2 for number in numbers(mixed)[:4]] == numbers(alone)


@pytest.mark.parametrize(("count", "most"), [(3, 1), (7, 3), (9, 3), (2, 1)])
def test_a_small_class_repeats_its_images_evenly(count, most):
    chosen = numbers(filled([count, 1], [0, 1, 0, 0]))[:count]
    repeats = np.bincount(chosen, minlength=4)[[0, 2, 3]]
    assert repeats.sum() == count
    assert repeats.max() == most
    assert repeats.max() - repeats.min() <= 1


def test_memory_holds_the_subsets_alone():
    reservoirs, most = ClassReservoirs([4, 2], 0, 3), 0
    for start in range(0, 1000, 10):
        reservoirs.add(np.full((10, 1, 1, 1), start), np.arange(10) % 2)
        most = max(most, reservoirs.held)
    assert most <= 3 * 6
    assert {image.base for image in reservoirs._images.values()} == {None}, "an image keeps no batch"


def test_images_without_a_class_are_passed_over_and_a_missing_class_is_named():
    reservoirs = filled([2, 2], [-1, 0, 0, 5])
    assert reservoirs.seen == [2, 0]
    with pytest.raises(ValueError, match="no training images of 'b'"):
        reservoirs.sample(SPEC, 0)
    assert torch.equal(filled([2, 0], [-1, 0, 0, 5]).sample(SPEC, 0).labels, torch.zeros(2, dtype=torch.int64))
