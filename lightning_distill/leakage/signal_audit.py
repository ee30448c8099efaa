"""``audit_signals``: measure what a signal bank reveals about the images in its sums."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.label_combinations import combination_indices
from lightning_distill.functional.build import build_functional_network
from lightning_distill.leakage.exposure import by_unit, most_exposed, worst_class
from lightning_distill.leakage.halves import check_shadows, draw_halves
from lightning_distill.leakage.members import Members, members_of
from lightning_distill.leakage.rates import LOW_FPRS, attack_rates
from lightning_distill.leakage.result import AttackRow
from lightning_distill.leakage.signal_attacks import MIN_POPULATION, ClassProducts, choose_ridge, decode, trace
from lightning_distill.leakage.signal_products import class_products
from lightning_distill.leakage.subset import SubsetDataModule
from lightning_distill.signals import SignalBank
from lightning_distill.signals.guarantee import compute_noisy_bank
from lightning_distill.utils.arguments import check_choices, check_number
from lightning_distill.utils.hardware import Accelerator, resolve_device
from lightning_distill.utils.lazy_arrays import take
from lightning_distill.utils.progress import ProgressCounter, ProgressReport


def audit_signals(
    datamodule: ArrayDataModule,
    *,
    shadows: int = 16,
    draws: int = 100,
    network: str = "convnet",
    augmentation: str | None = None,
    objective: str = "mean",
    seed: int = 0,
    epsilon: float | None = None,
    delta: float = 1e-5,
    clip: float = 1.0,
    sample_size: int = 1000,
    accelerator: Accelerator = "auto",
    on_progress: ProgressReport | None = None,
) -> list[AttackRow]:
    """Measure by attacks what a signal bank reveals about the images in its sums.

    Banks are computed from random halves of the patients, and each is attacked with all training images as candidates.
    ``tracing`` knows one image, its class, and held-out images of the class. ``decoding`` knows all images that may be
    in the sums, and solves for their weights: a bank without noise that holds more numbers than a class has images
    determines who is in it.

    Args:
        datamodule: Data that the bank is made from. Its validation images are the population of ``tracing``.
        shadows: Number of halves, even and at least 8.
        draws: Number of random networks of the bank.
        network: Name of the networks, without batch norm.
        augmentation: Augmentation preset; ``None`` takes the data set's.
        objective: Statistic of the embeddings, see `signals.SignalBank.compute`.
        seed: Seed of the halves, networks and augmentations.
        epsilon: Epsilon of a differential privacy guarantee for each image; ``None`` adds no noise. Needs the extra
            ``dp``, and a pass over the data for each half.
        delta: Delta of the guarantee, with ``epsilon``.
        clip: Largest L2 norm that an image adds to the sums of a draw, with ``epsilon``.
        sample_size: Expected images of a class in a sample, with ``epsilon``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        on_progress: Function that receives a description, the finished and the total number of classes and banks.

    Returns:
        A row for each attack by image, and by patient where patients are known. ``tracing`` is left out where a class
        has fewer than 8 held-out images.

    Raises:
        ValueError: There are fewer than 8 halves, a half would lack a class, the network has batch norm, or an option
            is out of range or unknown.

    Example:
        >>> from lightning_distill import DigitsDataModule
        >>> rows = audit_signals(DigitsDataModule(), draws=20, network="convnet_w16")  # doctest: +SKIP
        >>> [(row.attack, row.rates.auc) for row in rows]  # doctest: +SKIP
    """
    check_choices(audit_signals, {**locals()})
    check_shadows(shadows)
    check_number("draws", draws, 1, integer=True)
    if epsilon is not None:
        check_number("epsilon", epsilon, 0, open_low=True)
    noise: dict[str, Any] = {"delta": delta, "clip": clip, "sample_size": sample_size}
    for name, value in noise.items():
        if epsilon is None and value != signature(audit_signals).parameters[name].default:
            raise ValueError(f"{name}={value} changes nothing without noise; give epsilon too, or leave {name} out")
    check_number("delta", delta, 0, 1, open_low=True)
    check_number("clip", clip, 0, open_low=True)
    check_number("sample_size", sample_size, 1, integer=True)
    device, members = torch.device(resolve_device(accelerator)), _covered(members_of(datamodule))
    if epsilon is not None and members.spec.multi_label:
        raise ValueError("noisy banks are audited for data with one label per image; leave epsilon out")
    halves = draw_halves(members.strata, members.units, shadows, seed, members.spec.balance_groups)
    classes = len(members.spec.balance_groups)
    progress = ProgressCounter(on_progress, classes + (1 if epsilon is None else shadows))
    shared: dict[str, Any] = {
        "draws": draws, "network": network, "augmentation": augmentation, "objective": objective, "seed": seed,
        "device": device,
    }  # fmt: skip
    progress.start("banks of random halves")
    if epsilon is None:
        banks = SignalBank.compute(datamodule, masks=torch.from_numpy(halves), **shared)
        progress.advance()
    else:
        shared |= {"epsilon": epsilon, **noise}
        banks = []
        for half in halves:
            subset = SubsetDataModule(datamodule, np.flatnonzero(half), public_statistics=True)
            subset.setup()
            banks.append(compute_noisy_bank(subset, **shared))
            progress.advance()
    scores = _score(banks, members, device, seed, progress)
    name = "signal bank" if epsilon is None else f"signal bank, epsilon {epsilon:g}"
    return _rows(name, scores, halves, members)


def _score(
    banks: list[SignalBank], members: Members, device: torch.device, seed: int, progress: ProgressCounter
) -> dict[str, NDArray[np.float64]]:
    """Return the scores ``(S, N)`` of both attacks on all banks."""
    spec, held = banks[0].spec, members.held_labels
    passes = len(members) * banks[0].draws.count
    network = build_functional_network(banks[0].draws.network, spec, passes, device, "auto", sizes=[])
    traced: list[tuple[NDArray[np.int64], ClassProducts]] = []
    scores = {"decoding": np.zeros((len(banks), len(members)))}
    for label, class_name in enumerate(spec.balance_groups):
        progress.start(f"attacks on {class_name}")
        rows, others = np.flatnonzero(members.strata == label), np.flatnonzero(held == label)
        population = take(members.held_images, others) if len(others) else take(members.images, rows[:1])
        products = class_products(banks, label, network, take(members.images, rows), population, device)
        scores["decoding"][:, rows] = _plain(decode(products))
        if len(others) >= MIN_POPULATION:
            traced.append((rows, replace(products, candidates=products.norms[:0])))  # n x n numbers are freed
        progress.advance()
    if len(traced) == len(spec.balance_groups):
        ridge = choose_ridge([products.population for _, products in traced], seed)
        scores["tracing"] = np.zeros_like(scores["decoding"])
        for rows, products in traced:
            scores["tracing"][:, rows] = _plain(trace(products, ridge))
    return scores


def _rows(
    recipe: str, scores: dict[str, NDArray[np.float64]], halves: NDArray[np.bool_], members: Members
) -> list[AttackRow]:
    """Return the rows of all attacks, by image and by patient where those are known."""
    rows, first = [], np.unique(members.units, return_index=True)[1]
    for attack, values in scores.items():
        rates = attack_rates(values, halves, len(members))
        label, auc = worst_class(values, halves, members.strata)
        exposed = most_exposed(values, halves, max(LOW_FPRS[0], 1 / rates.non_members))
        rows.append(
            AttackRow(
                recipe, attack, "shadows", "image", rates, worst_class=members.spec.balance_groups[label],
                worst_class_auc=auc, exposed=exposed,
            )
        )  # fmt: skip
        if members.has_patients:
            own = attack_rates(by_unit(values, members.units), halves[:, first], members.num_units)
            rows.append(AttackRow(recipe, attack, "shadows", members.kind, own))
    return rows


def _covered(members: Members) -> Members:
    """Return the images of the balance groups alone, with the group as label: rare label combinations are in no sum."""
    if not members.spec.multi_label:
        return members
    rows = np.flatnonzero(members.strata >= 0)
    numbers = combination_indices(members.held_labels, members.spec.combinations)
    held = np.flatnonzero(numbers >= 0)
    return replace(
        members, images=take(members.images, rows), labels=members.strata[rows], strata=members.strata[rows],
        units=np.unique(members.units[rows], return_inverse=True)[1].reshape(-1),
        held_images=take(members.held_images, held), held_labels=numbers[held],
        held_units=members.held_units[held],
    )  # fmt: skip


def _plain(scores: Tensor) -> NDArray[np.float64]:
    return np.asarray(scores.cpu().numpy(), np.float64)
