"""Names of version 0.1.0 and their successors, for error messages. Kept for one release."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")

#: Public names that were exported by the package.
ATTRIBUTES = {
    "ExpertTrajectories": "ExpertTrajectoryRecorder",
    "ExportSyntheticSet": "SyntheticSetExport",
    "SyntheticImages": "SyntheticImageLogger",
}

#: Arguments of constructors, functions and commands.
ARGUMENTS = {
    "grow_from": "max_start_initial",
    "inner": "inner_loop",
    "outer": "outer_loop",
    "set": "synthetic_set",
    "start": "init",
    "student_lr_lr": "lr_lr",
    "syn_batch": "batch_syn",
}


#: Arguments of one class that moved into a group of options; the successor is the name on the command line.
CLASS_ARGUMENTS = {
    "FolderDataModule": {
        "assume_hu": "read.assume_hu",
        "axis": "read.axis",
        "frames": "read.frames",
        "label_column": "columns.label",
        "mask_column": "columns.mask",
        "mask_label": "read.mask_label",
        "max_pixels": "read.max_pixels",
        "path_column": "columns.path",
        "patient_column": "columns.patient",
        "spacing": "read.spacing",
        "split_column": "columns.split",
        "window": "read.window",
    },
}

#: Columns of result files. Files with the old columns are still read.
COLUMNS = {
    "acc_ci95": "acc_ci95_half_width",
    "acc_high": "acc_ci95_high",
    "acc_low": "acc_ci95_low",
    "auroc_high": "auroc_ci95_high",
    "auroc_low": "auroc_ci95_low",
    "balanced_acc_high": "balanced_acc_ci95_high",
    "balanced_acc_low": "balanced_acc_ci95_low",
    "gain_random": "acc_gain_over_random",
    "map": "mAP",
    "map_std": "mAP_std",
    "random_acc_ci95": "random_acc_ci95_half_width",
}


def renamed_attribute(name: str) -> str:
    """Hint that names the successor of an exported name, or an empty string."""
    return f"; it was renamed to {ATTRIBUTES[name]!r}" if name in ATTRIBUTES else ""


def renamed_argument(name: str, owner: str = "") -> str:
    """Hint that names the successor of an argument, or an empty string.

    Args:
        name: Argument of version 0.1.0.
        owner: Name of the class or function that refused the argument.
    """
    successors = {**ARGUMENTS, **CLASS_ARGUMENTS.get(owner, {})}
    return f"; it was renamed to {successors[name]!r}" if name in successors else ""


def explain_renamed_arguments(init: Callable[P, None]) -> Callable[P, None]:
    """Decorate a constructor: a removed argument raises a TypeError that names its successor."""
    owner, known = init.__qualname__.split(".")[0], inspect.signature(init).parameters

    @functools.wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        for name in kwargs:
            if name not in known and (hint := renamed_argument(name, owner)):
                raise TypeError(f"{owner} has no argument {name!r}{hint}")
        init(*args, **kwargs)

    return checked
