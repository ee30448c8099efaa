"""Sets of `quality.py`: picked, distilled and generated, made once and kept; teachers and generators too."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from quality_jobs import LEARNED, Job

from lightning_distill import SyntheticSetExport
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.evaluation import LabeledSet
from lightning_distill.evaluation.baselines import coreset_sampler, full_data
from lightning_distill.evaluation.copies.search import CopySearch
from lightning_distill.evaluation.fidelity.feature_network import FeatureNetwork
from lightning_distill.evaluation.label_prior import Prior
from lightning_distill.evaluation.relabel import soft_sampler
from lightning_distill.evaluation.teacher_file import load_teachers, save_teachers
from lightning_distill.evaluation.teachers import TeacherEnsemble, train_teachers
from lightning_distill.functional.compile import CompileMode
from lightning_distill.generators import load_generator
from lightning_distill.generators.generate import generate_set
from lightning_distill.sets.storage import read_set

#: File with the seconds of a distillation, beside its set.
SECONDS = "seconds.txt"


def make(class_path: str, **arguments: object) -> Any:
    """Make an object of a class that a grid names."""
    module, _, name = class_path.rpartition(".")
    return getattr(import_module(module), name)(**arguments)


@functools.cache
def open_data(about: str, real_per_class: int) -> ArrayDataModule:
    """Return the data module of a grid entry in JSON, ready to use. ``$NAME`` stands for an environment variable."""
    entry = json.loads(about)
    arguments = {key: os.path.expandvars(v) if isinstance(v, str) else v for key, v in entry["init_args"].items()}
    data: ArrayDataModule = make(entry["class_path"], **arguments, real_per_class=real_per_class)
    data.prepare_data()
    data.setup()
    return data


@functools.cache
def fitted_features(about: str, real_per_class: int, protocol: str, device: str) -> FeatureNetwork:
    """Return the feature network of a data set, see `open_data`; a process trains it once."""
    return FeatureNetwork.fit(open_data(about, real_per_class), protocol=protocol, device=device)


@functools.cache
def opened_search(about: str, real_per_class: int, device: str) -> CopySearch:
    """Return the tau rule of a data set, see `open_data`; a process trains its embedding once."""
    return CopySearch(open_data(about, real_per_class), device=device)


def alone(path: Path) -> FileLock:
    """Return the lock under which one process makes a file or folder; it is taken with ``with``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"))


@dataclass(frozen=True)
class SetMaker:
    """Makes the sets of the jobs of a grid in any process.

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

    def feature_network(self, dataset: str) -> FeatureNetwork:
        """Return the network whose features compare images of a data set."""
        about = json.dumps(self.grid["data"][dataset])
        return fitted_features(about, self.grid["real_per_class"], self.grid["protocol"], self.device)

    def copy_search(self, dataset: str) -> CopySearch:
        """Return the tau rule of a data set."""
        return opened_search(json.dumps(self.grid["data"][dataset]), self.grid["real_per_class"], self.device)

    def network(self, dataset: str) -> str:
        """Return the network of a data set."""
        return str(self.grid["data"][dataset].get("network", self.grid["network"]))

    def student_network(self, job: Job) -> str:
        """Return the network of the students of a job."""
        return job.network or self.network(job.dataset)

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
        """Return the folder of the set of a job; jobs that differ in labels or students share it."""
        return self.place / job.set_name

    def set_seconds(self, job: Job, measured: float) -> str:
        """Return the seconds of a pick, a distillation or a drawing; empty where they are not known."""
        if "pick" in self.grid["methods"][job.method]:
            return f"{measured:.1f}"
        return text_of(self.place_of(job) / SECONDS)

    def generator_seconds(self, job: Job) -> str:
        """Return the seconds of the training of the generator of a job; empty without one."""
        return text_of(self.generator_path(job).with_suffix(".txt")) if self.generator_of(job) else ""

    def generator_of(self, job: Job) -> str:
        """Return the name of the generator that draws the set of a job, or in whose latent space it is learned."""
        about = self.grid["methods"][job.method]
        return str(about.get("generator", about.get("latent", "")))

    def generator_path(self, job: Job) -> Path:
        """Return the path of the checkpoint of the generator of a job."""
        return self.place / f"generator-{self.generator_of(job)}-{job.dataset}-{job.seed}.ckpt"

    def generator(self, job: Job) -> Path:
        """Train the generator of a job, or find its checkpoint; wait for a process that trains it."""
        path = self.generator_path(job)
        with alone(path):
            if not path.is_file():
                about = self.grid["generators"][self.generator_of(job)]
                trainer = quiet_trainer(about["steps"], "32-true", self.device)
                began = time.perf_counter()
                trainer.fit(
                    make(about["class_path"], seed=job.seed, **about.get("init_args", {})),
                    datamodule=self.data(job.dataset),
                )
                path.with_suffix(".txt").write_text(f"{time.perf_counter() - began:.1f}")
                trainer.save_checkpoint(path)
        return path

    def stored(self, job: Job) -> LabeledSet:
        """Distil or draw the set of a job, or read it if it exists; wait for a process that makes it."""
        place = self.place_of(job)
        with alone(place):
            if not (place / "last" / "set.safetensors").is_file():
                write = self.draw_set if "generator" in self.grid["methods"][job.method] else self.distil_set
                place.mkdir(parents=True, exist_ok=True)
                (place / SECONDS).write_text(f"{write(job, place):.1f}")
        return read_set(place / "last")[0]

    def draw_set(self, job: Job, place: Path) -> float:
        """Draw the set of a job from its generator, and return the seconds without those of its training."""
        generator = load_generator(self.generator(job)).to(self.device)
        began = time.perf_counter()
        generate_set(generator, place / "last", ipc=job.ipc, seed=job.seed)
        return time.perf_counter() - began

    def distil_set(self, job: Job, place: Path) -> float:
        """Distil the set of a job, and return the seconds."""
        about = self.grid["methods"][job.method]
        arguments = {"network": self.network(job.dataset), "seed": job.seed, "on_small_class": "fewer"}
        arguments |= {"compile": self.compile, **about.get("init_args", {})}
        if "latent" in about:
            arguments["latent"] = self.generator(job)
        export = SyntheticSetExport(str(place), yardsticks=[])
        trainer = quiet_trainer(about["steps"], "32-true", self.device, [export])
        distiller, began = make(about["class_path"], ipc=job.ipc, **arguments), time.perf_counter()
        trainer.fit(distiller, datamodule=self.data(job.dataset))
        return time.perf_counter() - began

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
            learned = self.stored(job)
            if job.labels == LEARNED:
                return lambda student: learned
            stored = replace(learned, soft_labels=None)
            sampler = lambda student: stored  # noqa: E731
        if job.labels == "hard":
            return sampler
        prior: Prior = "balanced" if job.labels == "soft_balanced" else "natural"
        return soft_sampler(sampler, self.teachers(job.dataset), prior=prior, device=self.device)


def text_of(path: Path) -> str:
    """Return the text of a file; empty where it does not exist."""
    return path.read_text() if path.is_file() else ""
