"""Tests of ``DigitsDataModule``."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lightning_distill import DigitsDataModule
from lightning_distill.augmentation.presets import PRESETS


@pytest.fixture(scope="module")
def digits():
    data = DigitsDataModule()
    data.setup()
    return data


def test_the_splits_are_60_20_20_stratified_and_together_the_whole_set(digits):
    assert [len(digits.splits[split][1]) for split in ("train", "val", "test")] == [1077, 360, 360]
    for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        np.testing.assert_allclose(
            np.bincount(digits.splits[name][1]), share * np.bincount(load_digits().target), atol=1.5
        )
    pairs = sorted((image.tobytes(), label) for images, labels in digits.splits.values()
                   for image, label in zip(images, labels, strict=True))  # fmt: skip
    whole = np.round(load_digits().images * 255 / 16).astype(np.uint8)
    assert pairs == sorted((image.tobytes(), label) for image, label in zip(whole, load_digits().target, strict=True))


def test_grey_levels_are_spread_over_the_whole_range(digits):
    images, _ = digits.train_arrays()
    assert images.dtype == np.uint8
    assert images.shape[1:] == (1, 8, 8)
    assert np.unique(images).tolist() == [round(level * 255 / 16) for level in range(17)]


def test_the_set_is_described(digits):
    spec = digits.spec
    assert (spec.name, spec.task, spec.license) == ("digits", "multi-class", "CC BY 4.0")
    assert spec.class_names == tuple("0123456789")
    assert spec.shape == (1, 8, 8)
    assert spec.storage_dtype == "uint8"
    assert "flip" not in PRESETS[spec.augmentation]
    assert spec.mean[0] == pytest.approx(digits.train_arrays()[0].mean())


def test_the_split_is_seeded(digits):
    same, other = DigitsDataModule(), DigitsDataModule(seed=1)
    np.testing.assert_array_equal(same.train_arrays()[0], digits.train_arrays()[0])
    assert not np.array_equal(other.train_arrays()[0], digits.train_arrays()[0])


def test_options_reach_the_loaders():
    data = DigitsDataModule(real_per_class=3, batch_size=50, steps_per_epoch=4)
    assert len(data.train_dataloader()) == 4
    assert data.train_dataloader().batch(0)[0].shape == (30, 1, 8, 8)
    assert len(next(iter(data.val_dataloader()))[1]) == 50
