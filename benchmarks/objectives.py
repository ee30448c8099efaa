"""Compare the objectives of distribution matching at equal processor seconds, on the validation split.

    python benchmarks/objectives.py --root ../shared/data      # writes benchmarks/results/objectives.csv, resumable
    python benchmarks/objectives.py --quick                    # the digits, tiny sizes, as a test
    python benchmarks/objectives.py --root ../shared/data --only 'dermamnist/*'

``dm`` takes 300 steps. Every other method takes 300 divided by ``step_ratio``, the processor seconds of its step
relative to a step of ``dm``, measured on the same data alternately, so that other work on the machine affects both.
ConvNet of width 32, 10 images per class with formation 2 from herding, 128 real images per class, float32, one thread;
three students of the protocol ``quick``, hard labels, ``val`` split, one seed. The last step counts: nothing is
selected in a run. With one seed and three students, a difference within two standard deviations is noise. ``herding``
are the picked images without distillation, in the same formation.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any

from lightning import Callback
from script import folder, options

from lightning_distill import (
    ArrayDataModule,
    DigitsDataModule,
    Distiller,
    DMDistiller,
    IDMDistiller,
    MedMNISTDataModule,
    MNISTDataModule,
    NpzDataModule,
    SyntheticSetExport,
    evaluate,
)
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.distillers.quiet import quiet_trainer

STEPS, REAL = 300, 128
#: Short runs to compare the seconds of a step: number of runs of each method, and steps of a run, not timed and timed.
ROUNDS, WARM_UP, TIMED = 2, 2, 8
#: Options of every method: those of the first recipe that beats picked images on all data.
SETTINGS: dict[str, Any] = {"ipc": 10, "init": "herding", "formation": 2, "network": "convnet_w32", "compile": "off"}
#: A queue for runs of a few hundred steps: the paper's 20 network steps per image step would take nine tenths of them.
QUEUE: dict[str, Any] = {"trained_networks": 1, "train_steps": 2, "push_every": 60, "queue_size": 6}
METHODS: dict[str, Callable[..., Distiller]] = {
    "dm": lambda **options: DMDistiller(lr=1.0, pool=0, **options),
    "characteristic": lambda **options: DMDistiller(lr=1.0, objective="characteristic", **options),
    "mmd": lambda **options: DMDistiller(lr=1.0, objective="mmd", **options),
    "idm": lambda **options: IDMDistiller(lr=1.0, **QUEUE, **options),
    "herding": lambda **options: DMDistiller(lr=1e-9, **options),  # one step that changes nothing
}


def datasets(root: Path) -> dict[str, Callable[[], ArrayDataModule]]:
    """Return the data modules by name. Each reads its files when it is called."""
    shared: dict[str, Any] = {"real_per_class": REAL, "steps_per_epoch": STEPS}
    medmnist: dict[str, Any] = {"root": str(root / "medmnist"), "download": False, **shared}
    reassembled, lesions = "reassembled, official pixels", "lesion-disjoint split, not the official file"
    return {
        "dermamnist": lambda: MedMNISTDataModule("dermamnist", source=lesions, **medmnist),
        "pneumoniamnist": lambda: MedMNISTDataModule("pneumoniamnist", source=reassembled, **medmnist),
        "mednist6": lambda: NpzDataModule(root / "medmnist" / "mednist6_28.npz", name="mednist6_28", **shared),
        "mnist": lambda: MNISTDataModule("mnist", root=str(root), download=False, **shared),
    }


class StepTimer(Callback):
    """Record the processor seconds of every step.

    Attributes:
        seconds: Processor seconds, one number for each step.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        """Start the clock."""
        self._start = time.process_time()

    def on_train_batch_end(self, *_: object) -> None:
        """Stop the clock."""
        self.seconds.append(time.process_time() - self._start)


def distil(distiller: Distiller, data: ArrayDataModule, steps: int, *callbacks: Callback) -> StepTimer:
    """Run a distiller for a number of steps, quietly, on one CPU."""
    timer = StepTimer()
    trainer = quiet_trainer(steps, "32-true", "cpu", [timer, *callbacks])
    trainer.fit(distiller, datamodule=data)
    return timer


def step_ratio(data: ArrayDataModule, method: str, options: dict[str, Any]) -> float:
    """Return the processor seconds of a step relative to one of ``dm``: the median of alternate short runs."""
    ratios = []
    for _ in range(ROUNDS):
        one, dm = (distil(METHODS[name](**options), data, WARM_UP + TIMED) for name in (method, "dm"))
        ratios.append(median(one.seconds[WARM_UP:]) / median(dm.seconds[WARM_UP:]))
    return median(ratios)


def measure(
    data: ArrayDataModule, method: str, options: dict[str, Any], steps: int, protocol: str
) -> dict[str, object]:
    """Distil by one method, train the students, and return the cells of a row."""
    ratio = step_ratio(data, method, {**options, "init": "real"}) if method not in ("dm", "herding") else 1.0
    steps, began = 1 if method == "herding" else max(1, round(steps / ratio)), time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        timer = distil(METHODS[method](**options), data, steps, SyntheticSetExport(temporary))
        seconds = time.perf_counter() - began
        (row,) = evaluate(
            f"{temporary}/last",
            data,
            protocol=protocol,
            split="val",
            baselines=[],
            students=3,
            architectures=[options["network"]],
            accelerator="cpu",
            compile="off",
        )
    return {
        "ipc": options["ipc"],
        "steps": steps,
        "step_ratio": round(ratio, 2),
        "processor_s": round(sum(timer.seconds), 1),
        "seconds": round(seconds, 1),
        "student_seconds": round(row.seconds, 1),
        **{name: round(getattr(row, name), 4) for name in SCORES},
    }


SCORES = ("acc", "acc_std", "balanced_acc", "balanced_acc_std")
COLUMNS = ("ipc", "steps", "step_ratio", "processor_s", "seconds", "student_seconds", *SCORES)


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--only", default="*", help="pattern of DATA/METHOD, such as 'dermamnist/*'")
    given = parser.parse_args(arguments)
    made = provenance("python " + " ".join(["benchmarks/objectives.py", *(arguments or sys.argv[1:])]))
    table = ResumableCsv(folder(given) / "objectives.csv", ("data", "method"), COLUMNS, overwrite=given.again)
    sources, settings, steps, protocol = datasets(given.root), SETTINGS, STEPS, "quick"
    if given.quick:
        sources = {"digits": lambda: DigitsDataModule(real_per_class=8, steps_per_epoch=3)}
        settings, steps, protocol = {**SETTINGS, "network": "convnet_w16", "ipc": 1}, 3, "tiny"
    for name, source in sources.items():
        for method in METHODS:
            if fnmatch(f"{name}/{method}", given.only) and table.is_missing(name, method):
                row = {"data": name, "method": method, **measure(source(), method, settings, steps, protocol)}
                print(row, flush=True)
                table.put({**row, **made})


if __name__ == "__main__":
    main()
