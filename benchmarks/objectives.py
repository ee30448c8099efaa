"""Compare the objectives of distribution matching at equal processor seconds, on the validation split.

    python benchmarks/objectives.py --root ../shared/data      # writes benchmarks/results/objectives.csv, resumable
    python benchmarks/objectives.py --quick                    # the digits, tiny sizes, as a test
    python benchmarks/objectives.py --root ../shared/data --only 'dermamnist/*'

``dm`` takes 300 steps; every other method stops when its process has used the processor seconds of ``dm`` on the same
data (column ``budget_s``), so ``steps`` differs. ConvNet of width 32, 10 images per class with formation 2 from
herding, 128 real images per class, float32, one thread; three students of the protocol ``quick``, hard labels, ``val``
split, one seed. The last step counts: nothing is selected in a run. With one seed and three students, a difference
within two standard deviations is noise. ``herding`` are the picked images without distillation, in the same formation.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
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

STEPS, REAL = 300, 128
#: Options of every method: those of the first recipe that beats picked images on all data.
COMMON: dict[str, Any] = {"init": "herding", "formation": 2, "network": "convnet_w32", "compile": "off"}
#: A queue for runs of a few hundred steps: the paper's 20 network steps per image step would take nine tenths of them.
QUEUE: dict[str, Any] = {"trained_networks": 1, "train_steps": 2, "push_every": 60, "queue_size": 6}
METHODS: dict[str, Callable[..., Distiller]] = {
    "dm": lambda **options: DMDistiller(lr=1.0, **options),
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
        "modalities": lambda: NpzDataModule(root / "medmnist" / "mednist6_28.npz", name="modalities", **shared),
        "mnist": lambda: MNISTDataModule("mnist", root=str(root), download=False, **shared),
    }


class StopAfter(Callback):
    """End the run when the process has used a number of processor seconds since its start.

    Args:
        budget: Processor seconds.
    """

    def __init__(self, budget: float) -> None:
        self.budget, self.used = budget, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, after the data were read and the set was initialised."""
        self._start = time.process_time()

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Ask the trainer to stop beyond the budget."""
        self.used = time.process_time() - self._start
        trainer.should_stop = trainer.should_stop or self.used >= self.budget


def measure(
    data: ArrayDataModule, method: str, budget: float, ipc: int, common: dict[str, Any], protocol: str, steps: int
) -> dict[str, object]:
    """Distill by one method within a budget, train the students, and return the cells of a row."""
    clock, began = StopAfter(budget), time.perf_counter()
    distiller = METHODS[method](ipc=ipc, **common)
    with tempfile.TemporaryDirectory() as temporary:
        trainer = Trainer(
            max_steps={"herding": 1, "dm": steps}.get(method, -1),
            accelerator="cpu",
            precision="32-true",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            callbacks=[clock, SyntheticSetExport(temporary)],
        )
        trainer.fit(distiller, datamodule=data)
        seconds = time.perf_counter() - began
        (row,) = evaluate(
            f"{temporary}/last",
            data,
            protocol=protocol,
            split="val",
            baselines=[],
            students=3,
            architectures=[common["network"]],
            precision="32-true",
            accelerator="cpu",
            compile="off",
        )
    scores = {name: round(getattr(row, name), 4) for name in SCORES}
    return {
        "steps": trainer.global_step,
        "budget_s": round(budget, 1) if budget < float("inf") else "",
        "processor_s": round(clock.used, 1),
        "seconds": round(seconds, 1),
        "student_seconds": round(row.seconds, 1),
        **scores,
    }


SCORES = ("acc", "acc_std", "balanced_acc", "balanced_acc_std")
COLUMNS = ("ipc", "options", "steps", "budget_s", "processor_s", "seconds", "student_seconds", *SCORES)


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--only", default="*", help="pattern of DATA/METHOD, such as 'dermamnist/*'")
    given = parser.parse_args(arguments)
    made = provenance("python " + " ".join(["benchmarks/objectives.py", *(arguments or sys.argv[1:])]))
    table = ResumableCsv(folder(given) / "objectives.csv", ("data", "method"), COLUMNS, overwrite=given.again)
    sources = datasets(given.root)
    ipc, common, protocol, steps = 10, COMMON, "quick", STEPS
    if given.quick:
        sources = {"digits": lambda: DigitsDataModule(real_per_class=8, steps_per_epoch=3)}
        ipc, common, protocol, steps = 1, {**COMMON, "network": "convnet_w16"}, "tiny", 3
    for name, source in sources.items():
        for method in METHODS:
            if not fnmatch(f"{name}/{method}", given.only) or not table.is_missing(name, method):
                continue
            dm = [row for row in table.rows if (row["data"], row["method"]) == (name, "dm")]
            if method not in ("herding", "dm") and not dm:
                parser.error(f"{name}/{method} needs the seconds of {name}/dm; measure that first")
            budget = float(dm[0]["processor_s"]) if method not in ("herding", "dm") else float("inf")
            data = source()
            cells = measure(data, method, budget, ipc, common, protocol, steps)
            row = {"data": name, "method": method, "ipc": ipc, **cells}
            print(row, flush=True)
            table.put({**row, **made})


if __name__ == "__main__":
    main()
