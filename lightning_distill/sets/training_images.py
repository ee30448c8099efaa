"""Hashes of the images that a set was made from, in its card, so that nobody scores it on images it has seen.

A hash reveals no image. It does tell whoever already holds an image whether it was among the training images, as
exactly as a list of files would. Leave the entry out (``training_hashes=False``) where that must not be told.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Bytes that are kept of each hash: 10,000 kept and 10,000 scored images give a false match once in 11,000 runs.
HASH_BYTES = 5
#: Largest number of hashes in a card, a random choice among more images. Bounds the card to 67 KB.
LIMIT = 10_000
#: Name of the entry in a card.
ENTRY = "training_images"


def hash_training_images(images: Any, limit: int = LIMIT) -> list[dict[str, object]]:
    """Return the entry ``training_images`` of a card.

    Args:
        images: Training images ``(N, C, H, W)`` in pixel units, as they are after resizing and before normalisation.
        limit: Largest number of hashes.

    Returns:
        A list of one record: ``count`` (number of images), ``kept`` (number of hashes), ``key`` (hexadecimal; a hash of
        the images, so that equal runs write equal files), ``bytes`` (of a hash) and ``hashes`` (sorted, base64).
    """
    count = len(images)
    rows = np.arange(count)
    if count > limit:
        rows = np.sort(np.random.default_rng(count).choice(count, limit, replace=False))
    whole = [_hash(np.asarray(images[int(row)]), 16) for row in rows]
    key = blake2b(b"".join(whole), digest_size=16).digest()
    hashes = sorted(_keyed(image, key, HASH_BYTES) for image in whole)
    return [{
        "count": count, "kept": len(hashes), "key": key.hex(), "bytes": HASH_BYTES,
        "hashes": base64.b64encode(b"".join(hashes)).decode(),
    }]  # fmt: skip


def rows_trained_on(images: Any, entry: object) -> NDArray[np.int64]:
    """Return the rows of those images whose hash is among the training images of a card.

    Args:
        images: Images ``(N, C, H, W)`` in pixel units.
        entry: Entry ``training_images`` of a card; anything else than such an entry names no image.

    Returns:
        Sorted row numbers.
    """
    known = _read_entry(entry)
    if not known:
        return np.zeros(0, np.int64)
    rows = []
    for row in range(len(images)):
        image = np.asarray(images[row])
        whole = _hash(image, 16)
        if any(_keyed(whole, record.key, record.size) in record.hashes for record in known):
            rows.append(row)
    return np.asarray(rows, np.int64)


def count_training_images(entry: object) -> tuple[int, int]:
    """Return the number of training images of a card, and of their hashes; 0 and 0 where it holds no such entry.

    Args:
        entry: Entry ``training_images`` of a card, from a file that anybody may have written.
    """
    known = _read_entry(entry)
    return sum(each.total for each in known), sum(each.kept for each in known)


def join_training_images(entries: Iterable[object]) -> list[dict[str, object]]:
    """Return the entry of a set that is joined from several, with sets made from the same images counted once.

    Args:
        entries: Entries ``training_images`` of the cards; ``None`` where a card has none.
    """
    joined: dict[_Record, dict[str, object]] = {}
    for entry in entries:
        for record in entry if isinstance(entry, Sequence) else ():
            if (read := _read(record)) is not None:
                joined.setdefault(read, dict(record))
    return list(joined.values())


class _Record(NamedTuple):
    total: int
    kept: int
    key: bytes
    size: int
    hashes: frozenset[bytes]


def _hash(image: NDArray[Any], size: int) -> bytes:
    """Return the hash of shape and values of an image, whatever its data type."""
    values = np.ascontiguousarray(image, dtype="<f4")
    made = blake2b(str(values.shape).encode(), digest_size=size)
    made.update(values.tobytes())
    return made.digest()


def _keyed(image: bytes, key: bytes, size: int) -> bytes:
    return blake2b(image, digest_size=size, key=key).digest()


def _read_entry(entry: object) -> list[_Record]:
    """Return the records of an entry that have the form of one; records of another form are left out."""
    read = [_read(record) for record in entry] if isinstance(entry, Sequence) else []
    return [each for each in read if each is not None]


def _read(record: object) -> _Record | None:
    if not isinstance(record, Mapping):
        return None
    try:
        key, size, packed = bytes.fromhex(record["key"]), int(record["bytes"]), base64.b64decode(record["hashes"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    if not 1 <= size <= 64 or len(key) > 64 or len(packed) % size:
        return None
    kept, count = len(packed) // size, record.get("count")  # equal images have equal hashes
    hashes = frozenset(packed[at : at + size] for at in range(0, len(packed), size))
    return _Record(count if isinstance(count, int) and count >= kept else kept, kept, key, size, hashes)
