"""Label combinations of multi-label data, which take the role of classes in sampling and distillation."""

from __future__ import annotations

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray

from lightning_distill.spec import DataSpec

Combinations = tuple[tuple[int, ...], ...]
Targets = NDArray[np.int64]


def frequent_combinations(targets: NDArray[np.int64], least: int | None = None) -> Combinations:
    """Return the label combinations with enough images, by decreasing frequency.

    Args:
        targets: Targets ``(N, L)`` of zeros and ones.
        least: Smallest number of images of a combination; ``None`` uses N / 100.

    Returns:
        Rows of L zeros and ones; `is_covered` needs at least two.
    """
    needed = max(1, len(targets) // 100) if least is None else least
    rows, counts = np.unique(targets, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return tuple(tuple(map(int, rows[i])) for i in order if counts[i] >= needed)


def combination_indices(targets: NDArray[np.int64], combinations: Combinations) -> NDArray[np.int64]:
    """Return the number of the combination of each image ``(N,)``, or -1 if it is not listed."""
    known = {row: number for number, row in enumerate(combinations)}
    rows, of = np.unique(targets, axis=0, return_inverse=True)
    numbers = np.array([known.get(tuple(map(int, row)), -1) for row in rows], np.int64)
    return numbers[of.reshape(-1)]


def is_covered(targets: Targets, combinations: Combinations) -> tuple[Targets, Targets]:
    """Return the rows of the images with a listed combination, and the combination numbers of these images.

    Args:
        targets: Targets ``(N, L)`` of zeros and ones.
        combinations: Label combinations.

    Raises:
        ValueError: There are fewer than two combinations, or no image has one of them.
    """
    if len(combinations) < 2:
        most = np.sort(np.unique(targets, axis=0, return_counts=True)[1])[::-1]
        there = " and ".join(f"{count:,}" for count in most[:2])
        raise ValueError(
            f"{len(combinations)} combinations of labels have images enough to be distilled, two are needed; the most "
            f"frequent have {there}: set min_combination to fewer than the default, a hundredth of {len(targets):,}"
        )
    numbers = combination_indices(targets, combinations)
    rows = np.flatnonzero(numbers >= 0)
    if not len(rows):
        raise ValueError(f"none of {len(targets)} images has one of the {len(combinations)} combinations of labels; "
                         "lower min_combination")  # fmt: skip
    return rows, numbers[rows]


def log_combinations(spec: DataSpec, targets: NDArray[np.int64]) -> None:
    """Log the fraction of training images with a listed combination, and warn of labels in no combination."""
    numbers = combination_indices(targets, spec.combinations)
    share = f"{(numbers >= 0).mean():.1%} of {len(targets):,} training images"
    rank_zero_info(f"{spec.name}: {share} have one of {len(spec.combinations)} combinations of labels: these are drawn "
                   f"from and distilled ({_listed(spec.balance_groups)})")  # fmt: skip
    missing = np.flatnonzero(np.array(spec.combinations).sum(0) == 0)
    if len(missing):
        names = ", ".join(repr(spec.class_names[label]) for label in missing)
        rank_zero_warn(f"{spec.name}: no combination has {names}, so that no synthetic image will show it; lower "
                       "min_combination")  # fmt: skip


def _listed(names: tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
