"""The proof of speed: ours in turn with the textbook in one process, and the memory, growth and accuracy beside it.

    python benchmarks/speed.py                          # writes benchmarks/results/speed*.csv
    python benchmarks/speed.py --only dm,memory         # parts: dm, dc, dsa, student, mtt, memory, growth
    python benchmarks/speed.py --authors FOLDER         # a checkout of VICO-UoE/DatasetCondensation as a third side
    python benchmarks/speed.py --quick                  # tiny sizes, to see that it runs; writes to runs/speed-quick

A row that is there already, made by this version of the package, is kept unless ``--again``.

``speed.csv``: ten classes of 3x32x32 noise, 10 synthetic and 256 real images a class, ConvNet depth 3 width 128; DC and
DSA with their 50 inner epochs, MTT with 20 student steps, a student's step is an epoch. Accuracy is of the same seeds
and steps on real data, validation split, as ``accuracy_of`` says. In rows named "(authors)" the textbook's columns
hold the authors' code. ``speed_memory.csv``: peak above that of the process with its imports.
``speed_growth.csv``: a DM step of ours (eager float32, width 32) by classes, images a class, and real images.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import authors
import torch
import torch._inductor.config

from lightning_distill.augment import PRESETS
from lightning_distill.bench import textbook
from lightning_distill.bench.accuracy import (
    distil_ours,
    distil_textbook,
    real_data,
    score_set,
    score_textbook_students,
)
from lightning_distill.bench.paths import (
    METHODS,
    Job,
    Rival,
    Size,
    Variant,
    device_of,
    make_ours,
    make_textbook,
    measure,
    noise,
    quiet_trainer,
    silence,
)
from lightning_distill.bench.peak import peak_mib
from lightning_distill.bench.results import TIMES, Book, about
from lightning_distill.bench.turns import Turns
from lightning_distill.commands.experts import experts
from lightning_distill.evaluation import chosen

EAGER, FLOAT, BFLOAT = Variant(), Variant("32-true", "max"), Variant("bf16-mixed", "max")
VARIANTS = {
    "dm": [FLOAT, BFLOAT, EAGER], "dc": [BFLOAT], "dsa": [BFLOAT], "student": [FLOAT, BFLOAT], "mtt": [BFLOAT, FLOAT],
}  # fmt: skip
PARTS = (*VARIANTS, "memory", "growth")
#: Ratios to be reached, by work and variant; the column ``met`` says whether they were.
TARGETS: dict[tuple[str, str], float] = {
    ("dm", "bf16/max"): 5.0,
    ("dm", "32/max"): 1.8,
    ("dc", "bf16/max"): 3.0,
    ("dsa", "bf16/max"): 3.0,
    ("student", "bf16/max"): 4.0,
    ("mtt", "bf16/max"): 2.0,
}
ACCURACY = ("acc_ours", "acc_ours_std", "acc_textbook", "acc_textbook_std", "accuracy_of")
STEPS_OF_MEMORY = 3


@dataclass(frozen=True)
class Scale:
    """How large everything is; the defaults are the proof's."""

    size: Size = field(default_factory=Size)
    pairs: dict[str, int] = field(default_factory=lambda: {"dm": 5, "dc": 2, "dsa": 2, "student": 20, "mtt": 2})
    memory_real: int = 50_000
    memory_classes: tuple[int, ...] = (2, 10, 100)
    growth: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {
            "classes": (2, 5, 10, 20, 50, 100), "ipc": (1, 10, 50), "real": (2_560, 25_000, 250_000),
        }
    )  # fmt: skip
    growth_network: str = "convnet_w32"
    growth_pairs: int = 5
    accuracy_network: str = "convnet_w32"
    accuracy_steps: dict[str, int] = field(default_factory=lambda: {"dm": 100, "dc": 10, "dsa": 10, "mtt": 10})
    real_per_class: int = 256
    expert_epochs: int = 2
    epochs: int = 300
    students: int = 5


QUICK = Scale(
    size=Size(2, 1, 8, 2, 4, None, "convnet_w16", 2, 1, 2),
    pairs=dict.fromkeys(VARIANTS, 1),
    memory_real=40,
    memory_classes=(2, 3),
    growth={"classes": (2, 3), "ipc": (1, 2), "real": (20, 40)},
    growth_network="convnet_w16",
    growth_pairs=1,
    accuracy_network="convnet_w16",
    accuracy_steps=dict.fromkeys(METHODS, 1),
    real_per_class=4,
    epochs=1,
    students=2,
)


def table(book: Book, parts: list[str], scale: Scale, theirs: str | None, made: dict[str, str], accuracy: bool) -> None:
    """Every path and variant: time in turn, and the accuracy that belongs to it."""
    for work in [part for part in parts if part in VARIANTS]:
        score = Accuracy(work, scale)
        for variant in VARIANTS[work]:
            if book.lacks(work, variant):
                turns = time_of(work, variant, scale, make_textbook)
                book.put({**row_of(work, variant, turns), **(score(variant) if accuracy else {}), **made})
        if theirs is not None and work in authors.PATHS and book.lacks(f"{work} (authors)", BFLOAT):
            turns = time_of(work, BFLOAT, scale, partial(authors.Authors, authors.load(theirs)))
            book.put({**row_of(f"{work} (authors)", BFLOAT, turns), **made})


def time_of(work: str, variant: Variant, scale: Scale, rival: Rival) -> Turns:
    """One path in turn with a rival."""
    turns = measure(work, scale.size, variant, warmup=1, pairs=scale.pairs[work], rival=rival)
    print(f"{work} {variant}: {turns.median(turns.ours):.3f} s, {turns.ratio:.2f}x", flush=True)
    return turns


def row_of(work: str, variant: Variant, turns: Turns) -> dict[str, object]:
    """A row of ``speed.csv`` without its accuracy."""
    row: dict[str, object] = {"work": work, "variant": variant, **turns.row()}
    target = TARGETS.get((work, str(variant)))
    return row if target is None else {**row, "target": target, "met": "yes" if turns.ratio >= target else "no"}


class Accuracy:
    """What both sides of one path come to on real data; the textbook's is found once."""

    def __init__(self, work: str, scale: Scale) -> None:
        self.work, self.scale, self.device = work, scale, device_of("auto")
        self.textbook: tuple[float, float] | None = None

    def __call__(self, variant: Variant) -> dict[str, object]:
        """The columns `ACCURACY`."""
        scale = self.scale
        data = real_data(scale.real_per_class)
        network = scale.size.network if self.work == "student" else scale.accuracy_network
        with tempfile.TemporaryDirectory() as folder:
            if self.work == "mtt":
                experts(data, folder, count=1, epochs=scale.expert_epochs, network=network)
            job = Job(self.work, replace(scale.size, network=network), data, self.device, folder)
            ours = self._students(job, variant) if self.work == "student" else self._method(job, variant)
        students = f"{scale.students} students of {scale.epochs + 1} epochs"
        what = "one random subset" if self.work == "student" else f"{scale.accuracy_steps[self.work]} steps"
        found = f"{data.spec.name} ({data.spec.source}), ipc {scale.size.ipc}, {network}, {what}, {students}, val split"
        numbers = [round(value, 4) for value in (*ours, *(self.textbook or ()))]
        return dict(zip(ACCURACY, [*numbers, found], strict=True))

    def _method(self, job: Job, variant: Variant) -> tuple[float, float]:
        steps = self.scale.accuracy_steps[self.work]
        score = partial(
            score_set, data=job.data, network=job.size.network, epochs=self.scale.epochs,
            students=self.scale.students, device=self.device,
        )  # fmt: skip
        if self.textbook is None:
            self.textbook = score(distil_textbook(job, steps))
        return score(distil_ours(job, variant, steps))

    def _students(self, job: Job, variant: Variant) -> tuple[float, float]:
        spec, scale = job.data.spec, self.scale
        counts = [job.size.ipc] * spec.num_classes
        subset = chosen("random", job.data.train_arrays(), counts, spec, job.seed)(0)
        if self.textbook is None:
            self.textbook = score_textbook_students(subset, job, scale.epochs, scale.students)
        return score_set(subset, job.data, job.size.network, scale.epochs, scale.students, self.device, variant)


def memory(book: Book, scale: Scale, made: dict[str, str]) -> None:
    """Peaks of DM, each in a process of its own: with many real images, and by classes."""
    fixed = replace(scale.size, real=scale.memory_real)
    cases = [("textbook", EAGER, fixed), ("ours", BFLOAT, fixed), ("ours", EAGER, fixed)]
    cases += [("ours", EAGER, replace(fixed, classes=classes)) for classes in scale.memory_classes]
    for side, variant, size in cases:
        key = {"side": side, "variant": str(variant), "classes": size.classes}
        if book.lacks(*key.values()):
            case = json.dumps({"side": side, "variant": vars(variant), "size": vars(size)})
            command = [sys.executable, __file__, "--child", case]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{side} {variant} with {size.classes} classes failed: {done.stderr[-2000:]}")
            numbers = json.loads(done.stdout.strip().splitlines()[-1])
            print(key, numbers, flush=True)
            book.put({**key, "real_images": size.real, **numbers, **made})


def peaks(side: str, variant: dict[str, str], size: dict[str, object]) -> dict[str, int]:
    """Take a few DM steps and say what it took; real images are held as each side holds them."""
    case, given, device = Size(**size), Variant(**variant), device_of("auto")  # type: ignore[arg-type]
    start = peak_mib()
    if side == "ours":
        data = noise(case)
        with silence():
            distiller = make_ours(Job("dm", case, data, device), given.compile)
            quiet_trainer(STEPS_OF_MEMORY, given.precision, device, []).fit(distiller, datamodule=data)
    else:
        job = Job("dm", case, noise(replace(case, real=None)), device)
        images, labels = torch.randn(case.real or 0, *job.data.spec.shape), torch.arange(case.real or 0) % case.classes
        real, groups = textbook.Real(images.to(device), labels, case.classes), PRESETS[job.data.spec.augmentation]
        dm = textbook.DM(real, job.begin().images.to(device), job.build, groups, case.real_per_class)
        for _ in range(STEPS_OF_MEMORY):
            dm.step()
    numbers = {"peak_mib": round(peak_mib()), "above_start_mib": round(peak_mib() - start)}
    return numbers | ({"cuda_mib": round(torch.cuda.max_memory_allocated() / 2**20)} if device == "cuda" else {})


def growth(book: Book, scale: Scale, made: dict[str, str]) -> None:
    """The time of a DM step of ours by classes, images a class, and real images; a line through each series."""
    size = replace(scale.size, network=scale.growth_network)
    for series, values in scale.growth.items():
        for value in values:
            if book.lacks(series, value):
                case = replace(size, **{series: value})  # type: ignore[arg-type]
                turns = measure("dm", case, EAGER, warmup=1, pairs=scale.growth_pairs, rival=None)
                print(f"{series} {value}: {turns.median(turns.ours):.3f} s", flush=True)
                book.put({"series": series, "value": value, **turns.row(), **made})
        rows = [row for row in book.rows if row["series"] == series]
        line_through(book, sorted(rows, key=lambda row: int(row["value"])))


def line_through(book: Book, rows: list[dict[str, str]]) -> None:
    """Slope and straightness of a series, and each step's time a unit and against the first."""
    x, y = [float(row["value"]) for row in rows], [float(row["ours_ms"]) for row in rows]
    slope, r2 = statistics.linear_regression(x, y).slope, statistics.correlation(x, y) ** 2
    for row, value, ms in zip(rows, x, y, strict=True):
        told = {"ms_a_unit": ms / value, "to_first": ms / y[0], "slope_ms": slope, "r2": r2}
        book.put({**row, **{name: f"{number:.4g}" for name, number in told.items()}})


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts: {', '.join(PARTS)}")
    parser.add_argument("--authors", metavar="FOLDER", help="a checkout of VICO-UoE/DatasetCondensation")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--times-only", action="store_true", help="leave out the accuracy, which takes longest")
    parser.add_argument("--again", action="store_true", help="make rows that are there anew")
    parser.add_argument("--out", type=Path, help="folder of the CSVs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.parts = given.only.split(",")
    if unknown := [part for part in given.parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; use any of {', '.join(PARTS)}")
    return given


def main(arguments: list[str] | None = None) -> None:
    given = parse(arguments)
    if given.child:
        print(json.dumps(peaks(**json.loads(given.child))))
        return
    here = Path(__file__).parent
    folder = given.out or (here.parent / "runs" / "speed-quick" if given.quick else here / "results")
    scale = QUICK if given.quick else Scale()
    if given.authors:
        authors.load(given.authors)
    made = about("python benchmarks/speed.py" + " --quick" * given.quick + " --authors FOLDER" * bool(given.authors)
                 + " --times-only" * given.times_only)  # fmt: skip
    books: dict[str, Callable[..., Book]] = {
        "speed": partial(Book, keys=("work", "variant"), columns=(*TIMES[:7], "target", "met", *TIMES[7:], *ACCURACY)),
        "speed_memory": partial(
            Book,
            keys=("side", "variant", "classes"),
            columns=("real_images", "peak_mib", "above_start_mib", "cuda_mib"),
        ),
        "speed_growth": partial(
            Book,
            keys=("series", "value"),
            columns=(*TIMES[:3], *TIMES[7:], "ms_a_unit", "to_first", "slope_ms", "r2"),
        ),
    }
    opened = {name: make(folder / f"{name}.csv", again=given.again) for name, make in books.items()}
    with torch._inductor.config.patch(force_disable_caches=True):
        table(opened["speed"], given.parts, scale, given.authors, made, not given.times_only)
        if "memory" in given.parts:
            memory(opened["speed_memory"], scale, made)
        if "growth" in given.parts:
            growth(opened["speed_growth"], scale, made)


if __name__ == "__main__":
    main()
