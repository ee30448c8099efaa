"""``measure_fidelity``: fidelity, diversity and memorisation of sets, beside random real images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.copies.search import CopySearch, split_images
from lightning_distill.evaluation.fidelity.feature_network import NETWORK, FeatureNetwork, feature_epochs
from lightning_distill.evaluation.fidelity.metric import Comparison, FidelityMetric, Sample
from lightning_distill.evaluation.fidelity.named_sets import NamedSet, read_named
from lightning_distill.evaluation.fidelity.registry import choose_metrics
from lightning_distill.evaluation.fidelity.rows import NAN, FidelityRow
from lightning_distill.evaluation.fidelity.samples import RealImages
from lightning_distill.evaluation.overlap import OnOverlap, check_overlap
from lightning_distill.evaluation.students.protocol import Protocol, get_protocol
from lightning_distill.networks.resolve import resolve_networks
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.same_data import check_same_data
from lightning_distill.utils.arguments import check_choices, check_number
from lightning_distill.utils.hardware import Accelerator, resolve_device
from lightning_distill.utils.progress import ProgressCounter, ProgressReport

#: Digits of a digest in rows.
DIGITS = 12


def measure_fidelity(
    sets: Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str] | LabeledSet],
    datamodule: ArrayDataModule,
    *,
    split: Literal["val", "test"] = "val",
    metrics: Sequence[str] | None = None,
    network: str | FeatureNetwork = NETWORK,
    weights: Mapping[str, str] | None = None,
    protocol: str | Protocol = "quick",
    draws: int = 5,
    seed: int = 0,
    accelerator: Accelerator = "auto",
    copy_search: CopySearch | None = None,
    on_overlap: OnOverlap = "error",
    on_progress: ProgressReport | None = None,
    on_row: Callable[[FidelityRow], object] = lambda row: None,
) -> list[FidelityRow]:
    """Measure distilled, generated or selected images against real validation or test images.

    Every value stands beside that of random real training images with the class counts of the set. Sub-images are
    decoded. Nothing is downloaded.

    Args:
        sets: Paths of sets, or sets and paths of sets by the name in the table.
        datamodule: Real data that the sets were made from.
        split: Split of the reference, ``val`` or ``test``; it also calibrates the tau rule.
        metrics: Names of metrics in `registry.FIDELITY_METRICS`. Default: all.
        network: Feature network, trained on the training split: a name of this package or of timm that served no method
            and no student, or a `FeatureNetwork`.
        weights: Path of a local weights file for a timm network, see `networks.resolve_networks`.
        protocol: Training protocol of the feature network: ``reference``, ``quick`` or ``tiny`` (for tests).
        draws: Number of random subsets of the training images, at least 1.
        seed: Seed of the feature network, the tau rule, the subsets and the pairs.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        copy_search: Tau rule of the same data and split, kept for several calls, so that its embedding is trained once.
            Default: a new one.
        on_overlap: Treatment of reference images that a set was trained on: ``error`` or ``warn``.
        on_progress: Function that receives description, finished and total work.
        on_row: Function that receives each row when it is measured.

    Returns:
        A row for each set.

    Raises:
        FileNotFoundError: A set does not exist.
        ValueError: A set does not fit the data, the split has no images, a metric or network is unknown, a number is
            out of range, a set was trained on images of the split, or the tau rule is that of other data.

    Example:
        >>> from lightning_distill import DigitsDataModule, measure_fidelity
        >>> rows = measure_fidelity(["runs/digits/best"], DigitsDataModule())  # doctest: +SKIP
        >>> rows[0]["kid"], rows[0]["kid_real"]  # doctest: +SKIP
    """
    check_choices(measure_fidelity, {**locals()})
    check_number("draws", draws, 1, integer=True)
    chosen, device = choose_metrics(metrics), resolve_device(accelerator)
    get_protocol(protocol)
    if isinstance(network, str):
        (network,) = resolve_networks([network], weights)
    named = read_named(sets)
    spec = datamodule.spec
    split_images(datamodule, split)
    if copy_search is not None and (copy_search.split, copy_search.spec) != (split, spec):
        raise ValueError(
            f"copy_search is that of the {copy_search.split} images of {copy_search.spec.name}, the reference are the "
            f"{split} images of {spec.name}; use CopySearch(datamodule, split={split!r})"
        )
    for one in named:
        check_same_data(one.stored.spec, spec, one.name, spec.name, "use the data that the set was made from")
        check_overlap(one.card, datamodule, split, on_overlap)
    used = network if any(metric.uses_features for metric in chosen) else None
    if used is not None:
        _warn_of_shared_network(used if isinstance(used, str) else used.name, named)
    epochs = feature_epochs(datamodule, used, protocol) if isinstance(used, str) else 0
    progress = ProgressCounter(on_progress, epochs + len(named))
    if isinstance(used, str):
        progress.start("feature network")
        used = FeatureNetwork.fit(
            datamodule, used, protocol=protocol, seed=seed, device=device, on_epoch=progress.advance
        )
    real = RealImages(datamodule, split, used)
    reference, samples = real.samples([one.stored.decode() for one in named], [one.stored.formation for one in named])
    counts = [real.drawn_counts(sample) for sample in samples]
    numbers = (*map(len, samples), *(sum(one.values()) for one in counts if one))
    search = copy_search or CopySearch(datamodule, split=split, seed=seed, device=device)
    comparison = Comparison(reference, spec, numbers, draws, seed, search)
    floor, rows = any(metric.beside_real for metric in chosen), []
    for one, sample, wanted in zip(named, samples, counts, strict=True):
        progress.start(one.name)
        values, reasons = measure_sample(chosen, sample, comparison, real.draws(wanted, draws if floor else 0, seed))
        rows.append(FidelityRow(
            set_name=one.name, set_sha256=one.sha256[:DIGITS], dataset=spec.name, method=one.method, source=spec.source,
            split=split, images=len(sample), formation=one.stored.formation, reference_images=len(reference),
            real_images=sum(wanted.values()), draws=draws,
            network="" if used is None else used.name, network_sha256="" if used is None else used.sha256[:DIGITS],
            seed=seed, not_resolvable=reasons, values=values,
        ))  # fmt: skip
        progress.advance()
        on_row(rows[-1])
    return rows


def measure_sample(
    metrics: Iterable[FidelityMetric],
    sample: Sample,
    comparison: Comparison,
    subsets: Sequence[Sample],
) -> tuple[dict[str, float], str]:
    """Return the values of all metrics for a set and for random real images, and what is not resolvable.

    Args:
        metrics: Metrics.
        sample: Set.
        comparison: Reference of the table.
        subsets: Random subsets of the training images.

    Returns:
        Values by column, NaN where a metric is not resolvable, and the reasons in one line.
    """
    values: dict[str, float] = {}
    reasons: list[str] = []
    for metric in metrics:
        reason = metric.unresolvable(sample, comparison)
        own = {} if reason else metric.compute(sample, comparison)
        values |= {column.name: own.get(column.name, NAN) for column in metric.columns}
        usable = [one for one in subsets if metric.beside_real and not metric.unresolvable(one, comparison)]
        measured = [metric.compute(one, comparison) for one in usable]
        for column in metric.columns:
            if column.beside_real:
                drawn = [one[column.name] for one in measured]
                values[f"{column.name}_real"] = float(np.mean(drawn)) if drawn else NAN
                values[f"{column.name}_real_std"] = float(np.std(drawn, ddof=1)) if len(drawn) > 1 else NAN
        if reason:
            reasons.append(f"{metric.name}: {reason}")
        elif metric.beside_real and not usable:
            reasons.append(f"{metric.name} of real images: the training split lacks images of the classes")
    return values, "; ".join(reasons)


def _warn_of_shared_network(network: str, named: Sequence[NamedSet]) -> None:
    """Warn where the feature network has the architecture of a network that a set was made or labelled with."""
    for one in named:
        if network in one.networks:
            warnings.warn(
                f"{one.name} was made with {network}; features of the same architecture may favour it, choose another "
                "one (--network)",
                stacklevel=3,
            )
