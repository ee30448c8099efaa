"""Contents of the report's section of one synthetic set. The templates turn them into HTML and escape them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from lightning_distill.report.guard import gain_facts, gain_mark, resemblance_facts
from lightning_distill.report.neighbours import NearestImages
from lightning_distill.report.redact import plain, redact_paths
from lightning_distill.report.runs import Run
from lightning_distill.sets.card import current_warning, privacy_warning
from lightning_distill.sets.image_grid import image_grid
from lightning_distill.visualization.format import bracket, estimate, spread
from lightning_distill.visualization.style import Picture, png_picture


@dataclass(frozen=True)
class Neighbours:
    """Nearest real images of the images of one set.

    Args:
        bands: One picture for each class: images of the set, each above its nearest real images.
        train: Nearest images in the training split.
        val: Nearest images in the validation split.
        real: Nearest training images of a sample of the validation split, as a reference for the distances.
        data: Name of the data set.
    """

    bands: Sequence[Image.Image]
    train: NearestImages
    val: NearestImages
    real: NearestImages
    data: str


@dataclass(frozen=True)
class NeighboursFigure:
    """Figure of nearest real images with the numbers of the text below it.

    Args:
        bands: One picture for each class.
        data: Name of the data set.
        train: Nearest images in the training split.
        val: Nearest images in the validation split.
        images: Number of images in the set.
        closer_to_train: Number of images of the set that are closer to train than to val.
        chance: Probability that an unrelated image is closer to train, by the sizes of the splits alone.
        median_train: Median distance to train.
        median_val: Median distance to val.
        median_real: Median distance of validation images to train.
    """

    bands: Sequence[Picture]
    data: str
    train: NearestImages
    val: NearestImages
    images: int
    closer_to_train: int
    chance: float
    median_train: float
    median_val: float
    median_real: float


@dataclass(frozen=True)
class SetSection:
    """Images, warning, nearest real images and card of one synthetic set.

    Args:
        name: Name of the run; heading of the section.
        warning: Warning of the card.
        mark: Mark of a set that does not beat its start, in one sentence; empty for all others.
        grid: Picture with a row of images for each class.
        shown: Number of images in the picture.
        images: Number of images in the set.
        classes: Number of classes.
        shape: Channels, height and width of an image.
        storage_dtype: Dtype of the stored pixels.
        neighbours: Nearest real images; ``None`` if no data were given.
        facts: Entries of the card by label; empty entries are not shown.
    """

    name: str
    warning: str
    mark: str
    grid: Picture
    shown: int
    images: int
    classes: int
    shape: Sequence[int]
    storage_dtype: str
    neighbours: NeighboursFigure | None
    facts: Mapping[str, str]


def set_section(run: Run, neighbours: Neighbours | None) -> SetSection:
    """Collect images, card, warning and nearest real images of a set.

    Args:
        run: Run with a set.
        neighbours: Nearest real images; ``None`` if no data were given.
    """
    assert run.synthetic is not None
    data, spec = run.synthetic, run.synthetic.spec
    counts = torch.bincount(data.labels, minlength=len(spec.balance_groups))
    warning = str(current_warning(run.card) or f"The card holds no warning. {privacy_warning('unknown')}")
    return SetSection(
        name=run.name,
        warning=redact_paths(warning),
        mark=gain_mark(run.card),
        grid=png_picture(Image.fromarray(image_grid(data.pixels, data.labels, spec))),
        shown=int(counts.clamp(max=10).sum()),
        images=len(data.labels),
        classes=len(spec.balance_groups),
        shape=spec.shape,
        storage_dtype=spec.storage_dtype,
        neighbours=None if neighbours is None else _neighbours_figure(neighbours),
        facts=_facts(run),
    )


def _neighbours_figure(neighbours: Neighbours) -> NeighboursFigure:
    train, val = neighbours.train, neighbours.val
    median_train, median_val, median_real = (float(np.median(part.distances)) for part in (train, val, neighbours.real))
    return NeighboursFigure(
        bands=[png_picture(band, 1.6) for band in neighbours.bands],
        data=neighbours.data,
        train=train,
        val=val,
        images=len(train.distances),
        closer_to_train=int((train.distances < val.distances).sum()),
        chance=train.pool / (train.pool + val.pool),
        median_train=median_train,
        median_val=median_val,
        median_real=median_real,
    )


def _facts(run: Run) -> dict[str, str]:
    assert run.synthetic is not None
    card, spec = run.card, run.synthetic.spec
    counts = torch.bincount(run.synthetic.labels, minlength=len(spec.balance_groups)).tolist()
    each = f"{counts[0]} each" if len(set(counts)) == 1 else ", ".join(
        f"{name} {count}" for name, count in zip(spec.balance_groups, counts, strict=True)
    )  # fmt: skip
    return {
        "data": f"{spec.name} ({plain(spec.source)}), licence: {plain(spec.license)}",
        "method": plain(card.get("method")),
        "steps": plain(card.get("steps")),
        "initial images": plain(card.get("start")),
        "images": f"{sum(counts):,}: {each}",
        "soft labels": plain(card.get("soft_labels")),
        "scores on val": _card_score(card),
        **gain_facts(card),
        **resemblance_facts(card),
        "date": plain(card.get("date")),
        "settings": plain(card.get("hyper_parameters")),
        "versions": plain(card.get("versions")),
        "use": plain(card.get("use")),
        "preparation": plain(card.get("preparation")),
        "valid augmentation": plain(card.get("augmentation")),
        "sha256": plain(card.get("sha256")),
    }


def _card_score(card: Mapping[str, object]) -> str:
    """Format the accuracy on val with its spread; empty if the card has none."""
    scores = card.get("scores")
    val = scores.get("val") if isinstance(scores, Mapping) else None
    if not isinstance(val, Mapping) or not isinstance(val.get("acc"), (int, float)):
        return ""
    std = val.get("acc_std")  # null for one student
    std = float(std) if isinstance(std, (int, float)) else math.nan
    sizes = [len(val[key]) for key in ("seeds", "architectures") if isinstance(val.get(key), list)]
    students = math.prod(sizes) if len(sizes) == 2 else 0
    value = estimate(float(val["acc"]), std, math.nan, students, (0, 1))
    interval = f" {bracket(value)}" if bracket(value) else ""
    return f"accuracy {spread(value)}{interval} %, {value.n or 'unknown number of'} students; selected on this split"
