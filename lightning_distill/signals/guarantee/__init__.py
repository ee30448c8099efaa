"""Noisy signal banks with a differential privacy guarantee: sampling, clipping, noise and accounting."""

from lightning_distill.signals.guarantee.accountant import Mechanism, epsilon_of, noise_multiplier
from lightning_distill.signals.guarantee.noisy_bank import compute_noisy_bank
from lightning_distill.signals.guarantee.statement import Guarantee

__all__ = ["Guarantee", "Mechanism", "compute_noisy_bank", "epsilon_of", "noise_multiplier"]
