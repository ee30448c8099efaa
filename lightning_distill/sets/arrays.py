"""Arrays of a set file: conversion to and from a ``LabeledSet``, and the digest over arrays and card."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.schema import check_arrays, check_card
from lightning_distill.spec import DataSpec

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

Card = dict[str, object]
Arrays = dict[str, NDArray[np.generic]]


def set_to_arrays(data: LabeledSet) -> Arrays:
    """Return the arrays of a set as they are stored, see `storage`.

    Args:
        data: Pixels ``(N, C, H, W)`` in their storage dtype, labels, spec, and optional soft labels and learning rate.
    """
    arrays: Arrays = {
        "images": np.ascontiguousarray(data.pixels.numpy()),
        "labels": (data.spec.targets(data.labels) if data.labels.ndim == 1 else data.labels).numpy().astype(np.int64),
        **statistics_arrays(data.spec),
    }
    if data.soft_labels is not None:
        arrays["soft_labels"] = np.ascontiguousarray(data.soft_labels.numpy().astype(np.float32))
    if data.lr is not None:
        arrays["lr"] = np.array(data.lr, np.float32)
    if data.formation > 1:
        arrays["formation"] = np.array(data.formation, np.int64)
    return arrays


def statistics_arrays(spec: DataSpec) -> Arrays:
    """Return the arrays ``mean`` and ``std``, float32, one number a channel."""
    return {"mean": np.array(spec.mean, np.float32), "std": np.array(spec.std, np.float32)}


def arrays_to_set(arrays: Arrays, card: object, name: str) -> LabeledSet:
    """Verify arrays and card, and return the set.

    Args:
        arrays: Arrays by name.
        card: Decoded JSON of the card.
        name: Name of the file in error messages.

    Raises:
        ValueError: Arrays or card do not match the digest, or are not those of a set.
    """
    try:
        check_card(card)
        assert isinstance(card, dict)
        expected, spec = card["sha256"], DataSpec.from_dict(card["data"])
        actual = digest(arrays, card if card.get("format", 1) != 1 else None)
        same_units = all(np.array_equal(np.float32(getattr(spec, key)), arrays[key]) for key in ("mean", "std"))
        if actual == expected and same_units:
            check_arrays(arrays, spec)
        labels = torch.from_numpy(arrays["labels"])
        labels = spec.group_indices(labels) if spec.multi_label else labels
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise unreadable(name, error) from error
    if actual != expected or not same_units:
        raise ValueError(f"{name} was changed after it was written (sha256 differs); obtain the file again")
    soft = torch.from_numpy(arrays["soft_labels"]) if "soft_labels" in arrays else None
    lr = float(arrays["lr"]) if "lr" in arrays else None
    formation = int(arrays["formation"]) if "formation" in arrays else 1
    return LabeledSet(torch.from_numpy(arrays["images"]), labels, spec, soft, lr, formation)


def unreadable(name: str, error: object) -> ValueError:
    """Return the error of a file that cannot be read as a set.

    Args:
        name: Name of the file.
        error: Cause.
    """
    return ValueError(f"{name} is not a readable set file: {error}; obtain the file again")


def digest(arrays: Arrays, card: Card | None = None) -> str:
    """Compute the sha256 over name, dtype, shape and little-endian bytes of each array, sorted by name, and the card.

    Args:
        arrays: Arrays by name.
        card: Card whose entries are hashed too, as JSON with sorted keys, except ``sha256`` itself.
    """
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        begin_array(sha, name, array.dtype, array.shape)
        sha.update(array.tobytes())
    if card is not None:
        add_card(sha, card)
    return sha.hexdigest()


def begin_array(sha: Hash, name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    """Add name, dtype and shape of an array to a digest; its bytes follow.

    Args:
        sha: Digest.
        name: Name of the array.
        dtype: Dtype of the array.
        shape: Shape of the array.
    """
    sha.update(f"{name} {dtype.str} {shape}\n".encode())


def add_card(sha: Hash, card: Card) -> None:
    """Add a card to a digest, without its entry ``sha256``.

    Args:
        sha: Digest.
        card: Card.
    """
    hashed = {key: value for key, value in card.items() if key != "sha256"}
    sha.update(json.dumps(json.loads(json.dumps(hashed)), sort_keys=True).encode())
