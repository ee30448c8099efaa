"""Option types and helpers that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_distill.distillers.mtt.train_experts import train_experts
from lightning_distill.evaluation.evaluate import evaluate
from lightning_distill.evaluation.mixing import measure_mixtures
from lightning_distill.indicator.predict import predict_accuracies
from lightning_distill.leakage import audit_set
from lightning_distill.portfolio import distill
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
#: Library function that receives the ``**options`` of a command, by the name of the command.
LIBRARY: dict[str, Callable[..., object]] = {
    "audit_set": audit_set, "distill": distill, "evaluate": evaluate, "experts": train_experts,
    "indicator": predict_accuracies, "mix": measure_mixtures,
}  # fmt: skip


def command_parameters(command: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a command by name, including those that it forwards to the library."""
    parameters = dict(inspect.signature(command).parameters)
    if parameters.pop("options", None) is not None:
        parameters = {**inspect.signature(LIBRARY[command.__name__]).parameters, **parameters}
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
