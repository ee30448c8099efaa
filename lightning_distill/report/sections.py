"""A set on the page: its warning, its images, the real images that are near, and its card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath

import numpy as np
import torch
from PIL import Image

from lightning_distill.report.html import figure_tag, image_tag
from lightning_distill.report.neighbours import NearestImages
from lightning_distill.report.redact import redact_paths
from lightning_distill.report.runs import Run
from lightning_distill.sets.card import privacy_warning
from lightning_distill.visualization.format import bracket, estimate, spread
from lightning_distill.visualization.image_grid import image_grid
from lightning_distill.visualization.style import png_picture


@dataclass(frozen=True)
class Neighbours:
    """What was found around the images of one set.

    Args:
        bands: of each class, the images, each above its nearest real ones.
        train: nearest in the training split.
        val: nearest in the validation split.
        real: how near images of the validation split come to the training split.
        data: the data's name.
    """

    bands: Sequence[Image.Image]
    train: NearestImages
    val: NearestImages
    real: NearestImages
    data: str


def set_section(run: Run, neighbours: Neighbours | None) -> str:
    """The images of a set, its card and its warning, and what real images are near."""
    assert run.synthetic is not None
    data, card = run.synthetic, run.card
    counts = torch.bincount(data.labels, minlength=len(data.spec.balance_groups))
    shown = int(counts.clamp(max=10).sum())
    each = "" if shown == len(data.labels) else f" (the first {shown} of {len(data.labels):,})"
    grid = png_picture(Image.fromarray(image_grid(data.pixels, data.labels, data.spec)))
    warned = str(card.get("warning") or f"The card holds no warning. {privacy_warning('unknown')}")
    near = "" if neighbours is None else _neighbours(neighbours)
    return (
        f"<section><h2>The set {escape(run.name)}</h2>"
        f"<p class=warning role=note><b>Warning.</b> {escape(redact_paths(warned))}</p>"
        + figure_tag(
            grid,
            f"Images of the set {run.name}, a row for each class",
            f"<b>The set as it is shipped</b>{each}: {len(data.labels):,} images of {len(data.spec.balance_groups)} classes, "
            f"{' &times; '.join(map(str, data.spec.shape))} (channels, height, width), {data.spec.storage_dtype}.",
            "plate",
        )
        + near
        + f"<dl class=card>{_facts(run)}</dl></section>"
    )


def _neighbours(found: Neighbours) -> str:
    train, val = found.train, found.val
    nearer = int((train.distances < val.distances).sum())
    chance = train.pool / (train.pool + val.pool)
    medians = [float(np.median(part.distances)) for part in (train, val, found.real)]
    equal = f"{train.equal} of them equal a training image in every pixel. " if train.equal else ""
    alt = "Images of the set, each above its nearest real image from train and from val"
    images = "".join(image_tag(png_picture(band, 1.6), alt) for band in found.bands)
    return (
        f"<figure class='plate bands'><div class=wide>{images}</div><figcaption>"
        f"<b>Nearest real images in {escape(found.data)}.</b> Up to ten images of each class, each above its nearest "
        f"of {train.pool:,} training images and of {val.pool:,} validation images, with the distance: the root mean "
        "square difference per pixel of normalised images, in standard deviations of the training pixels; 0 is the "
        "same image."
        "</figcaption></figure>"
        f"<p>Of {len(train.distances):,} images in the set, {nearer:,} are nearer to train than to val (median "
        f"distance {medians[0]:.2f} and {medians[1]:.2f}). {equal}By the sizes of the splits alone, one more image of "
        f"the same source would be nearer to train with a chance of {100 * chance:.0f} %; the median image of val lies "
        f"{medians[2]:.2f} from its nearest in train.</p>"
        "<p class=plain>Nearer to train than to val is expected of copies. What is shown here says nothing by itself "
        "about what could be inferred from the set about the images it was made from.</p>"
    )


def _facts(run: Run) -> str:
    """The card, as far as people read it."""
    assert run.synthetic is not None
    card, spec = run.card, run.synthetic.spec
    counts = torch.bincount(run.synthetic.labels, minlength=len(spec.balance_groups)).tolist()
    each = f"{counts[0]} each" if len(set(counts)) == 1 else ", ".join(
        f"{name} {count}" for name, count in zip(spec.balance_groups, counts, strict=True)
    )  # fmt: skip
    facts = {
        "data": f"{spec.name} ({plain(spec.source)}), licence: {plain(spec.license)}",
        "method": plain(card.get("method")),
        "steps": plain(card.get("steps")),
        "images began as": plain(card.get("start")),
        "images": f"{sum(counts):,}: {each}",
        "scores on val": _card_score(card),
        "made": plain(card.get("date")),
        "settings": plain(card.get("hyper_parameters")),
        "versions": plain(card.get("versions")),
        "use": plain(card.get("use")),
        "valid augmentation": plain(card.get("augmentation")),
        "sha256": plain(card.get("sha256")),
    }
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in facts.items() if text)


def _card_score(card: Mapping[str, object]) -> str:
    """Accuracy on val with what is known of its spread; nothing where it would be a bare number."""
    scores = card.get("scores")
    val = scores.get("val") if isinstance(scores, Mapping) else None
    if not isinstance(val, Mapping) or not all(isinstance(val.get(key), (int, float)) for key in ("acc", "acc_std")):
        return ""
    sizes = [len(val[key]) for key in ("seeds", "architectures") if isinstance(val.get(key), list)]
    value = estimate(float(val["acc"]), float(val["acc_std"]), math.nan, math.prod(sizes) if len(sizes) == 2 else 0)
    known = f" {bracket(value)}" if bracket(value) else ""
    return f"accuracy {spread(value)}{known} %, {value.n or 'unknown number of'} students; chosen on this split"


def plain(value: object) -> str:
    """A value of a card as text, without folders of the machine that made it."""
    if value is None or value == "":
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text}" for key, part in value.items() if (text := plain(part)))
    if isinstance(value, (list, tuple)):
        return " / ".join(map(plain, value))
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return redact_paths(str(value))
