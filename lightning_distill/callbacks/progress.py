"""Progress of the students' training, shown by the progress bar of the Trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning import Trainer
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.markup import escape
from tqdm.auto import tqdm

from lightning_distill.callbacks.step_progress import StepProgress


@contextmanager
def student_progress(trainer: Trainer, total: int, text: str) -> Iterator[Callable[[], object]]:
    """Yield a function to call after every epoch: it advances a task in the rich bar, a tqdm bar, or nothing.

    Where the process was told to end by SIGTERM, the function ends the training of the students, which takes minutes.
    With several processes Lightning ends them together, after the validation.

    Args:
        trainer: Trainer with or without a progress bar.
        total: Number of epochs.
        text: Label of the progress bar.
    """
    with _bar(trainer, total, text) as advance:

        def on_epoch() -> None:
            if trainer.received_sigterm and trainer.world_size == 1:
                raise SIGTERMException
            advance()

        yield on_epoch


@contextmanager
def _bar(trainer: Trainer, total: int, text: str) -> Iterator[Callable[[], object]]:
    bar = trainer.progress_bar_callback
    if isinstance(bar, StepProgress):
        with bar.students(total, text) as advance:
            yield advance
    elif isinstance(bar, RichProgressBar) and bar.is_enabled and bar.progress is not None:
        task = bar.progress.add_task(f"[white]{escape(text)}", total=total)
        try:
            yield lambda: bar.progress.update(task, advance=1) if bar.progress else None
        finally:
            bar.progress.remove_task(task)
    elif isinstance(bar, TQDMProgressBar) and bar.is_enabled:
        with tqdm(total=total, desc=text, leave=False, dynamic_ncols=True) as student_bar:
            yield lambda: student_bar.update()
    else:
        yield lambda: None
