"""Measure what distillation adds to picked images: every method and every pick, with hard and with soft labels.

    python benchmarks/quality.py                                     # all missing rows of grids/quality.yaml
    python benchmarks/quality.py --only 'dermamnist-10-*-0-*'        # data-ipc-method-seed-labels, as a pattern
    python benchmarks/quality.py --list
    python benchmarks/quality.py --jobs 8                            # eight processes, e.g. on one GPU
    python benchmarks/quality.py --quick                             # scikit-learn's digits, as a test

A job distils (or picks) one set with one seed and trains students on it; they are scored on the validation and on the
test split, one row each. Nothing is selected: the set of the last step is scored. A killed run goes on at the first
job without rows; finished sets and teachers are kept in ``runs/quality``. Started several times, on one machine or on
several that share a disk, the same command shares its jobs: each process takes those that no other one has taken.
Jobs are ordered by seed, so that a table is complete with one seed before it has several. Labels are ``hard``,
``soft_natural`` or ``soft_balanced``: probabilities by teachers that were trained on the real data, with its class
frequencies or with equal ones.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import yaml
from filelock import FileLock
from quality_jobs import Job, jobs_of, run_all
from script import HERE, folder, options

from lightning_distill import SyntheticSetExport
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.evaluation import LabeledSet, StudentEvaluator, TrainedStudents
from lightning_distill.evaluation.baselines import coreset_sampler, full_data
from lightning_distill.evaluation.label_prior import Prior
from lightning_distill.evaluation.metrics.intervals import bootstrap_interval
from lightning_distill.evaluation.relabel import soft_sampler
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.evaluation.teacher_file import load_teachers, save_teachers
from lightning_distill.evaluation.teachers import TeacherEnsemble, train_teachers
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.storage import read_set
from lightning_distill.utils.hardware import Accelerator, resolve_device

#: File with the seconds of a distillation, beside its set.
SECONDS = "seconds.txt"
KEYS = ("dataset", "ipc", "method", "seed", "labels", "split")
METRICS = ("acc", "balanced_acc", "auroc")
COLUMNS = (
    "source", "formation", "options", "network", "protocol", "epochs", "students", "images", "bytes", "steps",
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_std", "_ci95_low", "_ci95_high")),
    "set_seconds", "student_seconds",
)  # fmt: skip


@functools.cache
def open_data(about: str, real_per_class: int) -> ArrayDataModule:
    """Return the data module of a grid entry in JSON, ready to use. ``$NAME`` stands for an environment variable."""
    entry = json.loads(about)
    module, _, name = entry["class_path"].rpartition(".")
    arguments = {key: os.path.expandvars(v) if isinstance(v, str) else v for key, v in entry["init_args"].items()}
    data: ArrayDataModule = getattr(import_module(module), name)(**arguments, real_per_class=real_per_class)
    data.prepare_data()
    data.setup()
    return data


def alone(path: Path) -> FileLock:
    """Return the lock under which one process makes a file or folder; it is taken with ``with``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"))


@dataclass(frozen=True)
class Runner:
    """Runs jobs of a grid in any process.

    Args:
        grid: Contents of the grid file.
        place: Folder of sets and teachers.
        device: Device to compute on.
        compile: Mode of ``torch.compile``.
    """

    grid: dict[str, Any]
    place: Path
    device: str
    compile: CompileMode

    def data(self, dataset: str) -> ArrayDataModule:
        """Return the data module of a data set; a process opens it once."""
        return open_data(json.dumps(self.grid["data"][dataset]), self.grid["real_per_class"])

    def network(self, dataset: str) -> str:
        """Return the network of a data set."""
        return str(self.grid["data"][dataset].get("network", self.grid["network"]))

    def teachers(self, dataset: str) -> TeacherEnsemble:
        """Read the teachers of a data set, or train them; wait for a process that does."""
        path = self.place / f"teachers-{dataset}.safetensors"
        with alone(path):
            if not path.is_file():
                ensemble = train_teachers(
                    self.data(dataset),
                    self.grid.get("teachers", 3),
                    network=self.network(dataset),
                    protocol=self.grid["protocol"],
                    device=self.device,
                    compile=self.compile,
                )
                save_teachers(path, ensemble)
        return load_teachers(path)

    def place_of(self, job: Job) -> Path:
        """Return the folder of the set of a job; jobs that differ in the labels share it."""
        return self.place / str(job).removesuffix(f"-{job.labels}")

    def set_seconds(self, job: Job, measured: float) -> str:
        """Return the seconds of a pick, or of a distillation; empty where they are not known."""
        if "pick" in self.grid["methods"][job.method]:
            return f"{measured:.1f}"
        path = self.place_of(job) / SECONDS
        return path.read_text() if path.is_file() else ""

    def distil(self, job: Job) -> LabeledSet:
        """Distil the set of a job, or read it if it exists; wait for a process that distils it."""
        place = self.place_of(job)
        with alone(place):
            if not (place / "last" / "set.safetensors").is_file():
                self.write_set(job, place)
        return read_set(place / "last")[0]

    def write_set(self, job: Job, place: Path) -> None:
        """Distil the set of a job; a file beside it keeps the seconds."""
        about = self.grid["methods"][job.method]
        module, _, name = about["class_path"].rpartition(".")
        arguments = {"network": self.network(job.dataset), "seed": job.seed, "on_small_class": "fewer"}
        arguments |= {"compile": self.compile, **about.get("init_args", {})}
        export = SyntheticSetExport(str(place), yardsticks=[])
        trainer = quiet_trainer(about["steps"], "32-true", self.device, [export])
        distiller, began = getattr(import_module(module), name)(ipc=job.ipc, **arguments), time.perf_counter()
        trainer.fit(distiller, datamodule=self.data(job.dataset))
        (place / SECONDS).write_text(f"{time.perf_counter() - began:.1f}")

    def sampler(self, job: Job) -> Callable[[int], LabeledSet]:
        """Return the function from the number of a student to its training set."""
        about, data = self.grid["methods"][job.method], self.data(job.dataset)
        if about.get("pick") == "full":
            return full_data(data.all_train_arrays(), data.spec)
        if "pick" in about:
            formation, (images, labels) = about.get("formation", 1), data.train_arrays()
            counts = np.minimum(job.ipc, np.maximum(1, np.bincount(labels) // formation**2)).tolist()
            sampler = coreset_sampler(about["pick"], (images, labels), counts, data.spec, job.seed, formation=formation)
        else:
            distilled = self.distil(job)
            sampler = lambda student: distilled  # noqa: E731
        if job.labels == "hard":
            return sampler
        prior: Prior = "balanced" if job.labels == "soft_balanced" else "natural"
        return soft_sampler(sampler, self.teachers(job.dataset), prior=prior, device=self.device)

    def run(self, job: Job) -> list[dict[str, object]]:
        """Make the set of a job, train students on it, and return one row for the validation and the test split."""
        torch.set_num_threads(1)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore")
        about, data, began = self.grid["methods"][job.method], self.data(job.dataset), time.perf_counter()
        sample = self.sampler(job)
        first = sample(0)
        made = time.perf_counter() - began
        protocol = get_protocol(self.grid["protocol"])
        if about.get("pick") == "full":
            protocol = protocol.for_real_data(len(first.labels))
        count, network = self.grid["students"], self.network(job.dataset)
        evaluator = StudentEvaluator(protocol, students=count, architectures=[network], compile=self.compile)
        trained = evaluator.train(sample, device=self.device)
        rows = []
        for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
            groups = data.groups.get(split)
            numbers = (
                None if groups is None else torch.from_numpy(np.unique(groups, return_inverse=True)[1].reshape(-1))
            )
            scored = TrainedStudents(trained.students, spec=first.spec, device=self.device, started_at=began)
            scored = scored.update_all(loader)
            scores, predictions = scored.scores(), scored.predictions(split, numbers)
            cells: dict[str, object] = {}
            for metric in METRICS:
                interval = bootstrap_interval(predictions, metric)
                values = scores.mean(metric), scores.std(metric), interval.low, interval.high
                ends = ("", "_std", "_ci95_low", "_ci95_high")
                cells |= {f"{metric}{end}": f"{v:.5f}" for end, v in zip(ends, values, strict=True)}
            soft_bytes = 0 if first.soft_labels is None else 4 * first.soft_labels.numel()
            rows.append({
                **vars(job), "split": split, "source": data.spec.source, "formation": first.formation,
                "options": yaml.safe_dump(about, default_flow_style=True, width=1000).strip(), "network": network,
                "protocol": evaluator.protocol.name, "epochs": evaluator.protocol.epochs + 1,
                "students": len(scores.students), "images": len(first.labels),
                "bytes": first.pixels.numel() * (1 if data.spec.storage_dtype == "uint8" else 2)
                + 8 * len(first.labels) + soft_bytes,
                "steps": about.get("steps", 0), **cells, "set_seconds": self.set_seconds(job, made),
                "student_seconds": f"{trained.training_seconds:.1f}",
                **provenance(f"python benchmarks/quality.py --grid {self.grid['name']}"),
            })  # fmt: skip
        return rows


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--grid", type=Path, default=HERE / "grids" / "quality.yaml", help="grid file")
    parser.add_argument(
        "--only", default="*", help="patterns of jobs, data-ipc-method-seed-labels, the first ones first"
    )
    parser.add_argument("--list", action="store_true", help="list the jobs without rows")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument("--accelerator", default="cpu", choices=get_args(Accelerator), help="device")
    parser.add_argument("--compile", default="auto", choices=get_args(CompileMode), help="mode of torch.compile")
    given = parser.parse_args(arguments)
    grid: dict[str, Any] = {**yaml.safe_load(given.grid.read_text()), "name": f"benchmarks/grids/{given.grid.name}"}
    if given.quick:
        quick = {"class_path": "lightning_distill.DigitsDataModule", "init_args": {}, "network": "convnet_w16"}
        grid |= {"data": {"digits": quick}, "seeds": [0], "ipc": [1], "students": 2, "protocol": "tiny", "teachers": 1}
        grid["methods"] = {
            name: about | ({"steps": 2} if "steps" in about else {}) for name, about in grid["methods"].items()
        }
    book = ResumableCsv(folder(given) / f"{given.grid.stem}.csv", KEYS, COLUMNS, given.again)
    place = (folder(given) if given.quick else HERE.parent / "runs") / given.grid.stem
    patterns, jobs = given.only.split(","), list(jobs_of(grid))
    jobs = list(dict.fromkeys(job for pattern in patterns for job in jobs if fnmatch(str(job), pattern)))
    missing = [job for job in jobs if book.is_missing(*vars(job).values(), "test")]
    print(f"{len(missing)} of {len(jobs)} jobs have no rows", flush=True)
    if given.list:
        print(*missing, sep="\n")
        return
    runner = Runner(grid, place, resolve_device(given.accelerator), given.compile)

    def is_done(job: Job) -> bool:
        book.refresh()
        return not book.is_missing(*vars(job).values(), "test")

    for number, (job, rows) in enumerate(run_all(runner, missing, given.jobs, is_done), 1):
        for row in rows:
            book.put(row)
        val = {name: 100 * float(str(rows[0][name])) for name in ("acc", "balanced_acc")}
        seconds = f"{rows[0]['set_seconds'] or '?'} + {rows[0]['student_seconds']} s"
        print(
            f"[{number}/{len(missing)}] {job}: {val['acc']:.1f} / {val['balanced_acc']:.1f} balanced, {seconds}",
            flush=True,
        )


if __name__ == "__main__":
    main()
