"""Names under which `StudentEvaluation` logs: apart from the metrics of the project it is a guest in."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from lightning import Trainer

#: First part of the log keys in a project without a distiller.
DEFAULT_PREFIX = "students"


def log_prefixes(given: Sequence[str | None], own_project: bool) -> list[str]:
    """Return the first part of the log keys of each evaluation of a Trainer.

    Args:
        given: Argument ``prefix`` of each evaluation.
        own_project: Whether the module is a `Distiller`, of which ``val/acc`` is the own score.

    Raises:
        ValueError: Two evaluations with the same prefix.

    Example:
        >>> log_prefixes([None, "mine", None], own_project=False), log_prefixes([None, None], own_project=True)
        (['students', 'mine', 'students_2'], ['', 'students_2'])
    """
    prefixes: list[str] = []
    defaults = 0
    for prefix in given:
        if prefix is None:
            defaults += 1
            first = "" if own_project else DEFAULT_PREFIX
            prefixes.append(first if defaults == 1 else f"{DEFAULT_PREFIX}_{defaults}")
        else:
            prefixes.append(prefix.strip("/"))
    if twice := [prefix for prefix in prefixes if prefixes.count(prefix) > 1]:
        raise ValueError(f"two StudentEvaluation callbacks have the prefix {twice[0]!r}; give one another prefix=")
    return prefixes


def log_key(prefix: str, stage: str, name: str, suffix: str = "") -> str:
    """Return a log key such as ``students/val/acc`` or ``students/val/acc/dataloader_idx_1``."""
    return "/".join(filter(None, (prefix, stage, name, suffix)))


def loader_suffix(number: int, loaders: int) -> str:
    """Return Lightning's suffix of the metrics of one of several loaders; empty for a single one."""
    return f"dataloader_idx_{number}" if loaders > 1 else ""


def refuse_names(names: Collection[str], taken: Collection[str], module: str) -> None:
    """Raise ValueError if the project has logged values under these names: one of the two would be hidden.

    Args:
        names: Log keys of the callback.
        taken: Log keys of the project in this validation or test.
        module: Class name of the module.
    """
    if both := [name for name in names if name in taken]:
        raise ValueError(
            f"{module} and StudentEvaluation both log {both[0]!r}; use StudentEvaluation(prefix='{DEFAULT_PREFIX}') "
            "or another prefix"
        )


def refuse_mixed_values(trainer: Trainer, logged: Mapping[str, float], module: str) -> None:
    """Raise ValueError if the project logged under the same names after the callback: Lightning mixed the values.

    Args:
        trainer: Trainer at the end of a validation or test.
        logged: Values that the callback logged.
        module: Class name of the module.
    """
    results = {name: float(trainer.callback_metrics.get(name, value)) for name, value in logged.items()}
    refuse_names(logged, [name for name, value in logged.items() if not _equal(value, results[name])], module)


def _equal(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6)
