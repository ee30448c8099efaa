"""Measure what distillation adds to picked images: every method and every pick, with hard and with soft labels.

    python benchmarks/quality.py                                     # all missing rows of grids/quality.yaml
    python benchmarks/quality.py --only 'dermamnist-10-*-0-*'        # data-ipc-method-seed-labels[-network]
    python benchmarks/quality.py --list
    python benchmarks/quality.py --jobs 8                            # eight processes, e.g. on one GPU
    python benchmarks/quality.py --quick                             # scikit-learn's digits, as a test

A job distils (or picks) one set with one seed and trains students on it; they are scored on the validation and on the
test split, one row each. Nothing is selected: the set of the last step is scored. A killed run goes on at the first
job without rows; finished sets and teachers are kept in ``runs/quality``. Started several times, on one machine or on
several that share a disk, the same command shares its jobs: each process takes those that no other one has taken.
Jobs are ordered by seed, so that a table is complete with one seed before it has several. Labels are ``hard``,
``learned`` (by a method that learns them with its images), ``soft_natural`` or ``soft_balanced``: probabilities by
teachers that were trained on the real data, with its class frequencies or with equal ones. ``grids/generators.yaml``
has generated sets too, and sets learned in the latent space of a generator, each beside its copies of training images
and its distance to the validation images; ``grids/architectures.yaml`` trains students of other networks.
"""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import yaml
from quality_jobs import Job, jobs_of, run_all
from quality_sets import SetMaker
from script import HERE, folder, options

from lightning_distill import measure_fidelity
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.evaluation import LabeledSet, StudentEvaluator, TrainedStudents
from lightning_distill.evaluation.metrics.intervals import bootstrap_interval
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.protocol import Protocol, get_protocol
from lightning_distill.functional.compile import CompileMode
from lightning_distill.utils.hardware import Accelerator, resolve_device

KEYS = ("dataset", "ipc", "method", "seed", "labels", "network", "split")
METRICS = ("acc", "balanced_acc", "auroc")
COLUMNS = (
    "source", "formation", "options", "protocol", "epochs", "students", "images", "bytes", "steps",
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_std", "_ci95_low", "_ci95_high")),
    "set_seconds", "student_seconds",
)  # fmt: skip
#: Further columns of a grid with generators: seconds of their training, and images against validation images.
FIDELITY = (
    "kid", "kid_real", "precision", "recall", "density", "coverage", "ms_ssim", "ms_ssim_real", "copies", "copies_null",
)  # fmt: skip
GENERATOR_COLUMNS = ("generator_seconds", *FIDELITY)


@dataclass(frozen=True)
class Runner(SetMaker):
    """Makes the set of a job, trains students on it, and scores them."""

    def run(self, job: Job) -> list[dict[str, object]]:
        """Make the set of a job, train students on it, and return one row for the validation and the test split."""
        torch.set_num_threads(1)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore")
        first, made, trained = self.train(job)
        fidelity = self.fidelity(job, first)
        rows = []
        for split in ("val", "test"):
            scores, predictions = self.score(job, trained, split)
            cells: dict[str, object] = {}
            for metric in METRICS:
                interval = bootstrap_interval(predictions, metric)
                values = scores.mean(metric), scores.std(metric), interval.low, interval.high
                ends = ("", "_std", "_ci95_low", "_ci95_high")
                cells |= {f"{metric}{end}": f"{v:.5f}" for end, v in zip(ends, values, strict=True)}
            rows.append({**self.about(job, first, made), "split": split, **cells, **fidelity,
                         "student_seconds": f"{trained.training_seconds:.1f}"})  # fmt: skip
        return rows

    def train(self, job: Job) -> tuple[LabeledSet, float, TrainedStudents]:
        """Return the first set of a job, the seconds until it was there, and the students trained on its sets."""
        began = time.perf_counter()
        sample = self.sampler(job)
        first = sample(0)
        made = time.perf_counter() - began
        evaluator = StudentEvaluator(self.protocol(first), students=self.grid["students"],
                                     architectures=[self.student_network(job)], compile=self.compile)  # fmt: skip
        return first, made, evaluator.train(sample, device=self.device)

    def protocol(self, first: LabeledSet) -> Protocol:
        """Return the protocol of the students; many images are trained on as all real images are."""
        return get_protocol(self.grid["protocol"]).for_real_data(len(first.labels))

    def score(self, job: Job, trained: TrainedStudents, split: str) -> tuple[Scores, Predictions]:
        """Return scores and predictions of trained students on the validation or the test split."""
        data = self.data(job.dataset)
        groups = data.groups.get(split)
        numbers = None if groups is None else torch.from_numpy(np.unique(groups, return_inverse=True)[1].reshape(-1))
        scored = TrainedStudents(trained.students, spec=trained.spec, device=self.device, started_at=trained.started_at)
        scored.update_all(data.val_dataloader() if split == "val" else data.test_dataloader())
        return scored.scores(), scored.predictions(split, numbers)

    def fidelity(self, job: Job, first: LabeledSet) -> dict[str, object]:
        """Compare the first set with validation images, in a grid that asks for it; empty for soft labels."""
        about = self.grid["methods"][job.method]
        if not self.grid.get("fidelity") or job.labels != "hard" or about.get("pick") == "full":
            return {}
        data, network = self.data(job.dataset), self.feature_network(job.dataset)
        (row,) = measure_fidelity(
            {"set": first}, data, network=network, copy_search=self.copy_search(job.dataset),
            accelerator=self.device,  # type: ignore[arg-type]
        )  # fmt: skip
        return {name: f"{row[name]:.5f}" for name in FIDELITY if row[name] == row[name]}

    def about(self, job: Job, first: LabeledSet, made: float) -> dict[str, object]:
        """Return the cells of a row that do not depend on the split."""
        about, spec = self.grid["methods"][job.method], self.data(job.dataset).spec
        soft_bytes = 0 if first.soft_labels is None else 4 * first.soft_labels.numel()
        pixel_bytes = first.pixels.numel() * (1 if spec.storage_dtype == "uint8" else 2)
        protocol = self.protocol(first)
        return {
            **vars(job), "source": spec.source, "formation": first.formation,
            "options": yaml.safe_dump(about, default_flow_style=True, width=1000).strip(),
            "network": self.student_network(job), "protocol": protocol.name, "epochs": protocol.epochs + 1,
            "students": self.grid["students"], "images": len(first.labels),
            "bytes": pixel_bytes + 8 * len(first.labels) + soft_bytes, "steps": about.get("steps", 0),
            "set_seconds": self.set_seconds(job, made), "generator_seconds": self.generator_seconds(job),
            **provenance(f"python benchmarks/quality.py --grid {self.grid['name']}"),
        }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--grid", type=Path, default=HERE / "grids" / "quality.yaml", help="grid file")
    parser.add_argument(
        "--only", default="*", help="patterns of jobs, data-ipc-method-seed-labels[-network], the first first"
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
        for about in grid.get("generators", {}).values():
            about["init_args"] = {"widths": [16, 16], "batch_size": 8}
        for part in ("methods", "generators"):
            grid[part] = {
                name: about | ({"steps": 2} if "steps" in about else {}) for name, about in grid.get(part, {}).items()
            }
    columns = (*COLUMNS, *GENERATOR_COLUMNS) if grid.get("generators") else COLUMNS
    book = ResumableCsv(folder(given) / f"{given.grid.stem}.csv", KEYS, columns, given.again)
    patterns, jobs = given.only.split(","), list(jobs_of(grid))
    jobs = list(dict.fromkeys(job for pattern in patterns for job in jobs if fnmatch(str(job), pattern)))
    place = (folder(given) if given.quick else HERE.parent / "runs") / grid.get("sets", given.grid.stem)
    runner = Runner(grid, place, resolve_device(given.accelerator), given.compile)

    def is_done(job: Job) -> bool:
        return not book.is_missing(*{**vars(job), "network": runner.student_network(job)}.values(), "test")

    missing = [job for job in jobs if not is_done(job)]
    print(f"{len(missing)} of {len(jobs)} jobs have no rows", flush=True)
    if given.list:
        print(*missing, sep="\n")
        return

    def is_done_now(job: Job) -> bool:
        book.refresh()
        return is_done(job)

    for number, (job, rows) in enumerate(run_all(runner, missing, given.jobs, is_done_now), 1):
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
