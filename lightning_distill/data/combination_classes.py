"""Convert multi-label data to single-label data: each frequent label combination becomes a class."""

from __future__ import annotations

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from lightning_distill.data.checks.label_combinations import is_covered, log_combinations
from lightning_distill.data.checks.splits import Split, select_rows
from lightning_distill.spec import DataSpec


def combinations_to_classes(
    splits: dict[str, Split], groups: dict[str, NDArray[np.int64]], spec: DataSpec
) -> tuple[str, ...]:
    """Convert every split in place; images with other label combinations are removed.

    Args:
        splits: Images and 0/1 targets ``(N, L)`` by split; they get labels ``(N,)``.
        groups: Group numbers ``(N,)`` by split, where groups are known.
        spec: Specification of the multi-label data.

    Returns:
        Names of the new classes.

    Raises:
        ValueError: There are too few combinations, or a split loses all images.
    """
    log_combinations(spec, splits["train"][1])
    for split, (_, targets) in list(splits.items()):
        rows, numbers = is_covered(targets, spec.combinations)
        select_rows(splits, groups, split, split, rows)
        splits[split] = splits[split][0], numbers
        if split != "train":
            share = f"{len(rows):,} of {len(targets):,} {split} images ({len(rows) / len(targets):.1%})"
            rank_zero_info(f"{spec.name}: {share} have one of the label combinations and are kept")
    return spec.balance_groups
