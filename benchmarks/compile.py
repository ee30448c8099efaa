"""Measure the warm-up and the time of a DM step, eager and compiled, alternately in one process.

    python benchmarks/compile.py            # writes benchmarks/results/compile.csv

Two classes of 1x28x28 noise, 256 real and 10 synthetic images per class, ConvNet depth 3 width 128. The threshold of
``compile="auto"`` (`MIN_FLOPS_TO_COMPILE` in ``functional/compile.py``) is based on these numbers.
"""

from __future__ import annotations

import statistics
import time
import warnings
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
import torch._inductor.config
from lightning import Callback, Trainer

from lightning_distill import ArrayDataModule, DMDistiller
from lightning_distill.bench.results import PROVENANCE_COLUMNS, provenance
from lightning_distill.functional.network import count_flops
from lightning_distill.networks import create_network
from lightning_distill.utils.csv_rows import write_csv

STEPS, ROUNDS = 10, 2
COLUMNS = (
    "compile", "precision", "first_two_steps_s", "step_s", "ratio_to_eager_float32", "tflops", "difference_of_images",
    "steps", "rounds", *PROVENANCE_COLUMNS,
)  # fmt: skip
Compile = Literal["off", "max"]
Precision = Literal["32-true", "bf16-mixed"]
Kind = tuple[Compile, Precision]


class Clock(Callback):
    """Record the end time of every step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_start(self, *_: object) -> None:
        """Record the start of training."""
        self.ends = [time.perf_counter()]

    def on_train_batch_end(self, *_: object) -> None:
        """Record the end of a step."""
        self.ends.append(time.perf_counter())


def measure(data: ArrayDataModule, compile: Compile, precision: Precision) -> tuple[float, float, torch.Tensor]:
    """Return the seconds of the first two steps, the median seconds of a later step, and the images."""
    clock = Clock()
    trainer = Trainer(
        max_steps=STEPS, accelerator="auto", devices=1, precision=precision, logger=False, callbacks=[clock],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    distiller = DMDistiller(ipc=10, preset="paper", compile=compile)
    trainer.fit(distiller, datamodule=data)
    steps = [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)]
    return clock.ends[2] - clock.ends[0], statistics.median(steps[2:]), distiller.synthetic.images.detach().cpu()


def main() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (600, 28, 28), dtype=np.uint8)
    data = ArrayDataModule((images, np.arange(600) % 2))
    flops = count_flops(lambda: create_network("convnet", 1, 2, (28, 28)), (1, 28, 28)) * 2 * (256 + 3 * 10)
    kinds: list[Kind] = [(how, number) for number in get_args(Precision) for how in get_args(Compile)]
    warm: dict[Kind, float] = {}
    times: dict[Kind, list[float]] = {kind: [] for kind in kinds}
    ends: dict[Kind, torch.Tensor] = {}
    with warnings.catch_warnings(), torch._inductor.config.patch(force_disable_caches=True):
        warnings.simplefilter("ignore")
        for _ in range(ROUNDS):
            for kind in kinds:
                first, median, ends[kind] = measure(data, *kind)
                warm.setdefault(kind, first)
                times[kind].append(median)
    eager = statistics.median(times[("off", "32-true")])
    rows = []
    for kind in kinds:
        step, difference = statistics.median(times[kind]), (ends[kind] - ends[("off", "32-true")]).abs().mean().item()
        numbers = round(warm[kind], 1), round(step, 4), round(eager / step, 2), round(flops / step / 1e12, 3)
        values = *kind, *numbers, f"{difference:.1e}", STEPS, ROUNDS
        print(*values, sep="\t")
        rows.append({**dict(zip(COLUMNS, values, strict=False)), **provenance("python benchmarks/compile.py")})
    write_csv(Path(__file__).parent / "results" / "compile.csv", COLUMNS, rows)


if __name__ == "__main__":
    main()
