"""Paths in the state of checkpoint callbacks: relative to their folder in a file, absolute in a run.

A checkpoint then names no folder of the machine that wrote it, and goes on where its folder was moved to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn

from lightning_distill.utils.checkpoint_file import is_remote

#: Entries of the state of a ModelCheckpoint, checked with Lightning 2.6.
FOLDER, PATHS, SCORES = "dirpath", ("best_model_path", "kth_best_model_path", "last_model_path"), "best_k_models"
BEST = "best_model_path"


def strip_paths(states: Mapping[str, Any]) -> dict[str, Any]:
    """Return the states of callbacks with all paths relative to the folder of their checkpoints.

    Args:
        states: State of each callback by its key.
    """
    return {key: _strip(state) if _has_paths(state) else state for key, state in states.items()}


def restore_paths(states: dict[str, Any], trainer: Trainer) -> None:
    """Make the paths of a checkpoint absolute in the folders of this run, in place.

    Files that are not there are forgotten, so that a checkpoint that was taken to another folder starts a new record.

    Args:
        states: State of each callback by its key.
        trainer: Trainer that resumes.
    """
    callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None:
            continue
        state = states.get(callback.state_key)
        if _has_paths(state):
            states[callback.state_key] = _restore(_strip(state), str(callback.dirpath))


def _has_paths(state: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(state, Mapping) and FOLDER in state and BEST in state


def _strip(state: Mapping[str, Any]) -> dict[str, Any]:
    folder = state[FOLDER]
    return {**_map_paths(state, lambda path: _relative(path, folder)), FOLDER: ""}


def _restore(state: Mapping[str, Any], folder: str) -> dict[str, Any]:
    known = {name: score for name, score in state.get(SCORES, {}).items() if _exists(os.path.join(folder, name))}
    restored = {**_map_paths({**state, SCORES: known}, lambda name: os.path.join(folder, name)), FOLDER: folder}
    if state[BEST] and state[BEST] not in known and not _exists(restored[BEST]):
        rank_zero_warn(f"the best checkpoint so far, {state[BEST]}, is not in {folder}; the best one from now is kept")
        restored |= {BEST: "", "best_model_score": None}
    if restored.get("kth_best_model_path") and not _exists(restored["kth_best_model_path"]):
        restored["kth_best_model_path"] = ""
    return restored


def _map_paths(state: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return a state with its paths changed; empty ones stay."""
    paths = {name: change(state[name]) for name in PATHS if state.get(name)}
    return {**state, **paths, SCORES: {change(path): score for path, score in state.get(SCORES, {}).items()}}


def _relative(path: str, folder: str | None) -> str:
    """Return a path relative to a folder, or its last part where it is not below it."""
    if not folder:  # stripped already
        return os.path.basename(path) if os.path.isabs(path) else path
    if is_remote(path):
        return path.removeprefix(folder).lstrip("/") if path.startswith(folder) else path.rpartition("/")[2]
    relative = os.path.relpath(path, folder)
    return os.path.basename(path) if relative.startswith(os.pardir) else relative


def _exists(path: str) -> bool:
    return is_remote(path) or os.path.isfile(path)
