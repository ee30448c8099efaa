"""Presets of the methods: start, learning rate and sub-images by method and regime, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from lightning_distill.data import ArrayDataModule
from lightning_distill.sets.coresets import Ratio, counts_for_ratio
from lightning_distill.sets.synthetic import images_per_class
from lightning_distill.spec import DataSpec

PresetName = Literal["default", "paper"]
#: Least side of a sub-image of a default formation in pixels. Smaller ones lose more than their number gains.
MIN_SIDE = 8


@dataclass(frozen=True)
class PerPixel:
    """Learning rate that is proportional to the number of pixels of an image, times its channels.

    Gradient matching needs it. Its distance does not change with the norm of an image (the network normalises, and the
    distance is one of angles), so the gradient of an image is orthogonal to the image and of norm ``c / |image|``. An
    image of P normalised pixels has the norm ``sqrt(P)``: a step of rate lr turns it by ``lr * c / P`` radians.

    Args:
        rate: Learning rate for one pixel.

    Example:
        >>> round(PerPixel(1e-5)(DataSpec("demo", (3, 32, 32), ("a", "b"), mean=(0.0,) * 3, std=(1.0,) * 3)), 5)
        0.03072
    """

    rate: float

    def __call__(self, spec: DataSpec) -> float:
        """Return the learning rate for images of the data."""
        channels, height, width = spec.shape
        return self.rate * channels * height * width


@dataclass(frozen=True)
class Preset:
    """A row of `PRESETS`.

    Args:
        method: Name of the class. Subclasses without rows of their own inherit those of the nearest base.
        name: ``default`` or ``paper``.
        lr: Learning rate of the images, or a rule for it.
        init: Initialisation of the images, see `Distiller`.
        formation: Number of sub-images along each side of a stored image.
        min_steps: Least useful steps of the images; fewer cause a warning.
        evidence: File in ``benchmarks/results`` that justifies the row, or the paper.
        ipc: Smallest and largest images per class of the regime.
        channels: Numbers of channels of the regime; empty for all.
        tasks: Tasks of `DataSpec.task` of the regime; empty for all.
        pool: Number of networks of `DMDistiller` that come back; 0 draws a new network every step.
        dm_weight: Weight of distribution matching in `KRRDistiller`.
    """

    method: str
    name: PresetName
    lr: float | PerPixel
    init: str
    formation: int
    min_steps: int
    evidence: str
    ipc: tuple[float, float] = (1, float("inf"))
    channels: tuple[int, ...] = ()
    tasks: tuple[str, ...] = ()
    pool: int = 0
    dm_weight: float = 0.0


#: All presets. The first row of a method that fits images per class, channels and task holds. DC and DSA: the papers'
#: rate 0.1 on their images of 3 x 32 x 32 is a turn per step that is larger on smaller images, see `PerPixel`.
PRESETS = (
    #      method         name       lr                init       f  steps  evidence
    Preset("DMDistiller", "default", 4.0, "herding", 2, 100, "dm_formation.csv", pool=100),  # pool: signal_pool.csv
    Preset("DMDistiller", "paper", 1.0, "real", 1, 100, "arXiv 2110.04181"),
    Preset("DCDistiller", "default", PerPixel(1e-5), "real", 1, 30, "small_budgets.csv"),
    Preset("DCDistiller", "paper", 0.1, "noise", 1, 1000, "arXiv 2006.05929"),
    Preset("DSADistiller", "default", PerPixel(1e-5), "real", 1, 30, "small_budgets.csv"),
    Preset("DSADistiller", "paper", 0.1, "real", 1, 1000, "arXiv 2102.08259"),
    Preset("MTTDistiller", "default", 1000.0, "real", 1, 100, "medical.csv"),
    Preset("MTTDistiller", "paper", 1000.0, "real", 1, 100, "arXiv 2203.11932"),
    Preset("KRRDistiller", "default", 0.03, "herding", 2, 100, "quality.csv", ipc=(1, 4)),
    Preset("KRRDistiller", "default", 0.03, "herding", 2, 100, "quality.csv", ipc=(5, float("inf")), dm_weight=1.0),
    Preset("IDMDistiller", "default", 1.0, "herding", 2, 50, "objectives.csv"),
    Preset("IDMDistiller", "paper", 0.2, "real", 2, 1000, "arXiv 2307.09742"),
    Preset("Distiller", "default", 1.0, "real", 1, 0, ""),
    Preset("Distiller", "paper", 1.0, "real", 1, 0, ""),
)  # fmt: skip


def find_preset(method: type, name: str, ipc: int | Sequence[int], spec: DataSpec | None = None) -> Preset | None:
    """Return the row of a method, or None where it depends on data that are not known yet.

    Args:
        method: Class of the distiller.
        name: ``default`` or ``paper``.
        ipc: Images per class; the largest number of a list counts.
        spec: Specification of the data, if known.

    Raises:
        ValueError: The name is unknown.
    """
    if name not in get_args(PresetName):
        raise ValueError(f"unknown preset {name!r}; use one of {', '.join(get_args(PresetName))}")
    largest = ipc if isinstance(ipc, int) else max(ipc)
    known = {row.method for row in PRESETS}
    owner = next((cls.__name__ for cls in method.__mro__ if cls.__name__ in known), "Distiller")
    for row in PRESETS:
        if (row.method, row.name) != (owner, name) or not row.ipc[0] <= largest <= row.ipc[1]:
            continue
        if spec is None and (row.channels or row.tasks):
            return None
        if spec is None or (
            spec.shape[0] in (row.channels or spec.shape[:1]) and spec.task in (row.tasks or (spec.task,))
        ):
            return row
    others = sorted({row.name for row in PRESETS if row.method == owner})
    raise ValueError(f"{owner} has no preset {name!r} for ipc={ipc}; use {' or '.join(others)}")


def preset_arguments(method: type, name: str, ipc: int | Sequence[int], spec: DataSpec | None = None) -> dict[str, Any]:
    """Return ``lr``, ``init`` and ``formation`` of a preset; None where a value depends on data not known yet.

    Args:
        method: Class of the distiller.
        name: ``default`` or ``paper``.
        ipc: Images per class; the largest number of a list counts.
        spec: Specification of the data, if known.
    """
    row = find_preset(method, name, ipc, spec)
    if row is None:
        return dict.fromkeys(("lr", "init", "formation"))
    lr: float | None
    lr = (None if spec is None else row.lr(spec)) if isinstance(row.lr, PerPixel) else row.lr
    return {"lr": lr, "init": row.init, "formation": row.formation}


def fitting_formation(formation: int, ipc: int | Sequence[int], class_ratio: Ratio, datamodule: ArrayDataModule) -> int:
    """Return the formation of a preset, or 1 with a message where images or classes are too small for it.

    Args:
        formation: Number f of sub-images along each side of a stored image.
        ipc: Images per class.
        class_ratio: Distribution of the images over classes.
        datamodule: Data of the run; a stored image takes f * f real images.
    """
    if formation == 1:
        return 1
    spec, labels = datamodule.spec, datamodule.train_arrays()[1]
    counts, problem = images_per_class(ipc, spec), ""
    if class_ratio != "balanced":
        counts = counts_for_ratio(labels, sum(counts), class_ratio)
    if min(spec.shape[1:]) // formation < MIN_SIDE:
        problem = f"images of {spec.shape[1]} x {spec.shape[2]} pixels are too small for"
    for name, count, real in zip(spec.balance_groups, counts, np.bincount(labels, minlength=len(counts)), strict=True):
        if real < count * formation**2:
            problem = problem or f"class {name!r} has {real} training images, fewer than the {count * formation**2} of"
    if problem:
        rank_zero_info(f"{problem} the default formation={formation}; formation=1 is used (pass it to hide this line)")
    return 1 if problem else formation
