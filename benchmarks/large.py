"""Measure memory for images on disk, and memory and time of steps at 224 and 512 px.

    python benchmarks/large.py                          # writes benchmarks/results/large.csv; needs 4 GB of disk
    python benchmarks/large.py --only draws             # any of draws, fit, step
    python benchmarks/large.py --quick                  # tiny sizes, as a test

Each row is measured in its own process. ``draws`` and ``fit`` read an npy file of 3x224x224 uint8 noise in ten
unbalanced classes; the file of 20 GB is sparse, all zeros. ``draws`` makes the data module (statistics over all
images, a validation split) and draws 200 batches of 16 images per class: ``rows`` as the package reads them, ``map``
with a memory map. ``fit`` takes DM steps with a network of width 16. ``step`` takes DM and DSA steps at full width
with noise in memory; ``keep all`` stores the activations of all synthetic images until the backward pass.
``peak_mib`` is the largest resident size of the process, pages of maps included, ``above_start_mib`` the part of it
added after the imports, ``own_mib`` and ``mapped_mib`` are resident at the end. Cold means: the file was dropped from
the system's cache before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from script import folder, listed, options

from lightning_distill import ArrayDataModule
from lightning_distill.bench.cases import BenchmarkCase, Size, make_distiller, noise_data
from lightning_distill.bench.measure import silence_lightning
from lightning_distill.bench.memory import peak_mib, resident_mib
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ClassBalancedLoader
from lightning_distill.data.checks.arrays import pixel_statistics
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.functional import chunking as chunks

PARTS = ("draws", "fit", "step")
COLUMNS = ("images", "network", "classes", "ipc", "real_per_class", "steps", "peak_mib", "above_start_mib", "own_mib",
           "mapped_mib", "setup_s", "cold_batches_per_s", "warm_batches_per_s", "s_a_step")  # fmt: skip
SPARSE_ABOVE = 8.0  # GB; larger files are sparse: they read as zeros and take no disk space


@dataclass(frozen=True)
class Case:
    """One measurement in its own process.

    Args:
        work: Kind of work: ``draws``, ``fit``, ``dm`` or ``dsa``.
        how: Variant of the work: ``rows``, ``map``, ``as shipped`` or ``keep all``.
        gb: Size of the file in 10^9 bytes; 0 for images in memory.
        size: Sizes of a step.
        steps: Number of batches or image steps.
    """

    work: str
    how: str
    gb: float
    size: Size
    steps: int

    @property
    def key(self) -> dict[str, object]:
        """Values of the key columns of the row."""
        return {"work": self.work, "how": self.how, "gb": self.gb, "side": self.size.side}

    @property
    def count(self) -> int:
        """Number of images in the file."""
        return round(self.gb * 1e9 / (3 * self.size.side**2))


def cases(quick: bool) -> dict[str, list[Case]]:
    """Return the measurements of each part."""
    side, network = (8, "convnet_w16") if quick else (224, "convnet_d6")
    small, mid, large = (2e-5, 4e-5, 8e-5) if quick else (0.04, 4.0, 20.0)
    drawn = Size(10, 3, side, 1, 4 if quick else 16, network="convnet_w16")
    step = Size(2, 3, side, 2 if quick else 10, 4 if quick else 16, network=network, inner=1)
    big = replace(step, side=16 if quick else 512, network="convnet_w16" if quick else "convnet_d7")
    return {
        "draws": [Case("draws", how, gb, drawn, 3 if quick else 200)
                  for how, gb in (("rows", small), ("rows", mid), ("map", mid), ("rows", large))],
        "fit": [Case("fit", "rows", gb, drawn, 2 if quick else 10) for gb in (small, mid)],
        "step": [Case("dm", "as shipped", 0, step, 2), Case("dm", "keep all", 0, step, 1),
                 Case("dsa", "as shipped", 0, step, 1), Case("dm", "as shipped", 0, big, 1)],
    }  # fmt: skip


def labels_of(count: int) -> NDArray[np.int64]:
    """Return labels of ten classes with halving frequencies, at least 16 images each."""
    few = np.repeat(np.arange(10), max(1, min(20, count // 20)))
    return np.concatenate([few, np.minimum(np.random.default_rng(0).geometric(0.5, count - len(few)) - 1, 9)])


def write_images(path: Path, case: Case) -> None:
    """Write an npy file of noise, or a sparse file if it is large.

    Raises:
        OSError: The disk has not enough free space.
    """
    shape = (case.count, case.size.side, case.size.side, 3)
    row, sparse = 3 * case.size.side**2, case.gb > SPARSE_ABOVE
    if not sparse and shutil.disk_usage(path.parent).free < 2 * case.count * row:
        raise OSError(f"{case.gb:g} GB are to be written but twice as much is not free; set TMPDIR to another disk")
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        about = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, about)
        if sparse:
            file.truncate(file.tell() + case.count * row)
        else:
            for start in range(0, case.count, 200):
                file.write(random.bytes(min(200, case.count - start) * row))
        file.flush()
        os.fsync(file.fileno())


def forget(path: Path) -> None:
    """Drop a file from the system's cache, if the system supports it."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Clock(Callback):
    """Record the end time of every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the start of training."""
        self.times = [time.perf_counter()]

    def on_train_batch_end(self, *_: object, **__: object) -> None:
        """Record the end of a step."""
        self.times.append(time.perf_counter())

    def seconds(self) -> float:
        """Return the median seconds of a step, without the first step if there are more."""
        taken = np.diff(self.times)
        return float(np.median(taken[1:] if len(taken) > 1 else taken))


def draw(case: Case, path: Path) -> dict[str, object]:
    """Measure statistics, a split, and the same batches twice."""
    mapped, labels, began = np.load(path, mmap_mode="r"), labels_of(case.count), time.perf_counter()
    if case.how == "map":
        images = mapped.transpose(0, 3, 1, 2)
        pixel_statistics(images)
        draws = ClassBalancedLoader(
            images, labels, num_classes=10, per_class=case.size.real_per_class, steps=case.steps, seed=0
        )
    else:
        draws = _data(case, path).balanced_loader()
    setup, paces = time.perf_counter() - began, []
    forget(path)
    for _ in range(2):
        began = time.perf_counter()
        for k in range(case.steps):
            draws.batch(k)
        paces.append(case.steps / (time.perf_counter() - began))
    return {"setup_s": setup, "cold_batches_per_s": paces[0], "warm_batches_per_s": paces[1]}


def fit(case: Case, path: Path) -> dict[str, object]:
    """Measure steps of DM on the file, or of DM and DSA with noise in memory."""
    data = _data(case, path) if case.work == "fit" else noise_data(case.size)
    if case.how == "keep all":
        chunks.CPU_BACKWARD_BYTES = 2**50
    clock = Clock()
    with silence_lightning():
        distiller = make_distiller(BenchmarkCase("dm" if case.work == "fit" else case.work, case.size, data), "off")
        quiet_trainer(case.steps, "32-true", "cpu", [clock]).fit(distiller, datamodule=data)
    return {"s_a_step": clock.seconds()}


def _data(case: Case, path: Path) -> ArrayDataModule:
    train = np.load(path, mmap_mode="r"), labels_of(case.count)
    data = ArrayDataModule(train, name="noise", real_per_class=case.size.real_per_class, channels="last")
    data.setup()
    return data


def child(text: str) -> dict[str, object]:
    """Measure a case given as JSON."""
    given = json.loads(text)
    path, case = Path(given.pop("path")), Case(**{**given, "size": Size(**given["size"])})
    start = peak_mib()
    numbers = (draw if case.work == "draws" else fit)(case, path)
    own, mapped = resident_mib()
    memory = {"peak_mib": peak_mib(), "above_start_mib": peak_mib() - start, "own_mib": own, "mapped_mib": mapped}
    return {name: float(f"{value:.4g}") for name, value in {**memory, **numbers}.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"comma-separated parts: {', '.join(PARTS)}")
    parser.add_argument("--child", help="measure one case, given as JSON, in this process")
    given = parser.parse_args(arguments)
    if given.child:
        print(json.dumps(child(given.child)))
        return
    made, todo = provenance("python benchmarks/large.py" + " --quick" * given.quick), cases(given.quick)
    book = ResumableCsv(folder(given) / "large.csv", ("work", "how", "gb", "side"), COLUMNS, overwrite=given.again)
    with tempfile.TemporaryDirectory() as place:
        for part in listed(parser, given.only, PARTS):
            for case in (case for case in todo[part] if book.is_missing(*case.key.values())):
                path = Path(place) / f"{case.count}.npy"
                if case.gb and not path.exists():
                    write_images(path, case)
                command = [sys.executable, __file__, "--child", json.dumps({**asdict(case), "path": str(path)})]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise RuntimeError(f"{case.key} failed: {done.stderr[-2000:]}")
                numbers = json.loads(done.stdout.strip().splitlines()[-1])
                print(*case.key.values(), numbers, flush=True)
                size = {name: getattr(case.size, name) for name in ("network", "classes", "ipc", "real_per_class")}
                size |= {"images": case.count or "", "steps": case.steps}
                book.put({**case.key, **size, **numbers, **made})


if __name__ == "__main__":
    main()
