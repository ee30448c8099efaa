"""Check of a set file that was read: arrays and card must be those of a set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_distill.sets.formation import validate_formation
from lightning_distill.spec import DataSpec

#: Versions of the set file that are read. From version 2 on, the sha256 covers the card too.
VERSIONS = (1, 2)
#: Largest depth of nested lists and objects in a card.
MAX_DEPTH = 16


def check_card(card: object) -> None:
    """Raise ValueError for a card that is no object, of an unknown version, or nested too deeply.

    Args:
        card: Decoded JSON.
    """
    if not isinstance(card, dict):
        raise ValueError("its card is no JSON object")
    version = card.get("format", 1)
    if version not in VERSIONS:
        raise ValueError(f"it has format version {version!r}; this release reads {', '.join(map(str, VERSIONS))}")
    if depth(card) > MAX_DEPTH:
        raise ValueError(f"its card is nested more than {MAX_DEPTH} levels deep")


def depth(value: object) -> int:
    """Return the number of nested lists and objects.

    >>> depth({"a": [1, {"b": 2}]})
    3
    """
    deepest, level = 0, [value]
    while level:
        inside = [part for part in level if isinstance(part, (dict, list))]
        deepest += bool(inside)
        level = [item for part in inside for item in (part.values() if isinstance(part, dict) else part)]
    return deepest


def check_arrays(arrays: Mapping[str, NDArray[Any]], spec: DataSpec) -> None:
    """Raise ValueError for arrays that are not finite, out of range, or of the wrong type or shape.

    Args:
        arrays: Arrays of the file by name, see `storage`.
        spec: Specification of the card.
    """
    images, labels, classes = arrays["images"], arrays["labels"], spec.num_classes
    count = len(images)
    known = images.dtype == np.uint8 or np.issubdtype(images.dtype, np.floating)
    _require(known, f"images have the type {images.dtype}, not uint8 or a floating-point type")
    _require(count > 0 and images.shape[1:] == spec.shape, f"images have the shape {images.shape}, not N, {spec.shape}")
    _require(_finite(images), "images are not finite")
    shape = (count, classes) if spec.multi_label else (count,)
    _require(labels.dtype == np.int64 and labels.shape == shape, f"labels have the shape {labels.shape}")
    _require(bool(((labels >= 0) & (labels < (2 if spec.multi_label else classes))).all()), "labels are no classes")
    for name in ("mean", "std"):
        values = arrays[name]
        _require(values.shape == spec.shape[:1] and _finite(values), f"{name} is not one finite number a channel")
    _require(bool((arrays["std"] > 0).all()), "std is not above 0")
    formation = arrays.get("formation", np.array(1))
    _require(formation.shape == () and np.issubdtype(formation.dtype, np.integer), "formation is no whole number")
    validate_formation(int(formation), spec.shape)
    if "soft_labels" in arrays:
        soft, rows = arrays["soft_labels"], count * int(formation) ** 2
        _require(soft.shape == (rows, classes), f"soft_labels have the shape {soft.shape}, not {(rows, classes)}")
        sums = np.ones(rows) if spec.multi_label else soft.astype(np.float64).sum(1)
        valid = _finite(soft) and bool(((soft >= 0) & (soft <= 1)).all()) and np.allclose(sums, 1, atol=1e-2)
        _require(valid, "soft_labels are no probabilities")
    if "lr" in arrays:
        rate = arrays["lr"]
        _require(rate.shape == () and math.isfinite(float(rate)) and float(rate) > 0, f"lr is {rate!r}")


def _finite(values: NDArray[Any]) -> bool:
    return bool(np.isfinite(values.astype(np.float64)).all())


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)
