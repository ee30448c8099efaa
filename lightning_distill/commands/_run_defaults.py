"""Callbacks and folder of ``fit`` where the configuration names none: students, export of the set, checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_distill.callbacks import (
    DistillCheckpoint,
    GeneratorProgress,
    StepProgress,
    StudentEvaluation,
    SyntheticSetExport,
    ValidationBudget,
)

#: Steps of a generator where neither steps, epochs nor time are given.
GENERATOR_STEPS = 3000


def complete_run(config: Namespace, fit: bool = True) -> str | None:
    """Add the callbacks that a run needs to leave a set, and send all files to one folder.

    Where no callback evaluates, exports or keeps checkpoints, or ``--out`` is given, the missing ones are added. A
    callback that is there is kept: ``--students``, ``--protocol`` and ``--out`` change it, and none is added twice.
    Runs of a W&B sweep get a folder each, named by the id of the run.

    Args:
        config: Options of ``fit``, ``validate`` or ``test``, changed in place.
        fit: Whether a set is distilled; else students alone are added.

    Returns:
        Folder of the run; ``None`` where nothing is exported.

    Raises:
        ValueError: Options that contradict each other.
    """
    if config.out is not None and not config.export:
        raise ValueError(f"--out {config.out} and --no_export contradict each other; leave one out")
    callbacks = _as_list(config.trainer.callbacks)
    kinds = {kind: _of_kind(callbacks, kind) for kind in (StudentEvaluation, SyntheticSetExport, DistillCheckpoint)}
    bare = fit and config.export and (config.out is not None or not any(kinds.values()))
    out = config.out or _folder_of(kinds[SyntheticSetExport]) or f"runs/{_run_name(config)}"
    out = _folder_of_sweep_run(out)
    if not kinds[StudentEvaluation] and (bare or not fit or config.students or config.protocol):
        model = _init_args(config.model)
        students: dict[str, object] = {"architectures": [model.get("network") or "convnet"]}
        if model.get("weights"):  # students start from the same file
            students["weights"] = model["weights"]
        kinds[StudentEvaluation] = [_add(callbacks, StudentEvaluation, **students)]
    for each in kinds[StudentEvaluation]:
        for name in ("students", "protocol"):
            if config[name] is not None:
                each.init_args[name] = config[name]
    for kind, folder in ((SyntheticSetExport, out), (DistillCheckpoint, f"{out}/checkpoints")):
        refused = kind is DistillCheckpoint and config.trainer.enable_checkpointing is False
        if bare and not kinds[kind] and not refused:
            kinds[kind] = [_add(callbacks, kind, dirpath=folder)]
        elif len(kinds[kind]) == 1 and (config.out is not None or _sweep_run()):
            kinds[kind][0].init_args["dirpath"] = folder
    if not config.export:
        callbacks = [each for each in callbacks if each not in kinds[SyntheticSetExport]]
        kinds[SyntheticSetExport] = []
    if config.trainer.enable_progress_bar is not False and not any("Progress" in each.class_path for each in callbacks):
        _add(callbacks, StepProgress)
    if bare and _validates_by_default(config):
        _add(callbacks, ValidationBudget)
    if config.trainer.enable_model_summary is None:
        config.trainer.enable_model_summary = False  # one row, which says less than the card
    config.trainer.callbacks = callbacks
    if not kinds[SyntheticSetExport]:
        return None
    if config.trainer.default_root_dir is None:
        config.trainer.default_root_dir = out
    return out


def _validates_by_default(config: Namespace) -> bool:
    """Return whether no option says how often to validate."""
    trainer = config.trainer
    given = (trainer.check_val_every_n_epoch not in (None, 1), trainer.val_check_interval is not None)
    return not any(given) and _init_args(config.data).get("steps_per_epoch") is None


def complete_generator_run(config: Namespace) -> str:
    """Add what a run of a generator needs: pictures and ``val/kid``, checkpoints, a bar and a number of steps.

    A callback that is there is kept.

    Args:
        config: Options of ``fit``, changed in place.

    Returns:
        Folder of the run.
    """
    callbacks, trainer = _as_list(config.trainer.callbacks), config.trainer
    out = _folder_of_sweep_run(config.out or f"runs/{_run_name(config)}")
    progress = _of_kind(callbacks, GeneratorProgress) or [_add(callbacks, GeneratorProgress, dirpath=f"{out}/pictures")]
    monitor = None if progress[0].init_args.get("kid_images") == 0 or trainer.limit_val_batches == 0 else "val/kid"
    checkpoints = [*_of_kind(callbacks, DistillCheckpoint), *_of_kind(callbacks, ModelCheckpoint)]
    if not checkpoints and trainer.enable_checkpointing is not False:
        about = {"monitor": monitor, "mode": "min", "filename": "best"}
        _add(callbacks, DistillCheckpoint, dirpath=f"{out}/checkpoints", **about)
    if trainer.enable_progress_bar is not False and not any("ProgressBar" in each.class_path for each in callbacks):
        _add(callbacks, StepProgress)
    if trainer.enable_model_summary is None:
        trainer.enable_model_summary = False
    if trainer.max_steps == -1 and trainer.max_epochs is None and trainer.max_time is None:
        trainer.max_steps = GENERATOR_STEPS
    if trainer.default_root_dir is None:
        trainer.default_root_dir = out
    trainer.callbacks = callbacks
    return out


def _namespace(**values: object) -> Namespace:
    return Namespace(**values)  # type: ignore[no-untyped-call]


def _as_list(callbacks: Any) -> list[Namespace]:
    given = callbacks if isinstance(callbacks, list) else [callbacks] if callbacks is not None else []
    for each in given:
        if each.get("init_args") is None:
            each["init_args"] = _namespace()
    return given


def _of_kind(callbacks: list[Namespace], kind: type) -> list[Namespace]:
    return [each for each in callbacks if each.class_path.rpartition(".")[2] == kind.__name__]


def _add(callbacks: list[Namespace], kind: type, **arguments: object) -> Namespace:
    added = _namespace(class_path=f"lightning_distill.callbacks.{kind.__name__}", init_args=_namespace(**arguments))
    callbacks.append(added)
    return added


def _folder_of(exports: list[Namespace]) -> str | None:
    return str(exports[0].init_args["dirpath"]) if exports else None


def _init_args(part: Any) -> dict[str, Any]:
    return dict(vars(part.get("init_args") or _namespace())) if part is not None else {}


def _run_name(config: Namespace) -> str:
    """Return the name of data and method, such as ``breastmnist_dm``."""
    data = _init_args(config.data).get("name") or _plain(config.data, "DataModule")
    return f"{data}_{_plain(config.model, 'Distiller')}"


def _plain(part: Any, ending: str) -> str:
    name: str = part.class_path.rpartition(".")[2] if part is not None else "data"
    return name.removesuffix(ending).removesuffix("Generator").lower() or name.lower()


def _sweep_run() -> str | None:
    """Return the id of the run that a W&B agent started, if one did."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def _folder_of_sweep_run(out: str) -> str:
    run = _sweep_run()
    return str(Path(out) / run) if run else out
