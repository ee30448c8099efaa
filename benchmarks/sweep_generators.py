"""Train on generated images, test on real ones: sweep the number of classes, the images a class, and the resolution.

    python benchmarks/sweep_generators.py --root ../shared/data/medmnist
    python benchmarks/sweep_generators.py --root ../shared/data/medmnist --only classes --accelerator cuda
    python benchmarks/sweep_generators.py --quick                     # scikit-learn's digits, as a test

The sweep of arXiv 2012.03769, on MedMNIST: the most frequent classes of DermaMNIST (2, 4, all 7), and BreastMNIST at
28, 64 and 128 px. At each point a flow is trained once and draws sets of several sizes; random real images of the same
numbers stand beside them. ``gap`` is the balanced accuracy of students of all real training images minus that of
students of the set, on the test images, with the 95 % interval of a paired bootstrap over images (lesions of
DermaMNIST). A killed run goes on at the first set without a row; generators and sets are kept in
``runs/sweep_generators``.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from quality import Runner
from quality_jobs import Job
from script import HERE, folder, listed, options

from lightning_distill import ArrayDataModule, DigitsDataModule, MedMNISTDataModule
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.evaluation.metrics.intervals import paired_bootstrap
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.utils.hardware import Accelerator, resolve_device

SWEEPS = ("classes", "resolution")
IPCS = (1, 10, 50, 100)
METRIC = "balanced_acc"
KEYS = ("sweep", "value", "dataset", "method", "ipc")
COLUMNS = (
    "source", "network", "protocol", "students", "images", "steps", "generator_seconds", "balanced_acc",
    "balanced_acc_std", "all_real", "gap", "gap_low", "gap_high",
)  # fmt: skip
SOURCES = {"dermamnist": "lesion-disjoint split, not the official file", "breastmnist": "official file"}
#: Network of the students by side: one block more for each doubling.
NETWORKS = {28: "convnet_w32", 64: "convnet_w32_d4", 128: "convnet_w32_d5"}


@dataclass(frozen=True)
class Point:
    """One data set of a sweep.

    Args:
        sweep: Name of the sweep.
        value: Number of classes, or of pixels a side.
        dataset: Name of the data set.
        entry: Entry of the data set in a grid of `quality.py`.
    """

    sweep: str
    value: int
    dataset: str
    entry: Mapping[str, Any]


def points(sweeps: list[str], root: str, quick: bool) -> Iterator[Point]:
    """Yield the points of the sweeps."""
    here = "sweep_generators.most_frequent"
    if quick:
        entry = {"class_path": here, "init_args": {"name": "digits", "classes": 2}, "network": "convnet_w16"}
        yield Point("classes", 2, "digits", entry)
        return
    for classes in (2, 4, 7) if "classes" in sweeps else ():
        arguments: dict[str, Any] = {"name": "dermamnist", "root": root, "classes": classes}
        yield Point("classes", classes, "dermamnist", {"class_path": here, "init_args": arguments})
    for size in (28, 64, 128) if "resolution" in sweeps else ():
        arguments = {"name": "breastmnist", "root": root, "download": False, "source": SOURCES["breastmnist"]}
        arguments |= {} if size == 28 else {"size": size}
        entry = {"class_path": "lightning_distill.MedMNISTDataModule", "init_args": arguments}
        yield Point("resolution", size, "breastmnist", {**entry, "network": NETWORKS[size]})


def most_frequent(name: str, classes: int, real_per_class: int, root: str | None = None) -> ArrayDataModule:
    """Return a data set without its rarer classes.

    Args:
        name: Name of a MedMNIST file, or ``digits``.
        classes: Number of classes that are kept, the most frequent ones of the training split.
        real_per_class: Number of real images of each class in a batch.
        root: Folder of the MedMNIST files.
    """
    whole: ArrayDataModule = DigitsDataModule()
    if name != "digits":
        whole = MedMNISTDataModule(name, root=root, download=False, source=SOURCES[name])
    whole.prepare_data()
    whole.setup()
    spec, counts = whole.spec, np.bincount(whole.splits["train"][1])
    kept = np.sort(np.argsort(-counts, kind="stable")[:classes])
    number = np.full(len(counts), -1)
    number[kept] = np.arange(len(kept))
    splits, groups = {}, {}
    for split, (images, labels) in whole.splits.items():
        rows = np.flatnonzero(number[labels] >= 0)
        splits[split] = np.asarray(images)[rows], number[labels[rows]]
        if split in whole.groups:
            groups[split] = np.asarray(whole.groups[split])[rows]
    return ArrayDataModule(
        splits["train"],
        splits["val"],
        splits["test"],
        class_names=[spec.class_names[label] for label in kept],
        name=name,
        task="binary" if classes == 2 else "multi-class",
        augmentation=spec.augmentation,
        license=spec.license,
        source=spec.source,
        channels="first",
        real_per_class=real_per_class,
        groups=groups or None,
    )


def measure(point: Point, grid: dict[str, Any], place: Path, device: str, book: ResumableCsv, command: str) -> None:
    """Score all real images, and every set of a point that has no row."""
    name = f"{point.dataset}-{point.sweep}-{point.value}"
    about = {**grid, "data": {name: dict(point.entry)}}
    runner = Runner(about, place, device, "off")
    jobs = [Job(name, ipc, method, 0, "hard") for method in ("random", "flow") for ipc in grid["ipc"]]
    key = point.sweep, point.value, point.dataset
    jobs = [job for job in jobs if book.is_missing(*key, job.method, job.ipc)]
    if not jobs:
        return
    full = predict(runner, Job(name, grid["ipc"][0], "full", 0, "hard"))[0]
    for job in jobs:
        ours, values, images = predict(runner, job)
        compared = paired_bootstrap(full, ours, METRIC)
        spec = runner.data(name).spec
        gap = compared.difference
        book.put({
            **dict(zip(KEYS, (*key, job.method, job.ipc), strict=True)), "source": spec.source,
            "network": runner.network(name), "protocol": grid["protocol"], "students": grid["students"],
            "images": images, "steps": grid["generators"]["flow"]["steps"] if job.method == "flow" else 0,
            "generator_seconds": runner.generator_seconds(job), "balanced_acc": f"{values[0]:.5f}",
            "balanced_acc_std": f"{values[1]:.5f}", "all_real": f"{values[0] + gap.mean:.5f}",
            "gap": f"{gap.mean:.5f}", "gap_low": f"{gap.low:.5f}", "gap_high": f"{gap.high:.5f}", **provenance(command),
        })  # fmt: skip
        print(f"{point.sweep} {point.value}, {job.method} {job.ipc}: {100 * values[0]:.1f}, gap {gap}", flush=True)


def predict(runner: Runner, job: Job) -> tuple[Predictions, tuple[float, float], int]:
    """Return the predictions on test images, mean and standard deviation over students, and the size of the set."""
    first, _, trained = runner.train(job)
    scores, predictions = runner.score(job, trained, "test")
    return predictions, (scores.mean(METRIC), scores.std(METRIC)), len(first.labels)


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--root", default="../shared/data/medmnist", help="folder of the npz files")
    parser.add_argument("--only", default=",".join(SWEEPS), help=f"comma-separated sweeps: {', '.join(SWEEPS)}")
    parser.add_argument("--steps", type=int, default=1000, help="training steps of each flow")
    parser.add_argument("--accelerator", default="cpu", choices=get_args(Accelerator), help="device")
    given = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    settings = {"widths": [32, 64, 64], "batch_size": 64, "lr": 0.0005}
    flow: dict[str, Any] = {"class_path": "lightning_distill.FlowGenerator", "steps": given.steps}
    flow["init_args"] = settings
    if given.quick:
        flow |= {"steps": 2, "init_args": {"widths": [16, 16], "batch_size": 8, "sampling_steps": 2}}
    methods = {"random": {"pick": "random"}, "flow": {"generator": "flow"}, "full": {"pick": "full"}}
    grid: dict[str, Any] = {
        "network": "convnet_w32", "protocol": "tiny" if given.quick else "quick", "students": 2 if given.quick else 5,
        "real_per_class": 128, "ipc": [1] if given.quick else list(IPCS), "generators": {"flow": flow},
        "methods": methods, "name": "",
    }  # fmt: skip
    book = ResumableCsv(folder(given) / "sweep_generators.csv", KEYS, COLUMNS, overwrite=given.again)
    place = (folder(given) if given.quick else HERE.parent / "runs") / "sweep_generators"
    command = "python benchmarks/sweep_generators.py" + f" --steps {given.steps}" * (given.steps != 1000)
    for point in points(listed(parser, given.only, SWEEPS), given.root, given.quick):
        measure(point, grid, place, resolve_device(given.accelerator), book, command)


if __name__ == "__main__":
    main()
