"""``--to npz``: one file ``set.npz`` in MedMNIST's form, with ``train_images`` and ``train_labels``.

``train_images`` (N, H, W) or (N, H, W, C) in the dtype of the set, ``train_labels`` (N, 1), or (N, K) for multi-label
data, ``train_soft_labels`` where the set has them, ``card`` and ``export`` as text. The file is not compressed: readers
can map it, and it cannot unpack to more than its size.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_distill.sets.arrays import Arrays, Card, statistics_arrays
from lightning_distill.sets.export.labels import parse_soft_labels, soft_label_rows
from lightning_distill.sets.export.record import ExportFormat, ExportRecord, PreparedSet
from lightning_distill.sets.schema import check_card
from lightning_distill.spec import DataSpec

FILE = "set.npz"
#: Largest number of arrays in a file.
MEMBERS = 8


def _write(prepared: PreparedSet) -> dict[str, bytes]:
    codes, labels = prepared.codes, prepared.arrays["labels"]
    small = np.uint8 if prepared.spec.num_classes <= 256 else np.int64
    arrays = {
        "train_images": codes[:, 0] if codes.shape[1] == 1 else np.ascontiguousarray(codes.transpose(0, 2, 3, 1)),
        "train_labels": labels.reshape(len(labels), -1).astype(small),
        "card": np.array(prepared.card_json.decode()),
        "export": np.array(prepared.record.to_json()),
    }
    soft = soft_label_rows(prepared)
    if soft is not None:
        arrays["train_soft_labels"] = soft
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type,unused-ignore]
    return {FILE: buffer.getvalue()}


def _read(path: Path) -> tuple[Arrays, Card]:
    try:
        stored = _read_arrays(path)
        card = json.loads(str(stored["card"]))
        check_card(card)
        record, spec = ExportRecord.from_json(str(stored["export"])), DataSpec.from_dict(card["data"])
        images, labels = stored["train_images"], stored["train_labels"].astype(np.int64)
    except KeyError as error:
        raise ValueError(f"it holds no {error.args[0]!r}; `NpzDataModule` reads an npz file of real data") from error
    except (
        zipfile.BadZipFile, OSError, EOFError, TypeError, AttributeError, RecursionError, RuntimeError, IndexError,
    ) as error:  # fmt: skip
        raise ValueError("it is truncated or no npz file") from error
    arrays: Arrays = {
        "images": images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2)),
        "labels": labels if spec.multi_label else labels[:, 0],
        **statistics_arrays(spec),
        **parse_soft_labels(stored.get("train_soft_labels", np.empty((1, 0))).tolist(), spec.num_classes),
        **record.arrays(),
    }
    return arrays, card


def _read_arrays(path: Path) -> Arrays:
    """Read uncompressed arrays; nothing is allocated beyond the size of the file, and nothing is unpickled."""
    arrays: Arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MEMBERS:
            raise ValueError(f"it holds {len(members)} arrays, more than an export")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed, which an export is not")
            arrays[member.filename.removesuffix(".npy")] = _parse_array(archive.read(member), member.filename)
    return arrays


def _parse_array(content: bytes, name: str) -> NDArray[np.generic]:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    values = memoryview(content)[file.tell() :]
    if dtype.hasobject or fortran or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{name} holds Python objects, or fewer values than it declares")
    return np.frombuffer(values, dtype).reshape(shape).copy()


NPZ = ExportFormat("npz", "stored", (), _write, _read)
