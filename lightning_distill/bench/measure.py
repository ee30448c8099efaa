"""Time a fit, or the training of a student, interleaved with the reference implementation."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from lightning import Callback, LightningModule, Trainer

from lightning_distill.bench.cases import (
    BenchmarkCase,
    ReferenceStep,
    Size,
    Variant,
    make_distiller,
    make_reference,
    noise_data,
    write_expert_files,
)
from lightning_distill.bench.interleaved import InterleavedTimer
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.evaluation import LabeledSet, Protocol, StudentTrainer
from lightning_distill.utils.hardware import resolve_device

Accelerator = Literal["auto", "cpu", "gpu"]


@contextmanager
def silence_lightning() -> Iterator[None]:
    """Suppress Lightning messages and all warnings inside the block."""
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
    """Call an `InterleavedTimer` after every step and stop the trainer when it is done."""

    def __init__(self, timer: InterleavedTimer) -> None:
        self.timer = timer

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.timer.start()

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Run a reference step."""
        trainer.should_stop = self.timer()


class _MeasurementDone(Exception):
    """Signal that ends the training of a student."""


def measure_path(
    path: str,
    size: Size,
    variant: Variant,
    warmup: int = 1,
    pairs: int = 5,
    seconds: float = float("inf"),
    accelerator: Accelerator = "auto",
    reference: ReferenceStep | None = make_reference,
) -> InterleavedTimer:
    """Time one path, interleaved with the reference implementation.

    Args:
        path: Code path, one of `PATHS`.
        size: Size of the random images and of a step.
        variant: Precision and compile mode of this library.
        warmup: Number of first steps that are not measured.
        pairs: Number of measured steps of each implementation.
        seconds: Time limit after the warm-up. At least one pair is measured.
        accelerator: Accelerator of both implementations.
        reference: Function that creates the reference implementation. ``None`` times this library alone.

    Raises:
        ValueError: The path or the network is unknown.
    """
    with tempfile.TemporaryDirectory() as folder, silence_lightning():
        data, device = noise_data(size), resolve_device(accelerator)
        if path == "mtt":
            write_expert_files(folder, size.network, data.spec)
        case = BenchmarkCase(path, size, data, device, folder)
        other = None if reference is None else reference(case).step
        timer = InterleavedTimer(other, warmup, pairs, seconds, device)
        if path == "student":
            _time_student(case, variant, timer)
        else:
            trainer = quiet_trainer(warmup + pairs, variant.precision, device, [InterleaveCallback(timer)])
            trainer.fit(make_distiller(case, variant.compile), datamodule=data)
    return timer


def _time_student(case: BenchmarkCase, variant: Variant, timer: InterleavedTimer) -> None:
    synthetic, spec = case.init_synthetic(), case.data.spec
    protocol = Protocol("bench", timer.warmup + timer.pairs - 1, augmentation=spec.augmentation)
    images, bf16 = len(synthetic), variant.precision == "bf16-mixed"
    trainer = StudentTrainer(
        case.size.network,
        spec,
        protocol=protocol,
        images=images,
        students=1,
        device=case.device,
        bf16=bf16,
        compile=variant.compile,
    )

    def on_epoch() -> None:
        if timer():
            raise _MeasurementDone

    timer.start()
    try:
        trainer.fit(LabeledSet(synthetic.pixels(), synthetic.labels, spec), case.seed, on_epoch=on_epoch)
    except _MeasurementDone:
        return
