"""Option types and helpers that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_distill.commands._help import FORWARDED
from lightning_distill.utils.command_line import SHELL_NAMES, command_line, option
from lightning_distill.utils.hardware import Accelerator, resolve_device
from lightning_distill.utils.precision import Precision
from lightning_distill.utils.progress import ProgressCallback, ProgressReport

__all__ = [
    "SHELL_NAMES",
    "Accelerator",
    "Labels",
    "Precision",
    "command_line",
    "command_parameters",
    "option",
    "progress_bar",
    "report_to",
    "resolve_device",
    "start_task",
]

Labels = Literal["hard", "soft"]


def command_parameters(command: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a command by name, including those that it forwards to the library."""
    parameters = dict(inspect.signature(command).parameters)
    if parameters.pop("options", None) is not None:
        module, name = FORWARDED[command.__name__]
        library = getattr(import_module(f"lightning_distill.{module}"), name)
        parameters = {**inspect.signature(library).parameters, **parameters}
    return parameters


def progress_bar() -> Progress:
    """Return a progress bar with description, finished and total count, and time left."""
    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )


def start_task(bar: Progress, description: str, total: int) -> ProgressCallback:
    """Add a task to a progress bar and return a function that advances it by one."""
    return partial(bar.advance, bar.add_task(description, total=total))


def report_to(bar: Progress) -> ProgressReport:
    """Add one task to a progress bar and return a function that sets its description, finished and total work."""
    task = bar.add_task("", total=None)

    def report(description: str, done: int, total: int) -> None:
        bar.update(task, description=description, completed=done, total=total)

    return report
