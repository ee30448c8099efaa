"""Benchmark cases: this library and the reference implementation on equal data and initial images."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.bench import reference
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import DCDistiller, Distiller, DMDistiller, DSADistiller, MTTDistiller
from lightning_distill.distillers.dc import default_loops
from lightning_distill.distillers.mtt.experts import epoch_path, write_epoch, write_expert_card
from lightning_distill.functional.compile import CompileMode
from lightning_distill.networks import create_network
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.precision import Precision
from lightning_distill.utils.rng import isolated_rng

METHODS: dict[str, type[Distiller]] = {
    "dm": DMDistiller, "dm_pool": DMDistiller, "dc": DCDistiller, "dsa": DSADistiller, "mtt": MTTDistiller,
}  # fmt: skip
#: Measured code paths. A step of ``student`` is one epoch. One of ``dm_pool`` is DM in a network whose statistics
#: of the real images are stored, and its reference is DM with a new network.
PATHS = ("dm", "student", "dsa", "mtt", "dc", "dm_pool")
EXPERTS, EPOCHS = 2, 2
STUDENT_LR, IMAGE_LR = 0.01, {"dm": 1.0, "dm_pool": 1.0, "dc": 0.1, "dsa": 0.1, "mtt": 1.0}


@dataclass(frozen=True)
class Size:
    """Problem size of a benchmark.

    Args:
        classes: Number of classes.
        channels: Number of image channels.
        side: Height and width of the images in pixels.
        ipc: Synthetic images per class.
        real_per_class: Real images per class in one step.
        real: Total number of real training images. ``None`` creates slightly more than one step uses.
        network: Network name.
        outer: Image steps per network (DC, DSA). ``None`` takes the papers' number.
        inner: Network epochs between two image steps (DC, DSA). ``None`` takes the papers' number.
        syn_steps: Student steps per image step (MTT).
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
            f"{self.classes} classes of {image}, {self.ipc} synthetic and {self.real_per_class} real images per class, "
            f"{self.network}; dc and dsa {outer} image steps per network with {inner} epochs between, "
            f"mtt {self.syn_steps} student steps"
        )


@dataclass(frozen=True)
class Variant:
    """Precision and compile mode of a run, named ``precision/compile``, e.g. ``bf16/max``."""

    precision: Precision = "32-true"
    compile: CompileMode = "off"

    def __str__(self) -> str:
        return f"{self.precision.split('-')[0]}/{self.compile}"


@dataclass
class BenchmarkCase:
    """Inputs shared by both implementations.

    Args:
        path: Code path, one of `PATHS`.
        size: Problem size. The image shape is taken from ``data``.
        data: Real images.
        device: Device of both implementations.
        experts: Folder of expert trajectories, for ``mtt``.
        seed: Seed of the distillation.
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

    def init_synthetic(self) -> SyntheticSet:
        """Create the initial synthetic set on the CPU, equal for both implementations."""
        kind = "noise" if self.path == "dc" else "real"
        return SyntheticSet.from_real_data(*self.data.train_arrays(), self.data.spec, self.size.ipc, kind, self.seed)


ReferenceStep = Callable[[BenchmarkCase], Any]


def check_paths(names: list[str]) -> None:
    """Raise ValueError for names that are not in `PATHS`."""
    if unknown := [name for name in names if name not in PATHS]:
        raise ValueError(f"unknown path {unknown[0]!r}; use any of {', '.join(PATHS)}")


def noise_data(size: Size, seed: int = 0) -> ArrayDataModule:
    """Create random uint8 images with a separate validation split."""
    generator, count = np.random.default_rng(seed), size.real or size.classes * (size.real_per_class + size.ipc)
    shape = (size.channels, size.side, size.side)
    images = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
    few = generator.integers(0, 256, (size.classes, *shape), dtype=np.uint8), np.arange(size.classes)
    labels = np.arange(count) % size.classes
    return ArrayDataModule((images, labels), few, name="noise", real_per_class=size.real_per_class, channels="first")


def write_expert_files(folder: str | Path, network: str, spec: DataSpec) -> None:
    """Write expert files for timing: random walks of network weights, without training."""
    with isolated_rng(0):
        for expert in range(EXPERTS):
            expert_folder = Path(folder) / f"{expert:03d}"
            write_expert_card(expert_folder, network, spec, {"made_for": "timing"})
            fresh = create_network(network, spec.shape[0], spec.num_classes, spec.shape[1:])
            weights = {name: weight.detach() for name, weight in fresh.named_parameters()}
            for epoch in range(EPOCHS + 1):
                write_epoch(expert_folder, epoch, weights)
                weights = {name: weight + 0.01 * torch.randn_like(weight) for name, weight in weights.items()}


def make_distiller(case: BenchmarkCase, compile: CompileMode, **overrides: object) -> Distiller:
    """Create the distiller of a path other than ``student``.

    Args:
        case: Data, size and seed.
        compile: Compile mode.
        **overrides: Further arguments of the distiller.
    """
    size = case.size
    options: dict[str, dict[str, Any]] = {
        "dm": {},
        "dm_pool": {"pool": 1},  # filled by the first step, which is a warm-up
        "dc": {"outer_loop": size.outer, "inner_loop": size.inner},
        "dsa": {"outer_loop": size.outer, "inner_loop": size.inner},
        "mtt": {
            "experts": case.experts, "syn_steps": size.syn_steps, "max_start": 1, "expert_epochs": 1,
            "student_lr": STUDENT_LR,
        },
    }  # fmt: skip
    return METHODS[case.path](
        ipc=size.ipc,
        preset="paper",
        lr=IMAGE_LR[case.path],
        network=size.network,
        seed=case.seed,
        compile=compile,
        **options[case.path] | overrides,
    )


def make_reference(case: BenchmarkCase) -> Any:
    """Create the reference implementation of a path: an object with ``step()`` and, except students, ``images``."""
    spec, size, begun = case.data.spec, case.size, case.init_synthetic()
    images, labels, groups = (
        begun.images.detach().to(case.device),
        begun.labels.to(case.device),
        PRESETS[spec.augmentation],
    )
    if case.path == "student":
        return reference.Student(images, labels, case.build, groups)
    if case.path == "mtt":
        return reference.MTT(
            images, labels, case.build, _expert_segment_sampler(case), groups, size.syn_steps, IMAGE_LR["mtt"]
        )
    real, batch = keep_resident(case), case.data.real_per_class
    if case.path in ("dm", "dm_pool"):
        return reference.DM(real, images, case.build, groups, batch)
    groups, (outer, inner) = () if case.path == "dc" else groups, default_loops(size.ipc, size.outer, size.inner)
    return reference.GradientMatching(real, images, case.build, groups, batch, outer, inner)


def keep_resident(case: BenchmarkCase) -> reference.Real:
    """Hold all real images normalised on the device, as public code does; normalise in chunks to save memory."""
    pixels, labels = case.data.train_arrays()
    spec = case.data.spec
    images = torch.empty(len(pixels), *spec.shape, device=case.device)
    for start in range(0, len(pixels), 1000):
        part = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 1000]))
        images[start : start + 1000] = spec.normalize(part.to(case.device))
    return reference.Real(images, torch.from_numpy(labels), spec.num_classes)


def _expert_segment_sampler(case: BenchmarkCase) -> Callable[[], tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """Sample the first segment of an expert trajectory; all experts are held in memory."""
    from safetensors.torch import load_file

    names = [name for name, _ in case.build().named_parameters()]
    segments = []
    for folder in sorted(path for path in Path(case.experts).iterdir() if path.is_dir()):
        ends = [load_file(epoch_path(folder, epoch), device=case.device) for epoch in (0, 1)]
        segments.append(([ends[0][name] for name in names], [ends[1][name] for name in names]))
    rng = random.Random(case.seed)
    return lambda: rng.choice(segments)
