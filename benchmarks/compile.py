"""What compiling costs and brings: the warm-up and the time of a DM step, eager and compiled, in turn in one process.

    python benchmarks/compile.py            # writes benchmarks/results/compile.csv

Two classes of 1x28x28 noise, 256 real and 10 synthetic images a class, ConvNet depth 3 width 128. The decision for
``compile="auto"`` (`functional.WORTH_COMPILING`) rests on these numbers.
"""

from __future__ import annotations

import csv
import datetime
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch._inductor.config
from lightning import Callback, Trainer

from lightning_distill import ArrayDataModule, DMDistiller, __version__
from lightning_distill.functional import count_flops
from lightning_distill.machine import machine
from lightning_distill.networks import create_network

STEPS, ROUNDS = 10, 2


class Clock(Callback):
    """The moment every step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_start(self, *_: object) -> None:
        """The zeroth moment."""
        self.ends = [time.perf_counter()]

    def on_train_batch_end(self, *_: object) -> None:
        """One more."""
        self.ends.append(time.perf_counter())


def measure(data: ArrayDataModule, compile: str, precision: str) -> tuple[float, float, torch.Tensor]:
    """Seconds until the first two steps were done, median seconds of a later one, and the images."""
    clock = Clock()
    trainer = Trainer(
        max_steps=STEPS, accelerator="auto", devices=1, precision=precision, logger=False, callbacks=[clock],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    distiller = DMDistiller(ipc=10, compile=compile)
    trainer.fit(distiller, datamodule=data)
    steps = [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)]
    return clock.ends[2] - clock.ends[0], statistics.median(steps[2:]), distiller.synthetic.images.detach().cpu()


def main() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (600, 28, 28), dtype=np.uint8)
    data = ArrayDataModule((images, np.arange(600) % 2))
    flops = count_flops(lambda: create_network("convnet", 1, 2, (28, 28)), (1, 28, 28)) * 2 * (256 + 3 * 10)
    kinds = [(compile, precision) for precision in ("32-true", "bf16-mixed") for compile in ("off", "max")]
    warm: dict[tuple[str, str], float] = {}
    times: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    ends: dict[tuple[str, str], torch.Tensor] = {}
    with warnings.catch_warnings(), torch._inductor.config.patch(force_disable_caches=True):
        warnings.simplefilter("ignore")
        for _ in range(ROUNDS):
            for kind in kinds:
                first, median, ends[kind] = measure(data, *kind)
                warm.setdefault(kind, first)
                times[kind].append(median)
    eager = statistics.median(times[("off", "32-true")])
    path = Path(__file__).parent / "results" / "compile.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["compile", "precision", "first_two_steps_s", "step_s", "ratio_to_eager_float32", "tflops",
             "difference_of_images", "steps", "rounds", "machine", "torch", "lightning_distill", "date", "command"]
        )  # fmt: skip
        for compile, precision in kinds:
            step = statistics.median(times[(compile, precision)])
            apart = (ends[(compile, precision)] - ends[("off", "32-true")]).abs().mean().item()
            row = [compile, precision, round(warm[(compile, precision)], 1), round(step, 4), round(eager / step, 2)]
            row += [round(flops / step / 1e12, 3), f"{apart:.1e}", STEPS, ROUNDS, machine(), torch.__version__]
            row += [__version__, datetime.date.today().isoformat(), "python benchmarks/compile.py"]
            writer.writerow(row)
            print(*row[:7], sep="\t")


if __name__ == "__main__":
    main()
