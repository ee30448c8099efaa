"""Baseline with differential privacy: distribution matching on noisy signal banks of the same real images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import DMDistiller
from lightning_distill.distillers.quiet import quiet, quiet_trainer
from lightning_distill.leakage.recipes import DistillRecipe, MadeSet
from lightning_distill.signals import SignalsDataModule
from lightning_distill.signals.guarantee.accountant import require_opacus
from lightning_distill.signals.guarantee.noisy_bank import compute_noisy_bank

#: Most draws of a bank.
MAX_DRAWS = 100


@dataclass(frozen=True)
class GuaranteedRecipe:
    """Distribution matching from noise on a noisy signal bank, with an (epsilon, delta) guarantee per image.

    Args:
        name: Name in tables.
        base: Distribution matching without a guarantee: images per class, rate, steps and network.
        epsilon: Epsilon of the guarantee.
        delta: Delta of the guarantee.
    """

    name: str
    base: DistillRecipe
    epsilon: float
    delta: float = 1e-5
    ships_images: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError where the accountant is not installed, or the method has no bank."""
        require_opacus()
        if not issubclass(self.base.method, DMDistiller):
            raise ValueError(f"{self.base.method.__name__} has no variant with a guarantee; leave the baseline dp out")

    def make(self, data: ArrayDataModule) -> MadeSet:
        """Compute a noisy bank of the training images of a data module, and distil a set from it alone."""
        base, device = self.base.build(), self.base.device
        bank = compute_noisy_bank(
            data,
            epsilon=self.epsilon,
            delta=self.delta,
            draws=min(MAX_DRAWS, self.base.steps),
            network=base.network_name,
            augmentation=base.augmentation,
            seed=base.seed,
            device=device,
            compile="off",
        )
        options: dict[str, Any] = {**self.base.options, "init": "noise"}
        distiller = self.base.method(**{key: value for key, value in options.items() if key not in ("network", "pool")})
        assert isinstance(distiller, DMDistiller)
        distiller.use_bank(bank)
        with quiet():
            quiet_trainer(self.base.steps, self.base.precision, device).fit(
                distiller, datamodule=SignalsDataModule(bank)
            )
        return MadeSet(exported_set(distiller.synthetic), np.empty(0, np.int64))

    def describe(self) -> dict[str, object]:
        """Return the recipe without a guarantee, epsilon and delta."""
        return {
            **self.base.describe(),
            "kind": "distilled with a guarantee",
            "epsilon": self.epsilon,
            "delta": self.delta,
        }
