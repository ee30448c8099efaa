"""Noisy signal banks: Poisson samples of units, clipped statistics, and Gaussian noise on their sums."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.data import ArrayDataModule
from lightning_distill.functional.build import build_functional_network
from lightning_distill.functional.compile import CompileMode
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.signals.bank import SignalBank
from lightning_distill.signals.draws import SignalDraws
from lightning_distill.signals.guarantee.accountant import require_opacus
from lightning_distill.signals.guarantee.statement import Counts, Guarantee, Unit
from lightning_distill.signals.guarantee.terms import constant_statistics, counts_of, terms_of, warn_of_small_classes
from lightning_distill.signals.guarantee.units import Units, clipped_sums, sample_rows, units_of
from lightning_distill.signals.sums import class_chunks, validate_network
from lightning_distill.spec import DataSpec
from lightning_distill.utils.arguments import check_choices, check_number


def compute_noisy_bank(
    datamodule: ArrayDataModule,
    *,
    epsilon: float,
    delta: float,
    clip: float = 1.0,
    unit: Unit = "image",
    sample_size: int = 1000,
    class_counts: Counts = "public",
    earlier: Sequence[Guarantee] = (),
    draws: int = 100,
    network: str = "convnet",
    augmentation: str | None = None,
    objective: str = "mean",
    seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    compile: CompileMode = "auto",
    on_progress: Callable[[int, int], None] | None = None,
) -> SignalBank:
    """Compute a bank whose release has an (epsilon, delta) guarantee.

    In each draw every unit is in the sample with the probability of its class (Poisson sampling), its images are
    augmented by a transformation that does not depend on them, its statistics are clipped, and Gaussian noise is added
    to the sums. Sampling and noise come from the operating system's entropy, so that no seed repeats them. Classes are
    disjoint, so each has the whole epsilon; a patient may be in several, and has one noise for all.

    Args:
        datamodule: Real data.
        epsilon: Epsilon of the guarantee, for this release and all earlier ones together.
        delta: Delta of the guarantee; less than one over the number of units.
        clip: Largest L2 norm that a unit adds to the sums of a draw.
        unit: ``image``, or ``patient`` (the groups of the data): the mean statistic of its images is clipped.
        sample_size: Expected units of a class in a sample; smaller classes are taken whole.
        class_counts: ``public``, or ``noisy`` for counts with noise that is charged.
        earlier: Guarantees of earlier releases of the same data, which are charged.
        draws: Number of random networks, each with a sample of its own.
        network: Name of the networks, from `networks.list_networks`; without batch norm.
        augmentation: Preset of `augmentation.presets.PRESETS`; ``None`` takes the data set's.
        objective: Statistic of the embeddings, see `SignalBank.compute`.
        seed: Seed of networks and augmentations, not of sampling and noise.
        mean: Mean of each channel in pixel units; it must not come from the data. ``None`` takes 127.5 for uint8.
        std: Standard deviation of each channel in pixel units, as ``mean``. ``None`` takes 63.75 for uint8.
        device: Device to compute on.
        bf16: Whether the forward passes are in bf16.
        compile: Mode of compilation: ``auto``, ``off`` or ``max``.
        on_progress: Function that is told the number of finished draws and of all draws.

    Returns:
        The bank; its ``about`` holds the `Guarantee` as plain data.

    Raises:
        ValueError: A number is out of range, Opacus is not installed, the network has batch norm, patients are unknown,
            or float images have no given mean and std.
    """
    check_number("epsilon", epsilon, 0, open_low=True)
    check_number("delta", delta, 0, 1, open_low=True)
    check_number("clip", clip, 0, open_low=True)
    check_number("sample_size", sample_size, 1, integer=True)
    check_choices(compute_noisy_bank, {"unit": unit, "class_counts": class_counts})
    require_opacus()
    spec = constant_statistics(datamodule.spec, mean, std)
    units, entropy = units_of(datamodule, unit), np.random.Generator(np.random.PCG64DXSM(list(os.urandom(32))))
    total_units = len(np.unique(units.of_row))
    if delta >= 1 / total_units:
        rank_zero_warn(f"delta={delta:g} is not below 1/N for N={total_units} {unit}s; a guarantee needs less")
    plan = SignalDraws(draws, network, augmentation or spec.augmentation, objective, seed, clip)
    net = build_functional_network(
        network, spec, draws * sample_size * len(spec.balance_groups), torch.device(device), compile, sizes=[]
    )
    validate_network(net, network)
    counts, counts_sigma = counts_of(units, spec, epsilon, delta, class_counts, entropy)
    guarantee = terms_of(
        counts, counts_sigma, epsilon=epsilon, delta=delta, clip=clip, unit=unit, sample_size=sample_size, draws=draws,
        class_counts=class_counts, earlier=earlier, several=units.several,
    )  # fmt: skip
    sums, fingerprints = _noisy_sums(
        datamodule, spec, plan, net, units, guarantee, entropy, device=torch.device(device), bf16=bf16,
        on_progress=on_progress,
    )  # fmt: skip
    warn_of_small_classes(guarantee, counts, spec, sums.shape[2])
    expected = torch.from_numpy(counts * np.array(guarantee.rate)).float().expand(draws, -1).contiguous()
    return SignalBank(plan, spec, sums, expected, fingerprints, about={"guarantee": guarantee.to_dict()})


@torch.no_grad()
def _noisy_sums(
    datamodule: ArrayDataModule,
    spec: DataSpec,
    plan: SignalDraws,
    network: FunctionalNetwork,
    units: Units,
    guarantee: Guarantee,
    entropy: np.random.Generator,
    *,
    device: torch.device,
    bf16: bool,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the noisy sums ``(P, K, D)`` of all draws, and the fingerprints of the draws."""
    images, labels = datamodule.train_arrays()
    augment = SiameseAugmentation(plan.augmentation, spec.shape[1:])
    classes, scale = len(spec.balance_groups), np.array(guarantee.sigma)[:, None] * guarantee.clip
    sums: list[Tensor] = []
    fingerprints: list[str] = []
    for draw in range(plan.count):
        parameters, seeds = plan.parameters(draw, network, device), plan.class_seeds(draw, range(classes))
        fingerprints.append(plan.fingerprint(draw, parameters, augment, spec))
        features: list[Tensor] = []
        rows: list[NDArray[np.int64]] = []
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            statistic = plan.statistic(draw, network, parameters, spec)
            for chunk in class_chunks(images, labels, spec, device, rows=sample_rows(units, guarantee.rate, entropy)):
                augmented = augment.of_classes(chunk.images, chunk.counts, seeds)
                features.append(statistic.features(network.embed(parameters, augmented)).cpu())
                rows.append(chunk.rows)
            if not features:  # an empty sample still gets noise
                features.append(
                    statistic.features(network.embed(parameters, torch.zeros(1, *spec.shape).to(device)))[:0]
                )
                rows.append(np.zeros(0, np.int64))
        order = np.concatenate(rows)
        total = clipped_sums(torch.cat(features), units.of_row[order], units.label[order], classes, guarantee.clip)
        noise = entropy.normal(0.0, 1.0, tuple(total.shape)) * scale
        sums.append((total.double() + torch.from_numpy(noise)).float())
        if on_progress is not None:
            on_progress(draw + 1, plan.count)
    return torch.stack(sums), tuple(fingerprints)
