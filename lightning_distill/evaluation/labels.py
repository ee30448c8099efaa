"""Names of baselines in code and result files, and their captions in print."""

from __future__ import annotations

import re
from typing import Literal

from lightning_distill._renamed import CELLS
from lightning_distill.sets.coresets import Space

#: Baselines by their key: the value of the column ``trained_on`` in result files.
BaselineName = Literal[
    "random",
    "herding",
    "herding_embedding",
    "kcenter",
    "kcenter_embedding",
    "kmeans",
    "kmeans_embedding",
    "full",
    "full_weighted",
    "full_balanced",
]
#: Baselines that use the whole training split.
FULL_BASELINES: tuple[BaselineName, ...] = ("full", "full_weighted", "full_balanced")
#: Captions of the baselines (`BaselineName`) in print, in the order of tables. `display_name` has those of methods.
LABELS: dict[str, str] = {
    "random": "random subset",
    "herding": "herding",
    "herding_embedding": "herding (embedding)",
    "kcenter": "k-center",
    "kcenter_embedding": "k-center (embedding)",
    "kmeans": "k-means",
    "kmeans_embedding": "k-means (embedding)",
    "full": "all real data",
    "full_weighted": "all real data, classes weighted",
    "full_balanced": "all real data, balanced",
}
#: End of the file name of predictions of students with soft labels beside those with hard labels.
SOFT = "_soft_labels"


def display_name(trained_on: str, *, soft: bool = False) -> str:
    """Return the caption of a baseline or method in print.

    Args:
        trained_on: Key of `LABELS`, or name of a method such as ``DMDistiller``, with its form behind a comma.
        soft: Whether the students were trained on soft labels.

    Example:
        >>> display_name("kcenter_embedding"), display_name("DMDistiller"), display_name("DMDistiller, 2 x 2")
        ('k-center (embedding)', 'DM', 'DM, 2 x 2')
    """
    method, comma, form = trained_on.partition(",")
    name = method.removesuffix("Distiller").removesuffix("Generator") or method
    name = LABELS.get(trained_on) or f"{name}{comma}{form}"
    return f"{name}, soft labels" if soft else name


def coreset_baseline(method: str, space: Space = "pixels") -> str:
    """Return the key of a coreset baseline.

    Args:
        method: Coreset method (`coresets.METHODS`).
        space: Space of the distances between images.
    """
    return method if space == "pixels" else f"{method}_embedding"


def coreset_method(trained_on: str) -> str | None:
    """Return the method of a coreset baseline; ``None`` for any other key.

    Args:
        trained_on: Key of `LABELS`, or name of a method.
    """
    if trained_on in FULL_BASELINES or trained_on not in LABELS:
        return None
    return trained_on.removesuffix("_embedding")


def file_stem(trained_on: str, *, soft: bool = False) -> str:
    """Return the file name, without suffix, of the predictions of students trained on a baseline or set.

    Args:
        trained_on: Key of `LABELS`, or name of a method.
        soft: Whether the name ends in ``_soft_labels``.
    """
    return re.sub(r"[^A-Za-z0-9]+", "_", trained_on) + (SOFT if soft else "")


def name_of_file(stem: str) -> str:
    """Return the baseline or method that `file_stem` made a file name of, from this version or from version 0.1.0.

    Args:
        stem: File name without suffix.

    Example:
        >>> name_of_file("all_real_data_balanced"), name_of_file("DMDistiller")
        ('full_balanced', 'DMDistiller')
    """
    old = {file_stem(name).strip("_"): new for name, new in CELLS["trained_on"].items()}
    name = old.get(stem.strip("_"), stem.strip("_"))
    return name if name in LABELS else name.replace("_", " ")
