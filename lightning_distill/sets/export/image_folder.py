"""``--to imagefolder``: PNG files in class folders and a CSV table, for torchvision and ``FolderDataModule``.

``images/0_benign/000000.png`` and so on (multi-label images lie in ``images`` itself), ``labels.csv`` with a row for
each image in the order of the set: ``path``, ``label`` (class names, ``|`` between several), ``class`` (index; for
multi-label data a 0/1 column for each class), and a column for each probability of a soft label.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from pathlib import Path

import numpy as np

from lightning_distill.sets.arrays import Arrays, Card, statistics_arrays
from lightning_distill.sets.export.folder_files import read_common_files, with_common_files
from lightning_distill.sets.export.labels import label_texts, parse_soft_labels, soft_label_rows
from lightning_distill.sets.export.pixels import restore
from lightning_distill.sets.export.png_files import MODES, encode_png, read_pngs
from lightning_distill.sets.export.record import ExportFormat, PreparedSet

TABLE = "labels.csv"
_PATH = re.compile(r"images/(?:[\w.-]+/)?\d{6,}\.png", re.ASCII)


def class_folder(index: int, name: str, classes: int) -> str:
    """Return the name of a class folder: the index, and the letters of the class name that every file system takes.

    Args:
        index: Index of the class.
        name: Name of the class.
        classes: Number of classes. Indices are padded with zeros, so that sorted folders are in the order of classes.

    Example:
        >>> class_folder(3, "Mélanome / in situ", 12)
        '03_Melanome_in_situ'
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "_", ascii_name).strip("_")[:40]
    return f"{index:0{len(str(classes - 1))}}" + (f"_{slug}" if slug else "")


def _write(prepared: PreparedSet) -> dict[str, bytes]:
    labels, spec = prepared.arrays["labels"], prepared.spec
    names = list(spec.class_names)
    soft = soft_label_rows(prepared)
    per_image = 0 if soft is None else soft.shape[1] // len(names)
    soft_names = [f"soft:{part}{name}" for part in _parts(per_image) for name in names]
    header = ["path", "label", *([f"class:{name}" for name in names] if labels.ndim == 2 else ["class"]), *soft_names]
    files, rows = {}, [header]
    for number, (image, text) in enumerate(zip(prepared.codes, label_texts(prepared), strict=True)):
        label = labels[number]
        folder = "images" if label.ndim else f"images/{class_folder(int(label), names[label], len(names))}"
        path = f"{folder}/{number:06}.png"
        files[path] = encode_png(image)
        cells = [] if soft is None else [str(value) for value in soft[number]]
        rows.append([path, text, *map(str, np.atleast_1d(label).tolist()), *cells])
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows(rows)
    return with_common_files({**files, TABLE: table.getvalue().encode()}, prepared)


def _read(folder: Path) -> tuple[Arrays, Card]:
    card, spec, record = read_common_files(folder)
    try:
        text = (folder / TABLE).read_text(encoding="utf-8")
        _, *rows = list(csv.reader(io.StringIO(text, newline="")))
    except (OSError, csv.Error, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{TABLE} is missing or damaged") from error
    width = spec.num_classes if spec.multi_label else 1
    if not rows or any(len(row) < 2 + width or not _PATH.fullmatch(row[0]) for row in rows):
        raise ValueError(f"{TABLE} has rows without path, label and class")
    labels = np.array([[int(cell) for cell in row[2 : 2 + width]] for row in rows], np.int64)
    arrays: Arrays = {
        "images": restore(read_pngs(folder, [row[0] for row in rows], spec.shape), spec),
        "labels": labels if spec.multi_label else labels[:, 0],
        **statistics_arrays(spec),
        **parse_soft_labels([row[2 + width :] for row in rows], spec.num_classes),
        **record.arrays(),
    }
    return arrays, card


def _parts(per_image: int) -> list[str]:
    """Return prefixes of the columns of each sub-image; an empty one where an image has one row of soft labels."""
    return [""] if per_image == 1 else [f"{part}:" for part in range(per_image)]


IMAGE_FOLDER = ExportFormat("imagefolder", "uint8", tuple(MODES), _write, _read)
