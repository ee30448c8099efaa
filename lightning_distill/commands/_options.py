"""Option types and helpers that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_distill.evaluation.evaluate import evaluate
from lightning_distill.utils.command_line import SHELL_NAMES, command_line, option
from lightning_distill.utils.hardware import resolve_device
from lightning_distill.utils.progress import ProgressCallback

__all__ = [
    "SHELL_NAMES",
    "Accelerator",
    "Precision",
    "command_line",
    "command_parameters",
    "option",
    "progress_bar",
    "resolve_device",
    "start_task",
]

Precision = Literal["32-true", "bf16-mixed"]
Accelerator = Literal["auto", "cpu", "cuda"]
#: Library functions that receive the ``**options`` of the command of the same name.
LIBRARY: dict[str, Callable[..., object]] = {"evaluate": evaluate}


def command_parameters(command: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a command by name, including those that it forwards to the library."""
    parameters = dict(inspect.signature(command).parameters)
    if parameters.pop("options", None) is not None:
        parameters = {**inspect.signature(LIBRARY[command.__name__]).parameters, **parameters}
    return parameters


def progress_bar() -> Progress:
    """Return a progress bar with description, finished and total count, and time left."""
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def start_task(bar: Progress, description: str, total: int) -> ProgressCallback:
    """Add a task to a progress bar and return a function that advances it by one."""
    return partial(bar.advance, bar.add_task(description, total=total))
