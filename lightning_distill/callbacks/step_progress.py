"""``StepProgress``: one progress bar for all steps of a run, or a line in the log every half minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm.auto import tqdm

#: Seconds between two lines where there is no terminal.
INTERVAL = 30.0


class StepProgress(ProgressBar):
    """Show the step, the time left and the loss of a run by ``max_steps``, and the training of its students.

    Lightning's bars count the batches of an epoch, which say nothing in a run of a given number of steps. On a terminal
    this is one bar; elsewhere it is one line on standard error every half minute, such as
    ``step 120 of 300, 0:01:40 left, loss 0.0123``. ``lightning-distill fit`` uses it unless the configuration names
    another bar.

    Args:
        interval: Seconds between two lines where standard error is no terminal.

    Example:
        >>> from lightning import Trainer
        >>> trainer = Trainer(max_steps=10, callbacks=[StepProgress()], logger=False, accelerator="cpu")
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        super().__init__()
        self.interval = interval
        self._enabled = True
        self._task: _Task | None = None

    def disable(self) -> None:
        """Show nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line above the bar."""
        if self._enabled:
            tqdm.write(kwargs.get("sep", " ").join(str(each) for each in args), file=sys.stderr)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar at the step that the run starts or goes on from."""
        if self._enabled:
            total = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
            known = None if total == float("inf") else int(total)
            self._task = _Task("step", known, trainer.global_step, self.interval)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Move to the step, and show what the method logs to the bar."""
        if self._task is not None:
            shown = {name.rpartition("/")[2]: value for name, value in trainer.progress_bar_metrics.items()}
            self._task.move_to(trainer.global_step, shown)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message stands on a line of its own."""
        self._close()

    @contextmanager
    def students(self, total: int, text: str) -> Iterator[Callable[[], object]]:
        """Yield a function that counts one more epoch of students.

        Args:
            total: Number of epochs.
            text: Label of the bar.
        """
        if not self._enabled:
            yield lambda: None
            return
        task = _Task(text, total, 0, self.interval, leave=False)
        try:
            yield task.advance
        finally:
            task.close()

    def _close(self) -> None:
        if self._task is not None:
            self._task.close()
            self._task = None


class _Task:
    """A bar on a terminal, else a line every ``interval`` seconds."""

    def __init__(self, text: str, total: int | None, start: int, interval: float, leave: bool = True) -> None:
        self._text, self._total, self._first, self._interval = text, total, start, interval
        self._done, self._began = start, time.monotonic()
        self._said = self._began
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=start, desc=text, leave=leave, dynamic_ncols=True)

    def advance(self) -> None:
        """Count one more."""
        self.move_to(self._done + 1, {})

    def move_to(self, done: int, shown: dict[str, Any]) -> None:
        """Set the number that is done, and what is shown beside it."""
        if self._bar is not None:
            self._bar.update(done - self._done)
            self._bar.set_postfix(shown, refresh=False)
        self._done, now = done, time.monotonic()
        if self._bar is None and now - self._said >= self._interval:
            self._said = now
            print(self.line(now - self._began, shown), file=sys.stderr, flush=True)

    def line(self, seconds: float, shown: dict[str, Any]) -> str:
        """Return the line of a log.

        Args:
            seconds: Seconds since the start.
            shown: Values by name.
        """
        parts = [f"{self._text} {self._done}" + ("" if self._total is None else f" of {self._total}")]
        gone = self._done - self._first
        if self._total is not None and gone > 0:
            parts.append(f"{tqdm.format_interval(seconds / gone * (self._total - self._done))} left")
        parts += [f"{name} {value:.4g}" for name, value in shown.items()]
        return ", ".join(parts)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
