"""Contents of the report's sections. The templates turn them into HTML and escape them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import torch
from PIL import Image

from lightning_distill.evaluation.labels import display_name, name_of_file
from lightning_distill.evaluation.metrics.classification import compute_metrics
from lightning_distill.evaluation.metrics.intervals import Estimate, bootstrap_interval, student_interval
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.report.captions import (
    Caption,
    confusion_caption,
    recall_caption,
    reliability_caption,
    score_against_ipc_caption,
)
from lightning_distill.report.curves import against_ipc
from lightning_distill.report.neighbours import NearestImages
from lightning_distill.report.redact import redact_paths
from lightning_distill.report.results import THEMES, Group
from lightning_distill.report.runs import Run
from lightning_distill.report.tables import PlainTable, ResultsTable, derived_table, estimates_table, results_table
from lightning_distill.sets.card import privacy_warning
from lightning_distill.visualization.figures import figures
from lightning_distill.visualization.format import bracket, estimate, spread
from lightning_distill.visualization.image_grid import image_grid
from lightning_distill.visualization.style import Picture, png_picture, svg_picture

#: Scores that are drawn against images per class.
CURVES = ("acc", "balanced_acc")
#: Scores in the table above the figures of predictions.
HEADLINE = {"acc": "accuracy, %", "balanced_acc": "balanced accuracy, %", "auroc": "AUROC, %"}
CAPTIONS = {"confusion": confusion_caption, "reliability": reliability_caption, "recall": recall_caption}


@dataclass(frozen=True)
class CaptionedFigure:
    """Figure with its caption.

    Args:
        picture: Figure as a ``data:`` URI.
        caption: Alternative text, title and text.
    """

    picture: Picture
    caption: Caption


@dataclass(frozen=True)
class ResultsSection:
    """Tables and curves of one group of comparable rows.

    Args:
        dataset: Name of the data set; heading of the section.
        about: Source of the data, split, student networks and protocol.
        tables: One table for each theme.
        curves: Scores against images per class.
        relative_scores: Scores relative to random subsets and all real data; ``None`` if there are none.
    """

    dataset: str
    about: str
    tables: Sequence[ResultsTable]
    curves: Sequence[CaptionedFigure]
    relative_scores: PlainTable | None


@dataclass(frozen=True)
class NetworksSection:
    """Accuracy by student network.

    Args:
        dataset: Name of the data set; heading of the section.
        about: Source of the data, split and protocol.
        table: Accuracy of each set, one column for each network.
    """

    dataset: str
    about: str
    table: PlainTable


@dataclass(frozen=True)
class PredictionsSection:
    """Scores and figures computed from one file of predictions.

    Args:
        trained_on: Name of the set or baseline that the students were trained on.
        about: Data, number of images and students, networks and seeds.
        table: Scores with intervals over students and over test images.
        figures: Confusion matrix, reliability diagram and recall of each class.
    """

    trained_on: str
    about: str
    table: PlainTable
    figures: Sequence[CaptionedFigure]


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
    grid: Picture
    shown: int
    images: int
    classes: int
    shape: Sequence[int]
    storage_dtype: str
    neighbours: NeighboursFigure | None
    facts: Mapping[str, str]


def results_section(group: Group, numbers: Mapping[str, int]) -> ResultsSection:
    """Collect tables and curves of rows that may be compared.

    Args:
        group: Rows that may be compared.
        numbers: Command numbers from `number_commands`.
    """
    themes = group.scores()
    curves = [
        CaptionedFigure(
            svg_picture(against_ipc(group, name, THEMES["Scores"][name])), score_against_ipc_caption(group, name)
        )
        for name in CURVES
        if name in themes.get("Scores", {}) and len(group.results) > 1
    ]
    source = f"Source of the data: {group.alike['source']}. " if group.alike["source"] else ""
    return ResultsSection(
        dataset=group.alike["dataset"],
        about=f"{source}{group.circumstances[0].upper()}{group.circumstances[1:]}.",
        tables=[results_table(group, theme, scores, numbers) for theme, scores in themes.items()],
        curves=curves,
        relative_scores=derived_table(group),
    )


def networks_sections(groups: Sequence[Group]) -> list[NetworksSection]:
    """Tabulate accuracy by student network for each data set with students of several networks."""
    families: dict[tuple[str, ...], dict[str, dict[str, Estimate]]] = {}
    for group in groups:
        key = tuple(value for column, value in group.alike.items() if column != "network")
        for row in group.results:
            if (value := row.measured("acc")) is not None:
                size = "" if math.isinf(row.ipc) else f", {row.ipc:g} per class"
                rows = families.setdefault(key, {})
                rows.setdefault(f"{row.name}{size}", {})[group.alike["network"] or "unnamed"] = value
    caption = "Accuracy in percent, mean ± standard deviation over students, below it the 95 % interval of the mean."
    return [
        NetworksSection(key[0], ", ".join(part for part in key[1:] if part), estimates_table(caption, rows))
        for key, rows in families.items()
        if any(len(cells) > 1 for cells in rows.values())
    ]


def predictions_section(name: str, predictions: Predictions, run: str) -> PredictionsSection:
    """Collect scores and figures of one file of predictions.

    Args:
        name: Name of the file without its suffix.
        predictions: Logits and targets.
        run: Name of the run.
    """
    spec, students, groups = predictions.spec, len(predictions.logits), predictions.groups
    clusters = "" if groups is None else f" of {len(groups.unique()):,} patients, lesions or volumes"
    networks = ", ".join(dict.fromkeys(predictions.architectures))
    seeds = ", ".join(map(str, predictions.seeds))
    about = (
        f"{spec.name} ({plain(spec.source)}), {len(predictions.targets):,} images{clusters} of the {predictions.split} "
        f"split; {students} student{'s' * (students != 1)} ({networks}), seeds {seeds}; {run}."
    )
    return PredictionsSection(
        trained_on=display_name(name_of_file(name)),
        about=redact_paths(about),
        table=_headline_table(predictions),
        figures=[
            CaptionedFigure(svg_picture(figure), CAPTIONS[key](predictions))
            for key, figure in figures(predictions).items()
        ],
    )


def set_section(run: Run, neighbours: Neighbours | None) -> SetSection:
    """Collect images, card, warning and nearest real images of a set.

    Args:
        run: Run with a set.
        neighbours: Nearest real images; ``None`` if no data were given.
    """
    assert run.synthetic is not None
    data, spec = run.synthetic, run.synthetic.spec
    counts = torch.bincount(data.labels, minlength=len(spec.balance_groups))
    warning = str(run.card.get("warning") or f"The card holds no warning. {privacy_warning('unknown')}")
    return SetSection(
        name=run.name,
        warning=redact_paths(warning),
        grid=png_picture(Image.fromarray(image_grid(data.pixels, data.labels, spec))),
        shown=int(counts.clamp(max=10).sum()),
        images=len(data.labels),
        classes=len(spec.balance_groups),
        shape=spec.shape,
        storage_dtype=spec.storage_dtype,
        neighbours=None if neighbours is None else _neighbours_figure(neighbours),
        facts=_facts(run),
    )


def plain(value: object) -> str:
    """Format a value of a card as text, without folders of the machine that wrote it."""
    if value is None or value == "":
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text}" for key, part in value.items() if (text := plain(part)))
    if isinstance(value, (list, tuple)):
        return " / ".join(map(plain, value))
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return redact_paths(str(value))


def _headline_table(predictions: Predictions) -> PlainTable:
    scores = [compute_metrics(logits, predictions.targets, predictions.spec) for logits in predictions.logits]
    level = 0.95 if len(scores) > 1 else None
    over_students = {
        label: student_interval([values[metric] for values in scores], level) for metric, label in HEADLINE.items()
    }
    over_images = {HEADLINE[metric]: bootstrap_interval(predictions, metric) for metric in ("acc", "balanced_acc")}
    unit = "over images" if predictions.groups is None else "over groups, such as patients"
    caption = "Mean ± standard deviation over students and standard error over images, each with its 95 % interval."
    return estimates_table(caption, {"over students": over_students, unit: over_images})


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
        "scores on val": _card_score(card),
        "date": plain(card.get("date")),
        "settings": plain(card.get("hyper_parameters")),
        "versions": plain(card.get("versions")),
        "use": plain(card.get("use")),
        "valid augmentation": plain(card.get("augmentation")),
        "sha256": plain(card.get("sha256")),
    }


def _card_score(card: Mapping[str, object]) -> str:
    """Format the accuracy on val with its spread; empty if the card has no spread."""
    scores = card.get("scores")
    val = scores.get("val") if isinstance(scores, Mapping) else None
    if not isinstance(val, Mapping) or not all(isinstance(val.get(key), (int, float)) for key in ("acc", "acc_std")):
        return ""
    sizes = [len(val[key]) for key in ("seeds", "architectures") if isinstance(val.get(key), list)]
    value = estimate(float(val["acc"]), float(val["acc_std"]), math.nan, math.prod(sizes) if len(sizes) == 2 else 0)
    interval = f" {bracket(value)}" if bracket(value) else ""
    return f"accuracy {spread(value)}{interval} %, {value.n or 'unknown number of'} students; selected on this split"
