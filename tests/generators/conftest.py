"""Tiny generators, data in ChestMNIST's shape, and runs of a few steps."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_distill import ArrayDataModule, FlowGenerator, GANGenerator

#: Tiny generators by name.
TINY = {
    "flow": lambda **options: FlowGenerator(**{"widths": [16, 16], "batch_size": 8, "sampling_steps": 2, **options}),
    "gan": lambda **options: GANGenerator(**{"widths": [16], "latent": 8, "batch_size": 8, **options}),
    "modulated": lambda **options: GANGenerator(
        **{"widths": [16], "latent": 8, "batch_size": 8, "conditioning": "modulated", **options}
    ),
}
GENERATORS = sorted(TINY)


@pytest.fixture(params=GENERATORS)
def make_generator(request):
    """A factory of each tiny generator."""
    return TINY[request.param]


@pytest.fixture
def tiny():
    """The factories of all tiny generators by name."""
    return TINY


@pytest.fixture
def fit(make_trainer):
    """A function that trains a generator for some steps and returns it and its trainer."""

    def run(generator, data, max_steps: int = 3, ckpt_path=None, **options):
        trainer = make_trainer(max_steps, limit_val_batches=0, **options)
        trainer.fit(generator, datamodule=data, ckpt_path=ckpt_path)
        return generator, trainer

    return run


def chest(images: int = 120, size: int = 28, labels: int = 14) -> ArrayDataModule:
    """Multi-label data of 14 findings, most images without any; each finding is a bright square of its own."""
    splits = []
    for seed, count in enumerate((images, 40, 40)):
        random = np.random.default_rng(seed)
        targets = (random.random((count, labels)) < 0.12).astype(np.int64)
        targets[:labels] = np.eye(labels, dtype=np.int64)
        targets[labels : 2 * labels + 6] = 0
        pixels = random.integers(0, 60, (count, size, size))
        for row, target in enumerate(targets):
            for label in np.flatnonzero(target):
                top, left = divmod(label, 4)
                pixels[row, 7 * top : 7 * top + 7, 7 * left : 7 * left + 7] += 150
        splits.append((pixels.clip(0, 255).astype(np.uint8), targets))
    return ArrayDataModule(*splits, name="chest", min_combination=3, batch_size=16, augmentation="dsa_noflip")


@pytest.fixture(scope="session")
def chest_data() -> ArrayDataModule:
    """Multi-label data in ChestMNIST's shape."""
    return chest()
