"""Set file that is written in parts, for sets that memory does not hold."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from torch import Tensor

from lightning_distill.sets.adapt import to_stored_dtype
from lightning_distill.sets.arrays import Arrays, Card, add_card, begin_array, statistics_arrays
from lightning_distill.sets.storage import CARD, SET, card_text, complete_card
from lightning_distill.spec import DataSpec
from lightning_distill.utils.atomic_files import remove_stale_temporaries, temporary_beside, write_files_atomically

#: Names of dtypes in safetensors files.
DTYPES = {"uint8": "U8", "float16": "F16", "int64": "I64", "float32": "F32"}
#: Bytes to which a header is padded.
ALIGNMENT = 8


def save_set_in_parts(
    folder: str | os.PathLike[str], parts: Iterable[Tensor], labels: Tensor, spec: DataSpec, card: Card
) -> Path:
    """Write ``set.safetensors`` and ``card.json`` like `storage.save_set`, one part of the images at a time.

    The file is written beside its target and renamed; on failure an older pair is kept.

    Args:
        folder: Target folder. Created if missing.
        parts: Images ``(n, C, H, W)`` in pixel units, N in all. They are clipped and rounded to the storage dtype.
        labels: Indices ``(N,)`` int64 into `DataSpec.balance_groups`.
        spec: Specification of the set.
        card: JSON-compatible card, see `card.make_card`. The spec and the hash are added here.

    Returns:
        The path of ``set.safetensors``.

    Raises:
        ValueError: The parts hold another number of images than there are labels, or images of another shape.
        OSError: The folder cannot be written, or the disk is full.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / SET
    arrays: Arrays = {"labels": spec.targets(labels).numpy().astype(np.int64), **statistics_arrays(spec)}
    images = (np.dtype(spec.storage_dtype), (len(labels), *spec.shape))
    card = {**complete_card(card, spec), "sha256": 64 * "0"}
    remove_stale_temporaries(target)
    temporary = temporary_beside(target)
    try:
        with temporary.open("wb") as file:
            file.write(_header(card, arrays, images))
            for array in arrays.values():
                file.write(array.tobytes())
            card["sha256"] = _write_images(file, parts, images, spec, arrays, card)
            file.seek(0)
            file.write(_header(card, arrays, images))  # as long as the first one: all digests have one length
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    write_files_atomically({folder / CARD: card_text(card).encode()})
    return target


def _write_images(
    file: BinaryIO,
    parts: Iterable[Tensor],
    images: tuple[np.dtype[np.generic], tuple[int, ...]],
    spec: DataSpec,
    arrays: Arrays,
    card: Card,
) -> str:
    """Write the images and return the digest of the whole set."""
    sha, written, total = hashlib.sha256(), 0, images[1][0]
    begin_array(sha, "images", *images)
    for part in parts:
        if tuple(part.shape[1:]) != spec.shape or written + len(part) > total:
            raise ValueError(
                f"{written + len(part)} images of the shape {tuple(part.shape[1:])}; the set has {images[1]}"
            )
        content = to_stored_dtype(part, spec).contiguous().numpy().tobytes()
        sha.update(content)
        file.write(content)
        written += len(part)
    if written != total:
        raise ValueError(f"{written} images for {total} labels; give one image for each")
    for name in sorted(arrays):
        begin_array(sha, name, arrays[name].dtype, arrays[name].shape)
        sha.update(arrays[name].tobytes())
    add_card(sha, card)
    return sha.hexdigest()


def _header(card: Card, arrays: Arrays, images: tuple[np.dtype[np.generic], tuple[int, ...]]) -> bytes:
    """Return the header of a safetensors file with the arrays in their order, and the images behind them."""
    described: dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]] = {
        **{name: (array.dtype, array.shape) for name, array in arrays.items()}, "images": images
    }  # fmt: skip
    entries: dict[str, Mapping[str, object]] = {"__metadata__": {"card": card_text(card)}}
    start = 0
    for name, (dtype, shape) in described.items():
        end = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        entries[name] = {"dtype": DTYPES[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
