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
