"""Terms of a noisy bank: constants, class counts, sampling rates, and the noise that an epsilon needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from lightning_utilities.core.rank_zero import rank_zero_warn
from numpy.typing import NDArray

from lightning_distill.signals.guarantee.accountant import Mechanism, epsilon_of, noise_multiplier
from lightning_distill.signals.guarantee.statement import Counts, Guarantee, Unit, count_sensitivity
from lightning_distill.signals.guarantee.units import Units
from lightning_distill.signals.pixel_sums import with_statistics
from lightning_distill.spec import DataSpec

#: Share of epsilon that noisy class counts may cost.
COUNTS_SHARE = 0.1
#: Constants for uint8 images that do not come from the data.
UINT8_MEAN, UINT8_STD = 127.5, 63.75


def constant_statistics(spec: DataSpec, mean: Sequence[float] | None, std: Sequence[float] | None) -> DataSpec:
    """Return a description whose mean, std and pixel range do not come from the data.

    Raises:
        ValueError: Float images have no given mean and std.
    """
    channels = spec.shape[0]
    if mean is None and std is None:
        if spec.storage_dtype != "uint8":
            raise ValueError(
                f"the mean and std of {spec.name} come from its pixels; with epsilon give constants: --mean, --std"
            )
        mean, std = [UINT8_MEAN] * channels, [UINT8_STD] * channels
    given = with_statistics(spec, mean, std)
    if spec.storage_dtype == "uint8":
        return given
    low = min(m - 4 * s for m, s in zip(given.mean, given.std, strict=True))
    high = max(m + 4 * s for m, s in zip(given.mean, given.std, strict=True))
    return replace(given, min_value=low, max_value=high)


def counts_of(
    units: Units, spec: DataSpec, epsilon: float, delta: float, kind: Counts, entropy: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Return the counts of units of each class, with noise where they are not public, and its standard deviation."""
    counts = units.counts(len(spec.balance_groups)).astype(np.float64)
    if kind == "public":
        return counts, 0.0
    sensitivity = count_sensitivity("patient" if units.several else "image", len(counts))
    multiplier = noise_multiplier(COUNTS_SHARE * epsilon, delta, 1.0, 1)
    noisy = counts + entropy.normal(0, multiplier * sensitivity, len(counts))
    return np.maximum(1.0, noisy.round()), multiplier * sensitivity


def terms_of(
    counts: NDArray[np.float64],
    counts_sigma: float,
    *,
    epsilon: float,
    delta: float,
    clip: float,
    unit: Unit,
    sample_size: int,
    draws: int,
    class_counts: Counts,
    earlier: Sequence[Guarantee],
    several: bool,
) -> Guarantee:
    """Return the guarantee: the noise of each class for its sampling rate, the charged counts and earlier releases."""
    rates = np.minimum(1.0, sample_size / counts)
    if several:
        rates = np.full(len(counts), rates.max())
    before = [[step for release in earlier for step in release.mechanisms()[k]] for k in range(len(counts))]
    count_steps = [Mechanism(counts_sigma / count_sensitivity(unit, len(counts)), 1.0, 1)] if counts_sigma else []
    found: dict[tuple[float, int], float] = {}
    sigmas = []
    for rate, charged in zip(rates.tolist(), before, strict=True):
        key = rate, hash(tuple(charged))
        if key not in found:
            found[key] = noise_multiplier(epsilon, delta, rate, draws, [*charged, *count_steps])
        sigmas.append(found[key])
    own = {Mechanism(s, r, draws) for s, r in zip(sigmas, rates.tolist(), strict=True)}
    whole = [[*charged, Mechanism(s, r, draws)] for charged, s, r in zip(before, sigmas, rates.tolist(), strict=True)]
    return Guarantee(
        epsilon=max(epsilon_of([step, *count_steps], delta) for step in own),
        epsilon_rdp=max(epsilon_of([step, *count_steps], delta, "rdp") for step in own),
        epsilon_total=max(epsilon_of([*steps, *count_steps], delta) for steps in whole),
        delta=delta,
        unit=unit,
        clip=clip,
        draws=draws,
        sigma=tuple(sigmas),
        rate=tuple(rates.tolist()),
        counts=class_counts,
        counts_sigma=counts_sigma,
        earlier=len(earlier),
        earlier_mechanisms=tuple(map(tuple, before)) if earlier else (),
    )


def warn_of_small_classes(guarantee: Guarantee, counts: NDArray[np.float64], spec: DataSpec, width: int) -> None:
    """Warn of classes whose noise, averaged over all draws, exceeds the largest possible signal, with the way out."""
    expected = counts * np.array(guarantee.rate)
    noise = np.array(guarantee.sigma) * np.sqrt(width / guarantee.draws) / expected  # in units of the clip norm
    for label in np.flatnonzero(noise > 1):
        sigma = float(guarantee.sigma[label] / noise[label])
        needed = "more than 1000"
        if sigma > 0.3:
            charged = [Mechanism(sigma, guarantee.rate[label], guarantee.draws)]
            needed = f"about {epsilon_of(charged, guarantee.delta):.1f}"
        rank_zero_warn(
            f"class {spec.balance_groups[label]!r} has {int(counts[label])} {guarantee.unit}s, too few for epsilon "
            f"{guarantee.epsilon:.2f}: the noise of its mean is {noise[label]:.1f} times the largest signal; it needs "
            f"epsilon {needed}, more images, or a merge with other classes"
        )
