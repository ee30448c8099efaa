"""What is timed: the hot paths as pairs, ours and the textbook's, on the same data from the same images."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.bench import reference as textbook
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import DCDistiller, Distiller, DMDistiller, DSADistiller, MTTDistiller
from lightning_distill.distillers.dc import default_loops
from lightning_distill.distillers.mtt.experts import epoch_path, write_epoch, write_expert_card
from lightning_distill.functional.compile import CompileMode
from lightning_distill.networks import create_network
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import isolated_rng

Precision = Literal["32-true", "bf16-mixed"]
METHODS: dict[str, type[Distiller]] = {
    "dm": DMDistiller, "dc": DCDistiller, "dsa": DSADistiller, "mtt": MTTDistiller,
}  # fmt: skip
#: Every path; a step of ``student`` is an epoch.
PATHS = ("dm", "student", "dsa", "mtt", "dc")
EXPERTS, EPOCHS = 2, 2
STUDENT_LR, IMAGE_LR = 0.01, {"dm": 1.0, "dc": 0.1, "dsa": 0.1, "mtt": 1.0}


@dataclass(frozen=True)
class Size:
    """How much a step has to do.

    Args:
        classes: K.
        channels: C.
        side: of the square images, in pixels.
        ipc: synthetic images a class.
        real_per_class: real images of a class in a step.
        real: real training images in all; ``None`` makes a few more than a step takes.
        network: by its name.
        outer: image steps on one network (DC, DSA); ``None`` takes the papers'.
        inner: epochs of the network between two image steps (DC, DSA); ``None`` takes the papers'.
        syn_steps: steps of the student (MTT).
    """

    classes: int = 10
    channels: int = 3
    side: int = 32
    ipc: int = 10
    real_per_class: int = 256
    real: int | None = None
    network: str = "convnet"
    outer: int | None = None
    inner: int | None = None
    syn_steps: int = 20

    def __str__(self) -> str:
        outer, inner = default_loops(self.ipc, self.outer, self.inner)
        image = f"{self.channels}x{self.side}x{self.side}"
        return (
            f"{self.classes} classes of {image}, {self.ipc} synthetic and {self.real_per_class} real images a class, "
            f"{self.network}; dc and dsa {outer} image steps a network with {inner} epochs between, "
            f"mtt {self.syn_steps} student steps"
        )


@dataclass(frozen=True)
class Variant:
    """One way to run ours; its name is ``precision/compile``, e.g. ``bf16/max``."""

    precision: Precision = "32-true"
    compile: CompileMode = "off"

    def __str__(self) -> str:
        return f"{self.precision.split('-')[0]}/{self.compile}"


@dataclass
class BenchmarkCase:
    """What both sides are given.

    Args:
        path: one of `PATHS`.
        size: options of the methods; the data's own shape counts where it differs.
        data: real images.
        device: of both sides.
        experts: folder of trajectories, for ``mtt``.
        seed: of ours.
    """

    path: str
    size: Size
    data: ArrayDataModule
    device: str = "cpu"
    experts: str = ""
    seed: int = 0
    build: Callable[[], nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        check_paths([self.path])
        spec = self.data.spec
        self.build = partial(create_network, self.size.network, spec.shape[0], spec.num_classes, spec.shape[1:])

    def begin(self) -> SyntheticSet:
        """The images to begin with: the same for both sides, on the CPU."""
        kind = "noise" if self.path == "dc" else "real"
        return SyntheticSet.from_real_data(*self.data.train_arrays(), self.data.spec, self.size.ipc, kind, self.seed)


ReferenceStep = Callable[[BenchmarkCase], Any]


def check_paths(names: list[str]) -> None:
    """Raise a ValueError for a path nobody knows."""
    if unknown := [name for name in names if name not in PATHS]:
        raise ValueError(f"unknown path {unknown[0]!r}; use any of {', '.join(PATHS)}")


def noise(size: Size, seed: int = 0) -> ArrayDataModule:
    """Random uint8 images of a size; nothing is carved out of the training images."""
    generator, count = np.random.default_rng(seed), size.real or size.classes * (size.real_per_class + size.ipc)
    shape = (size.channels, size.side, size.side)
    images = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
    few = generator.integers(0, 256, (size.classes, *shape), dtype=np.uint8), np.arange(size.classes)
    labels = np.arange(count) % size.classes
    return ArrayDataModule((images, labels), few, name="noise", real_per_class=size.real_per_class, channels="first")


def write_expert_files(folder: str | Path, network: str, spec: DataSpec) -> None:
    """Experts for timing: fresh networks whose weights take small random steps, no training."""
    with isolated_rng(0):
        for expert in range(EXPERTS):
            place = Path(folder) / f"{expert:03d}"
            write_expert_card(place, network, spec, {"made_for": "timing"})
            fresh = create_network(network, spec.shape[0], spec.num_classes, spec.shape[1:])
            weights = {name: weight.detach() for name, weight in fresh.named_parameters()}
            for epoch in range(EPOCHS + 1):
                write_epoch(place, epoch, weights)
                weights = {name: weight + 0.01 * torch.randn_like(weight) for name, weight in weights.items()}


def make_ours(job: BenchmarkCase, compile: CompileMode, **more: object) -> Distiller:
    """Our distiller for a path other than ``student``, with more of its options if need be."""
    size = job.size
    options: dict[str, dict[str, Any]] = {
        "dm": {},
        "dc": {"outer": size.outer, "inner": size.inner},
        "dsa": {"outer": size.outer, "inner": size.inner},
        "mtt": {
            "experts": job.experts, "syn_steps": size.syn_steps, "max_start": 1, "expert_epochs": 1,
            "student_lr": STUDENT_LR,
        },
    }  # fmt: skip
    return METHODS[job.path](
        ipc=size.ipc,
        lr=IMAGE_LR[job.path],
        network=size.network,
        seed=job.seed,
        compile=compile,
        **options[job.path] | more,
    )


def make_textbook(job: BenchmarkCase) -> Any:
    """The textbook's side of a path: an object with ``step()`` and, unless a student, ``images``."""
    spec, size, begun = job.data.spec, job.size, job.begin()
    images, labels, groups = (
        begun.images.detach().to(job.device),
        begun.labels.to(job.device),
        PRESETS[spec.augmentation],
    )
    if job.path == "student":
        return textbook.Student(images, labels, job.build, groups)
    if job.path == "mtt":
        return textbook.MTT(images, labels, job.build, _ends(job), groups, size.syn_steps, IMAGE_LR["mtt"])
    real, batch = keep_resident(job), job.data.real_per_class
    if job.path == "dm":
        return textbook.DM(real, images, job.build, groups, batch)
    groups, (outer, inner) = () if job.path == "dc" else groups, default_loops(size.ipc, size.outer, size.inner)
    return textbook.GradientMatching(real, images, job.build, groups, batch, outer, inner)


def keep_resident(job: BenchmarkCase) -> textbook.Real:
    """All real images as public codes hold them; normalised in parts, so that no second copy is ever there."""
    pixels, labels = job.data.train_arrays()
    spec = job.data.spec
    images = torch.empty(len(pixels), *spec.shape, device=job.device)
    for start in range(0, len(pixels), 1000):
        part = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 1000]))
        images[start : start + 1000] = spec.normalize(part.to(job.device))
    return textbook.Real(images, torch.from_numpy(labels), spec.num_classes)


def _ends(job: BenchmarkCase) -> Callable[[], tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """ClassBalancedLoader one expert's first stretch; all experts lie in memory."""
    from safetensors.torch import load_file

    names = [name for name, _ in job.build().named_parameters()]
    stretches = []
    for folder in sorted(path for path in Path(job.experts).iterdir() if path.is_dir()):
        ends = [load_file(epoch_path(folder, epoch), device=job.device) for epoch in (0, 1)]
        stretches.append(([ends[0][name] for name in names], [ends[1][name] for name in names]))
    draw = random.Random(job.seed)
    return lambda: draw.choice(stretches)
