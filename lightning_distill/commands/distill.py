"""``lightning-distill distill``: the best set within minutes, with a live table."""

from __future__ import annotations

import time
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table

from lightning_distill.data import ArrayDataModule
from lightning_distill.functional.compile import CompileMode
from lightning_distill.portfolio import DistillResult
from lightning_distill.portfolio import distill as run_portfolio
from lightning_distill.portfolio.state import PortfolioState
from lightning_distill.sets.synthetic import SmallClass
from lightning_distill.utils.errors import NoGainError


def distill(
    data: ArrayDataModule,
    *,
    ipc: int | list[int] = 10,
    minutes: float = 10.0,
    out: str = "distilled",
    recipes: list[str] | None = None,
    metric: str | None = None,
    network: str | None = None,
    protocol: str = "quick",
    students: int = 3,
    seed: int = 0,
    on_small_class: SmallClass = "repeat",
    require_gain: bool = False,
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    compile: CompileMode = "off",
) -> DistillResult:
    """Find the best synthetic set that a time budget allows: several recipes, scored on the validation split.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        ipc: Images per class, one number or one for each class.
        minutes: Time budget in minutes.
        out: Folder for the set, its card, the report and the state of the run. The same command goes on there.
        recipes: Names of recipes, the most promising first. Default: all that fit the images.
        metric: Metric that selects. Default: ``balanced_acc``, or ``auroc`` for multi-label data.
        network: Network of distillation and students, of this package or of timm. Default: ``convnet_w32`` on a CPU,
            ``convnet`` on a GPU.
        protocol: Training protocol of the students: ``quick``, ``reference`` or ``tiny`` (for tests).
        students: Number of students of each final score.
        seed: Seed of the distillations and of the students.
        on_small_class: Policy where a class has fewer images than a recipe needs: ``error``, ``fewer`` or ``repeat``.
        require_gain: Whether to end with exit status 3 if the set is no better than its start.
        precision: Precision of forward passes: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``off``, ``auto`` or ``max``. Its warm-up counts as time.

    Returns:
        The set, its scores and its price.

    Raises:
        ValueError: A name is unknown, the budget does not hold one candidate, or ``out`` holds another run.
        OSError: The folder cannot be written.
        NoGainError: ``require_gain`` is set and the set is no better than its start.
    """
    console = Console()
    table = LiveTable(60 * minutes)
    with Live(table, console=console, refresh_per_second=2, transient=not console.is_terminal):
        result = run_portfolio(
            data,
            ipc,
            minutes,
            out=out,
            recipes=recipes,
            metric=metric,
            network=network,
            protocol=protocol,
            students=students,
            seed=seed,
            on_small_class=on_small_class,
            precision=precision,
            accelerator=accelerator,
            compile=compile,
            on_update=table.update,
            on_state=table.watch,
        )
    console.print(f"{result.path}: {result.bytes:,} bytes, {result.seconds:.0f} s", soft_wrap=True, highlight=False)
    console.print(result.gain.sentence(), soft_wrap=True, highlight=False)
    console.print(result.sentence(), soft_wrap=True, highlight=False)
    if require_gain and not result.gain.beats_start:
        raise NoGainError(result.gain.sentence())
    return result


class LiveTable:
    """Table of the candidates of a running portfolio.

    Args:
        seconds: Time budget.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.state: PortfolioState | None = None
        self.message = "starting"
        self._spent, self._at = 0.0, time.perf_counter()

    def watch(self, state: PortfolioState) -> None:
        """Show a state from now on."""
        self.state = state

    def update(self, message: str) -> None:
        """Show what is done now."""
        self.message = message

    def __rich__(self) -> Table:
        """Return the table."""
        state = self.state
        if state is not None and state.seconds != self._spent:
            self._spent, self._at = state.seconds, time.perf_counter()
        left = max(0.0, self.seconds - self._spent - (time.perf_counter() - self._at))
        caption = f"{self.message}; {left / 60:.1f} of {self.seconds / 60:g} minutes left"
        table = Table(title="Validation scores of the search", caption=caption)
        for column in ("recipe", "round", "steps", "score", "seconds"):
            table.add_column(column, justify="left" if column == "recipe" else "right")
        for s in state.snapshots if state is not None else ():
            table.add_row(s.recipe, str(s.rung + 1), f"{s.steps:,}", f"{100 * s.score:.1f}", f"{s.seconds:.0f}")
        return table
