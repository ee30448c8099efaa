"""A factory of small sets of every kind that a file can hold."""

from __future__ import annotations

import pytest
import torch

from lightning_distill import DataSpec, save_set
from lightning_distill.sets.card import make_card
from lightning_distill.sets.labeled_set import LabeledSet

NAMES = ("Mélanome / in situ", '=b,"q"', "c|d")


@pytest.fixture
def make_set(tmp_path):
    """A factory of set files: channels, dtype, task, sub-images, soft labels."""

    def make(channels=1, dtype="uint8", multi_label=False, formation=1, soft=False, name="set", **spec_options):
        random = torch.Generator().manual_seed(0)
        low, high = (0.0, 255.0) if dtype == "uint8" else (-1.0, 1.0)
        spec = DataSpec(
            "Grüße", (channels, 12, 13), NAMES, (100.0,) * channels, (50.0,) * channels, low, high, dtype,
            task="multi-label" if multi_label else "multi-class",
            combinations=((0, 0, 0), (1, 0, 1), (0, 1, 0)) if multi_label else (),
            **{"license": "CC BY 4.0", **spec_options},
        )  # fmt: skip
        pixels = torch.randint(0, 256, (6, *spec.shape), generator=random, dtype=torch.uint8)
        if dtype == "float16":
            pixels = (torch.rand(6, *spec.shape, generator=random) * 2 - 1).half()
        probabilities = torch.rand(6 * formation**2, 3, generator=random) if soft else None
        if soft and not multi_label:
            probabilities = probabilities / probabilities.sum(1, keepdim=True)
        labels = torch.tensor([0, 0, 1, 1, 2, 2])
        data = LabeledSet(pixels, labels, spec, probabilities, 0.0123 if soft else None, formation)
        return save_set(tmp_path / name, data, make_card("DMDistiller", {"lr": 1.0}, {}, "noise", 3))

    return make
