"""Sets of real images, of noise and of training images, for small data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill.evaluation.copies import embedding
from lightning_distill.sets.labeled_set import LabeledSet


@pytest.fixture(autouse=True)
def short_embedding(monkeypatch):
    monkeypatch.setattr(embedding, "EMBEDDING_STEPS", 4)


@pytest.fixture
def set_of():
    """A factory of sets with some images of a split for each class: real ones, or noise of the same labels."""

    def make(data, ipc: int, split: str = "train", noise: bool = False, formation: int = 1, seed: int = 0):
        random, (images, labels) = np.random.default_rng(seed), data.splits[split]
        if data.spec.multi_label:
            labels = np.array([data.spec.group_indices(torch.from_numpy(row[None])).item() for row in labels])
        rows = np.concatenate([
            random.choice(np.flatnonzero(labels == name), ipc, replace=False)
            for name in range(len(data.spec.balance_groups))
        ])  # fmt: skip
        pixels = torch.from_numpy(np.ascontiguousarray(images[rows]))
        if noise:
            pixels = torch.from_numpy(random.integers(0, 256, pixels.shape).astype(np.uint8))
        return LabeledSet(pixels, torch.from_numpy(labels[rows].astype(np.int64)), data.spec, formation=formation)

    return make
