"""Names of version 0.1.0 and their successors, for error messages. Kept for one release."""

from __future__ import annotations

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

#: Last part of a log key, after ``val/`` or ``test/``.
LOG_KEYS = {
    "gain_random": "acc_gain_over_random",
    "map": "mAP",
}


def renamed_attribute(name: str) -> str:
    """Hint that names the successor of an exported name, or an empty string."""
    return f"; it was renamed to {ATTRIBUTES[name]!r}" if name in ATTRIBUTES else ""


def renamed_argument(name: str) -> str:
    """Hint that names the successor of an argument, or an empty string."""
    return f"; it was renamed to {ARGUMENTS[name]!r}" if name in ARGUMENTS else ""
