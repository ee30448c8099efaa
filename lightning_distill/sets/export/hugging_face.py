"""``--to hf``: a data set folder for the Hugging Face Hub with PNG files, its card, and Croissant metadata.

``train/000000.png`` and so on, ``train/metadata.jsonl`` with a row for each image in the order of the set
(``file_name``; ``label``, or the list ``labels`` of class indices for multi-label data; ``soft_labels``), ``README.md``
with YAML front matter, and ``croissant.json``. ``datasets.load_dataset(folder)`` reads it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_distill.sets.arrays import Arrays, Card, statistics_arrays
from lightning_distill.sets.export.croissant import METADATA, croissant
from lightning_distill.sets.export.folder_files import read_common_files, with_common_files
from lightning_distill.sets.export.hub_card import hub_card
from lightning_distill.sets.export.labels import parse_soft_labels, soft_label_rows
from lightning_distill.sets.export.pixels import restore
from lightning_distill.sets.export.png_files import MODES, encode_png, read_pngs
from lightning_distill.sets.export.record import ExportFormat, PreparedSet

_NAME = re.compile(r"\d{6,}\.png", re.ASCII)


def _write(prepared: PreparedSet) -> dict[str, bytes]:
    files, rows, soft = {}, [], soft_label_rows(prepared)
    for number, (image, label) in enumerate(zip(prepared.codes, prepared.arrays["labels"], strict=True)):
        name = f"{number:06}.png"
        files[f"train/{name}"] = encode_png(image)
        row: dict[str, object] = {"file_name": name}
        row |= {"labels": np.flatnonzero(label).tolist()} if label.ndim else {"label": int(label)}
        row |= {} if soft is None else {"soft_labels": [float(str(value)) for value in soft[number]]}
        rows.append(json.dumps(row))
    files[METADATA] = "".join(f"{row}\n" for row in rows).encode()
    files["croissant.json"] = croissant(prepared, files[METADATA])
    files["README.md"] = hub_card(prepared)
    return with_common_files(files, prepared)


def _read(folder: Path) -> tuple[Arrays, Card]:
    card, spec, record = read_common_files(folder)
    try:
        rows = [json.loads(line) for line in (folder / METADATA).read_text(encoding="utf-8").splitlines()]
        names = [str(row["file_name"]) for row in rows]
        labels = [row["labels" if spec.multi_label else "label"] for row in rows]
        soft = [row.get("soft_labels", []) for row in rows]
    except (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"{METADATA} is missing or damaged") from error
    if not all(map(_NAME.fullmatch, names)):
        raise ValueError(f"{METADATA} names other files than its own")
    arrays: Arrays = {
        "images": restore(read_pngs(folder / "train", names, spec.shape), spec),
        "labels": _rows(labels, spec.num_classes) if spec.multi_label else np.array(labels, np.int64),
        **statistics_arrays(spec),
        **parse_soft_labels(soft, spec.num_classes),
        **record.arrays(),
    }
    return arrays, card


def _rows(labels: list[list[int]], classes: int) -> NDArray[np.int64]:
    rows = np.zeros((len(labels), classes), np.int64)
    for row, indices in zip(rows, labels, strict=True):
        row[indices] = 1
    return rows


HUGGING_FACE = ExportFormat("hf", "uint8", tuple(MODES), _write, _read)
