"""Real images that a set exposes most: the closest pairs, and the images that an attack finds most often."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_distill.audit.resemblance import resemblance
from lightning_distill.data import ArrayDataModule
from lightning_distill.report.exposed_pairs import ExposedPairs, pair_picture
from lightning_distill.sets.labeled_set import LabeledSet

#: Number of closest pairs.
PAIRS = 10
#: Name of the result in the folder of an audit.
RESULT = "audit.json"


def exposed_pairs(
    synthetic_set: LabeledSet,
    audit: Mapping[str, Any],
    data: ArrayDataModule,
    folder: str | os.PathLike[str] | None = None,
) -> ExposedPairs:
    """Draw the closest pairs of real and synthetic images, and the most exposed real images.

    The pictures show real images of the training split. The card of a set names none of them: they can only be drawn
    where the data are, and the exposed ones only with the folder of the audit.

    Args:
        synthetic_set: Audited set.
        audit: Audit in the card of the set.
        data: Data that the set was made from.
        folder: Folder of the audit with ``audit.json``; ``None`` draws the closest pairs alone.

    Raises:
        FileNotFoundError: The folder holds no audit.
        ValueError: The data are not those of the audit, or the folder holds another audit.
    """
    data.prepare_data()
    data.setup()
    spec, (real, _) = data.spec, data.all_train_arrays()
    if len(real) != audit["about"]["images"]:
        raise ValueError(
            f"the audit is of {audit['about']['images']:,} training images, {spec.name} has {len(real):,}; give the "
            "data that the set was made from"
        )
    listed = None if folder is None else most_exposed_rows(Path(folder), audit)
    pixels = synthetic_set.decode().pixels.float()
    found = resemblance(pixels, real, spec)
    order = np.argsort(-found.correlation, kind="stable")[:PAIRS]
    correlations = [float(value) for value in found.correlation[order]]
    shown = torch.from_numpy(np.ascontiguousarray(real[found.rows[order]])).float()
    closest = pair_picture(
        pixels[torch.from_numpy(order)], shown, spec, ("in the set", "training image"),
        [f"{value:.2f}" for value in correlations],
    )  # fmt: skip
    picture = None
    if listed is not None:
        images = torch.from_numpy(np.ascontiguousarray(real[[one["number"] for one in listed["exposed"]]])).float()
        beside = resemblance(images, pixels.numpy(), spec).rows
        picture = pair_picture(
            pixels[torch.from_numpy(beside)], images, spec, ("most alike in the set", "training image"),
            [f"{one['found']}/{one['runs']}, {one['wrongly']}/{one['others']}" for one in listed["exposed"]],
        )  # fmt: skip
    return ExposedPairs(closest, correlations, picture, listed["attack_label"] if listed else "", spec.name)


def most_exposed_rows(folder: Path, audit: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row of the strongest attack on images with the rows of the training images that it finds most often.

    Args:
        folder: Folder of an audit.
        audit: Audit in the card of a set; that of the folder must be the same.

    Raises:
        FileNotFoundError: The folder holds no audit.
        ValueError: The audit is not readable, or is another one than that of the card.
    """
    path = folder / RESULT
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; give the folder of audit-set, its option --out")
    try:
        local = json.loads(path.read_text("utf-8"))["rows"]
        public = [{**row, "exposed": [_public(one) for one in row["exposed"]]} for row in local]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the result of an audit; give the folder of audit-set") from error
    if json.dumps(public, sort_keys=True) != json.dumps(audit["rows"], sort_keys=True):
        raise ValueError(f"{path} is another audit than the one in the card of the set; give the folder of that one")
    recipe = audit["about"]["recipe_name"]
    own = [row for row in local if (row["recipe"], row["target"], row["unit"]) == (recipe, "shadows", "image")]
    strongest: Mapping[str, Any] = max(own, key=lambda row: (row["rates"][0]["tpr"] or 0.0, row["auc"]))
    return strongest


def _public(exposed: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in exposed.items() if key != "number"}
