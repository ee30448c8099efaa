"""``lightning-distill distill``: the best set within minutes, with a live table."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from lightning_distill import portfolio
from lightning_distill.commands._console import plain_console
from lightning_distill.commands.report import report
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.metrics.registry import METRICS
from lightning_distill.portfolio import DistillResult
from lightning_distill.portfolio.state import PortfolioState
from lightning_distill.sets.picture_file import write_picture
from lightning_distill.sets.storage import read_set
from lightning_distill.utils.errors import NoGainError


def distill(
    data: ArrayDataModule, *, out: str = "distilled", require_gain: bool = False, **options: Any
) -> DistillResult:
    """Find the best synthetic set that a time budget allows: several recipes, scored on the validation split.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        out: Folder for the set, its card, a picture, the report and the state of the run. The same command, called
            again, goes on there.
        require_gain: Whether to end with exit status 3 if the set is no better than its start.
        **options: Options of `portfolio.distill`.

    Returns:
        The set, its scores and its price.

    Raises:
        ValueError: A name is unknown, the budget does not hold one candidate, or ``out`` holds another run.
        OSError: The folder cannot be written.
        NoGainError: ``require_gain`` is set and the set is no better than its start.
    """
    console = plain_console()
    table = LiveTable(console)
    with Live(table, console=console, refresh_per_second=2) if console.is_terminal else nullcontext():
        result = portfolio.distill(data, out=out, on_update=table.update, on_state=table.watch, **options)
    folder = Path(out)
    write_picture(folder, *read_set(result.path))
    report([out], out=str(folder / "report.html"), data=data)
    console.print(f"{result.path}: {result.bytes:,} bytes, {result.seconds:.0f} s", soft_wrap=True, highlight=False)
    console.print(result.gain.sentence(), soft_wrap=True, highlight=False)
    console.print(result.sentence(), soft_wrap=True, highlight=False)
    if require_gain and not result.gain.beats_start:
        raise NoGainError(result.gain.sentence())
    return result


class LiveTable:
    """Table of the candidates of a running portfolio; outside of a terminal, a line for each scored candidate.

    Args:
        console: Console to print to.
    """

    def __init__(self, console: Console) -> None:
        self.console, self._printed = console, 0
        self.state: PortfolioState | None = None
        self.message = "starting"
        self._spent, self._at = 0.0, time.perf_counter()

    def watch(self, state: PortfolioState) -> None:
        """Show a state from now on."""
        self.state = state

    def update(self, message: str) -> None:
        """Show what is done now."""
        self.message = message
        snapshots = self.state.snapshots if self.state is not None else []
        for s in snapshots[self._printed :] if not self.console.is_terminal else ():
            score = f"{self.number(s.score)} on val after {s.steps:,} steps, {s.seconds:.0f} s"
            self.console.print(f"{s.recipe}, round {s.rung + 1}: {score}; {self.time_left()}", highlight=False)
        self._printed = len(snapshots)

    def time_left(self) -> str:
        """Return the time left in words."""
        state = self.state
        if state is not None and state.seconds != self._spent:
            self._spent, self._at = state.seconds, time.perf_counter()
        minutes = state.minutes if state is not None else 0.0
        left = max(0.0, minutes - (self._spent + time.perf_counter() - self._at) / 60)
        return f"{left:.1f} of {minutes:g} minutes left"

    def __rich__(self) -> Table:
        """Return the table."""
        state = self.state
        table = Table(title="Validation scores of the search", caption=f"{self.message}; {self.time_left()}")
        for column in ("recipe", "round", "steps", "score", "seconds"):
            table.add_column(column, justify="left" if column == "recipe" else "right")
        for s in state.snapshots if state is not None else ():
            table.add_row(s.recipe, str(s.rung + 1), f"{s.steps:,}", self.number(s.score), f"{s.seconds:.0f}")
        return table

    def number(self, score: float) -> str:
        """Return a score as its metric is written; that of one label, ``auroc/NAME``, as the metric over all labels."""
        assert self.state is not None
        metric = METRICS[str(self.state.settings["metric"]).partition("/")[0]]
        return f"{metric.text(score)}{metric.unit}"
