"""How it is timed: a quiet fit, or a student's training, that takes turns with a rival."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from lightning import Callback, LightningModule, Trainer

from lightning_distill.bench.cases import (
    BenchmarkCase,
    Precision,
    ReferenceStep,
    Size,
    Variant,
    make_ours,
    make_textbook,
    noise,
    write_expert_files,
)
from lightning_distill.bench.interleaved import InterleavedTimer
from lightning_distill.evaluation import LabeledSet, Protocol, StudentTrainer

Accelerator = Literal["auto", "cpu", "gpu"]


def device_of(accelerator: Accelerator) -> str:
    """Where an accelerator's name leads on this machine."""
    return "cuda" if accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available()) else "cpu"


def quiet_trainer(max_steps: int, precision: Precision, device: str, callbacks: list[Callback]) -> Trainer:
    """A trainer that does nothing but train."""
    return Trainer(
        max_steps=max_steps,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        precision=precision,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )


@contextmanager
def silence() -> Iterator[None]:
    """Lightning's remarks and all warnings off, as they were afterwards."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class InterleaveCallback(Callback):
    """Calls `Turns` after every step and stops the trainer when it is enough."""

    def __init__(self, turns: InterleavedTimer) -> None:
        self.turns = turns

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.turns.begin()

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Let the other take its turn."""
        trainer.should_stop = self.turns()


class _MeasurementDone(Exception):
    """Ends a student's training."""


def measure(
    path: str,
    size: Size,
    variant: Variant,
    warmup: int = 1,
    pairs: int = 5,
    seconds: float = float("inf"),
    accelerator: Accelerator = "auto",
    rival: ReferenceStep | None = make_textbook,
) -> InterleavedTimer:
    """Time one path: ours in a variant, in turn with a rival.

    Args:
        path: one of `PATHS`.
        size: of the noise images and of the step.
        variant: of ours; the rival is what it is.
        warmup: see `Turns`.
        pairs: see `Turns`.
        seconds: see `Turns`.
        accelerator: of both.
        rival: makes the other side; ``None`` times ours alone.

    Raises:
        ValueError: unknown path or network.
    """
    with tempfile.TemporaryDirectory() as folder, silence():
        data, device = noise(size), device_of(accelerator)
        if path == "mtt":
            write_expert_files(folder, size.network, data.spec)
        job = BenchmarkCase(path, size, data, device, folder)
        other = None if rival is None else rival(job).step
        turns = InterleavedTimer(other, warmup, pairs, seconds, device)
        if path == "student":
            _study(job, variant, turns)
        else:
            trainer = quiet_trainer(warmup + pairs, variant.precision, device, [InterleaveCallback(turns)])
            trainer.fit(make_ours(job, variant.compile), datamodule=data)
    return turns


def _study(job: BenchmarkCase, variant: Variant, turns: InterleavedTimer) -> None:
    begun, spec = job.begin(), job.data.spec
    protocol = Protocol("bench", turns.warmup + turns.pairs - 1, augmentation=spec.augmentation)
    images, bf16 = len(begun), variant.precision == "bf16-mixed"
    school = StudentTrainer(job.size.network, spec, protocol, images, 1, job.device, bf16, variant.compile)

    def tick() -> None:
        if turns():
            raise _MeasurementDone

    turns.begin()
    try:
        school.fit(LabeledSet(begun.pixels(), begun.labels, spec), job.seed, tick)
    except _MeasurementDone:
        return
