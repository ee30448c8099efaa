"""Measure what distillation adds to picked images: every method and every pick, with hard and with soft labels.

    python benchmarks/quality.py                                     # all missing rows of grids/quality.yaml
    python benchmarks/quality.py --only 'dermamnist-10-*-0-*'        # data-ipc-method-seed-labels, as a pattern
    python benchmarks/quality.py --list
    python benchmarks/quality.py --quick                             # scikit-learn's digits, as a test

A job distils (or picks) one set with one seed and trains students on it; they are scored on the validation and on the
test split, one row each. Nothing is selected: the set of the last step is scored. A killed run goes on at the first job
without rows; finished sets are kept in ``runs/quality``. Jobs are ordered by seed, so that a table is complete with one
seed before it has several.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning import Trainer
from script import HERE, folder, options

from lightning_distill import SyntheticSetExport
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation import LabeledSet, StudentEvaluator, TrainedStudents
from lightning_distill.evaluation.baselines import coreset_sampler, full_data
from lightning_distill.evaluation.metrics.intervals import bootstrap_interval
from lightning_distill.sets.storage import read_set

KEYS = ("dataset", "ipc", "method", "seed", "labels", "split")
METRICS = ("acc", "balanced_acc", "auroc")
COLUMNS = (
    "source", "formation", "options", "network", "protocol", "epochs", "students", "images", "bytes", "steps",
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_std", "_ci95_low", "_ci95_high")),
    "set_seconds", "student_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One set of one method, data set, ipc and distillation seed, with one kind of labels."""

    dataset: str
    ipc: int
    method: str
    seed: int
    labels: str

    def __str__(self) -> str:
        return "-".join(map(str, (self.dataset, self.ipc, self.method, self.seed, self.labels)))


def jobs_of(grid: dict[str, Any]) -> Iterator[Job]:
    """Yield the jobs of a grid, the first seed of everything first; all real data once."""
    for seed, ipc, labels in itertools.product(grid["seeds"], grid["ipc"], grid["labels"]):
        for dataset, (method, about) in itertools.product(grid["data"], grid["methods"].items()):
            first = (seed, ipc) == (grid["seeds"][0], grid["ipc"][0]) and labels == "hard"
            wanted = about.get("ipc", grid["ipc"])
            if (about.get("pick") != "full" or first) and ipc in wanted and dataset not in about.get("skip", []):
                yield Job(dataset, ipc, method, seed, labels)


def open_data(about: dict[str, Any], real_per_class: int) -> ArrayDataModule:
    """Return the data module of a grid entry, ready to use. ``$NAME`` in an argument is an environment variable."""
    module, _, name = about["class_path"].rpartition(".")
    arguments = {key: os.path.expandvars(v) if isinstance(v, str) else v for key, v in about["init_args"].items()}
    data: ArrayDataModule = getattr(import_module(module), name)(**arguments, real_per_class=real_per_class)
    data.prepare_data()
    data.setup()
    return data


def distil(job: Job, about: dict[str, Any], data: ArrayDataModule, network: str, place: Path) -> LabeledSet:
    """Distil the set of a job, or read it if it exists."""
    if not (place / "last" / "set.safetensors").is_file():
        module, _, name = about["class_path"].rpartition(".")
        arguments = {"network": network, "seed": job.seed, "on_small_class": "fewer", **about.get("init_args", {})}
        trainer = Trainer(
            max_steps=about["steps"],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            limit_val_batches=0,
            callbacks=[SyntheticSetExport(str(place))],
        )
        trainer.fit(getattr(import_module(module), name)(ipc=job.ipc, **arguments), datamodule=data)
    return read_set(place / "last")[0]


def measure(job: Job, grid: dict[str, Any], data: ArrayDataModule, rows: Path, place: Path) -> None:
    """Make the set of a job, train students on it, and add its rows."""
    about, began = grid["methods"][job.method], time.perf_counter()
    network = grid["data"][job.dataset].get("network", grid["network"])
    evaluator = StudentEvaluator(grid["protocol"], students=grid["students"], architectures=[network])
    formation = about.get("formation", about.get("init_args", {}).get("formation", 1))
    if about.get("pick") == "full":
        sample = full_data(data.all_train_arrays(), data.spec)
        protocol = evaluator.protocol.for_real_data(len(sample(0).labels))
        evaluator = StudentEvaluator(protocol, students=grid["students"], architectures=[network])
    elif "pick" in about:
        labels = data.train_arrays()[1]
        counts = np.minimum(job.ipc, np.maximum(1, np.bincount(labels) // formation**2)).tolist()
        sample = coreset_sampler(about["pick"], data.train_arrays(), counts, data.spec, job.seed, formation=formation)
    else:
        distilled = distil(job, about, data, network, place)
        sample = lambda student: distilled  # noqa: E731
    first = sample(0)
    made = time.perf_counter() - began
    trained = evaluator.train(sample)
    for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        groups = data.groups.get(split)
        numbers = None if groups is None else torch.from_numpy(np.unique(groups, return_inverse=True)[1].reshape(-1))
        scored = TrainedStudents(trained.students, spec=first.spec, device="cpu", started_at=began).update_all(loader)
        scores, predictions = scored.scores(), scored.predictions(split, numbers)
        cells: dict[str, object] = {}
        for metric in METRICS:
            interval = bootstrap_interval(predictions, metric)
            values = scores.mean(metric), scores.std(metric), interval.low, interval.high
            ends = ("", "_std", "_ci95_low", "_ci95_high")
            cells |= {f"{metric}{end}": f"{v:.5f}" for end, v in zip(ends, values, strict=True)}
        row = {
            **vars(job), "split": split, "source": data.spec.source, "formation": formation,
            "options": yaml.safe_dump(about, default_flow_style=True, width=1000).strip(), "network": network,
            "protocol": evaluator.protocol.name, "epochs": evaluator.protocol.epochs + 1,
            "students": len(scores.students), "images": len(first.labels),
            "bytes": first.pixels.numel() * (1 if data.spec.storage_dtype == "uint8" else 2) + 8 * len(first.labels),
            "steps": about.get("steps", 0), **cells, "set_seconds": f"{made:.1f}",
            "student_seconds": f"{trained.training_seconds:.1f}",
            **provenance("python benchmarks/quality.py"),
        }  # fmt: skip
        ResumableCsv(rows, KEYS, COLUMNS).put(row)
        print(
            f"  {split}: {100 * scores.mean('acc'):.1f} / {100 * scores.mean('balanced_acc'):.1f} balanced", flush=True
        )


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--grid", type=Path, default=HERE / "grids" / "quality.yaml", help="grid file")
    parser.add_argument("--only", default="*", help="pattern of jobs, data-ipc-method-seed-labels")
    parser.add_argument("--list", action="store_true", help="list the jobs without rows")
    given = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    grid: dict[str, Any] = yaml.safe_load(given.grid.read_text())
    if given.quick:
        quick = {"class_path": "lightning_distill.DigitsDataModule", "init_args": {}, "network": "convnet_w16"}
        grid |= {"data": {"digits": quick}, "seeds": [0], "ipc": [1], "students": 2, "protocol": "tiny"}
        grid["methods"] = {
            name: about | ({"steps": 2} if "steps" in about else {}) for name, about in grid["methods"].items()
        }
    rows = folder(given) / f"{given.grid.stem}.csv"
    place = (folder(given) if given.quick else HERE.parent / "runs") / given.grid.stem
    jobs = [job for job in jobs_of(grid) if any(fnmatch(str(job), one) for one in given.only.split(","))]
    opened: dict[str, ArrayDataModule] = {}
    for number, job in enumerate(jobs, 1):
        if not ResumableCsv(rows, KEYS, COLUMNS, given.again).is_missing(*vars(job).values(), "test"):
            continue
        print(f"[{number}/{len(jobs)}] {job}", flush=True)
        if given.list:
            continue
        if job.dataset not in opened:
            opened = {job.dataset: open_data(grid["data"][job.dataset], grid["real_per_class"])}
        measure(job, grid, opened[job.dataset], rows, place / str(job).removesuffix(f"-{job.labels}"))


if __name__ == "__main__":
    main()
