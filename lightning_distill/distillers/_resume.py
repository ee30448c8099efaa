"""Comparison of a checkpoint with the run that resumes it: seed, rates, network, method and data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_distill.spec import DataSpec

#: Settings before and after, by name.
Changes = dict[str, tuple[Any, Any]]
#: Settings that made the set of the checkpoint; no option changes them afterwards.
FIXED = ("method", "ipc", "init", "formation", "class_ratio", "soft_labels")
#: Settings that change no image.
UNCOMPARED = ("compile", "chunk", "on_small_class")
#: Settings that are taken over from the checkpoint where they were not given, see `distillers.presets`.
PRESET = ("lr", "init", "formation", "pool")


def find_changes(
    checkpoint: Mapping[str, Any],
    *,
    method: str,
    hyper_parameters: Mapping[str, Any],
    explicit: Mapping[str, Any],
    spec: DataSpec,
    data: Mapping[str, Any],
) -> Changes:
    """Return the settings that differ between a checkpoint and the run that resumes it; unrecorded ones are skipped.

    Args:
        checkpoint: Content of the checkpoint.
        method: Class of the distiller.
        hyper_parameters: Hyperparameters of the distiller.
        explicit: Those of `PRESET` that were given.
        spec: Specification of the data of the run.
        data: Record of the data of the run, see `ArrayDataModule.describe_training_data`.
    """
    before: dict[str, Any] = dict(checkpoint.get("hyper_parameters", {}))
    now = {name: value for name, value in hyper_parameters.items() if name not in PRESET or name in explicit}
    changes: Changes = {}
    if checkpoint.get("method", method) != method:
        changes["method"] = (checkpoint["method"], method)
    for name, value in now.items():
        if name.startswith("_") or name in UNCOMPARED or name not in before:
            continue
        if name in PRESET and before[name] is None:
            continue
        if _plain(before[name]) != _plain(value):
            changes[name] = (_plain(before[name]), _plain(value))
    if "spec" in checkpoint:
        changes |= _spec_changes(DataSpec.from_dict(checkpoint["spec"]), spec)
    recorded = checkpoint.get("data", {})
    for name, value in data.items():
        if name in recorded and recorded[name] != value:
            changes[f"data {name}"] = (recorded[name], value)
    return changes


def validate_changes(changes: Changes, *, allowed: bool, fixed_by_method: Sequence[str] = ()) -> None:
    """Raise a ValueError that names the changed settings, unless all of them may change.

    Args:
        changes: Settings before and after.
        allowed: Whether the user asked to go on with changes.
        fixed_by_method: Settings beside `FIXED` that the state of the method depends on.
    """
    fixed = {name: values for name, values in changes.items() if name in (*FIXED, *fixed_by_method)}
    if fixed:
        raise ValueError(
            f"the checkpoint was made with {_listing(fixed)}, which cannot change within a run; use the same, or start "
            "a new run without the checkpoint"
        )
    if changes and not allowed:
        raise ValueError(
            f"the checkpoint was made with {_listing(changes)}; use the same to resume, or --resume_with_changes true "
            "(in Python distiller.resume_with_changes = True) to go on with the new ones"
        )


def reset_rates(
    optimizer: Optimizer, scheduler: LambdaLR, groups: Sequence[Mapping[str, Any]], *, lr: float, momentum: float
) -> None:
    """Give a restored optimizer the rates of the resuming run in place of those of the checkpoint.

    Args:
        optimizer: Optimizer with the state of the checkpoint.
        scheduler: Its schedule.
        groups: Parameter groups of the run.
        lr: Learning rate of groups without one of their own.
        momentum: Momentum of groups without one of their own.
    """
    for index, (group, new) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
        rate = new.get("lr", lr)
        factor = scheduler.lr_lambdas[index](scheduler.last_epoch)
        scheduler.base_lrs[index] = rate
        group.update(lr=rate * factor, initial_lr=rate, momentum=new.get("momentum", momentum))


def _spec_changes(before: DataSpec, now: DataSpec) -> Changes:
    changes: Changes = {}
    for name in ("name", "source", "shape", "class_names"):
        if getattr(before, name) != getattr(now, name):
            changes[f"data {name}"] = (getattr(before, name), getattr(now, name))
    for name in ("mean", "std"):
        pairs = zip(getattr(before, name), getattr(now, name), strict=False)
        if not all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-7) for a, b in pairs):
            changes[f"data {name}"] = (getattr(before, name), getattr(now, name))
    return changes


def _listing(changes: Changes) -> str:
    return ", ".join(f"{name}={before!r} (now {now!r})" for name, (before, now) in changes.items())


def _plain(value: Any) -> Any:
    """Return sequences as lists, which they are in a configuration."""
    return list(value) if isinstance(value, list | tuple) else value
