"""Points of the study: a distilled set's accuracy beside that of a random subset of the same size, from result CSVs."""

from __future__ import annotations

import csv
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Literal

Row = Mapping[str, str]
Metric = Literal["acc", "balanced_acc"]
#: Rows are of one exam where these agree: the random subset's accuracy belongs to the sets' beside it.
EVALUATION_COLUMNS = ("dataset", "ipc", "split", "network", "protocol", "epochs")
NEEDED = (*EVALUATION_COLUMNS, "trained_on", "source", "images", "students", "acc", "balanced_acc")


@dataclass(frozen=True)
class Point:
    """One distilled set, and the random subsets it was measured beside. Accuracies are fractions, of the ``metric``.

    Args:
        dataset: name; points of one data set are not independent of each other.
        method: name of the distiller.
        ipc: images per class.
        classes: K.
        random_acc: x, mean accuracy of students of random subsets of that size.
        acc: y, mean accuracy of students of the distilled set.
        full_acc: accuracy of students of all real data; NaN where no row has it.
        full_from: network and protocol of that row, which may be others than the point's.
        network: of the students.
        protocol: of the students.
        split: scored on.
        metric: ``acc``, or ``balanced_acc``: mean recall over classes.
        students: of the distilled set.
        fit_steps: image steps of the distillation; ``None`` where the row does not say.
        differs: in what else the two rows differ, in words; empty where in nothing.
        file: name of the CSV.
    """

    dataset: str
    method: str
    ipc: int
    classes: int
    random_acc: float
    acc: float
    full_acc: float = math.nan
    full_from: str = ""
    network: str = ""
    protocol: str = ""
    split: str = "test"
    metric: str = "acc"
    students: int = 0
    fit_steps: int | None = None
    differs: str = ""
    file: str = ""


def read_points(files: Iterable[str | Path], metric: Metric = "acc") -> tuple[list[Point], list[str]]:
    """Points of all files, and a line for each distilled set that makes none.

    A point needs a ``random`` row of the same file and exam (`EXAM`). Full-data accuracy is a property of the data
    set: it is taken from any of the files, from the same network and protocol where there is such a row.

    Args:
        files: CSVs written by ``lightning-distill evaluate --out`` or ``benchmarks/run.py``.
        metric: the column that is compared.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file lacks columns, or has two random rows for one exam.
    """
    tables = {Path(file).name: _read(Path(file)) for file in files}
    full = [row for rows in tables.values() for row in rows if row["trained_on"] == "all real data"]
    points, left_out = [], []
    for file, rows in tables.items():
        beside: dict[tuple[str, ...], Row] = {}
        for row in rows:
            if row["trained_on"] == "random" and beside.setdefault(_exam(row), row) is not row:
                raise ValueError(f"{file} has two random rows of {', '.join(_exam(row))}; keep one")
        for row in rows:
            if row["trained_on"].endswith("Distiller"):
                name = f"{file}: {row['trained_on']} on {row['dataset']} at ipc {row['ipc']}"
                if not row["ipc"].isdigit() or int(row["images"]) % int(row["ipc"]):
                    left_out.append(f"{name}: classes of unequal size")
                elif _exam(row) not in beside:
                    left_out.append(f"{name}: no random subset beside it")
                else:
                    points.append(_point(row, beside[_exam(row)], full, file, metric))
    return points, left_out


def _read(path: Path) -> list[Row]:
    if not path.is_file():
        raise FileNotFoundError(f"no result file {path}")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in NEEDED if name not in (reader.fieldnames or [])]:
            raise ValueError(f"{path.name} has no column {missing[0]!r}; give CSVs of lightning-distill evaluate")
        return list(reader)


def _exam(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in EVALUATION_COLUMNS)


def _point(row: Row, random: Row, full: Sequence[Row], file: str, metric: Metric) -> Point:
    ipc = int(row["ipc"])
    full_acc, full_from = _full(row, full, metric)
    steps = row.get("fit_steps", "")
    return Point(
        dataset=row["dataset"],
        method=row["trained_on"],
        ipc=ipc,
        classes=int(row["images"]) // ipc,
        random_acc=float(random[metric]),
        acc=float(row[metric]),
        full_acc=full_acc,
        full_from=full_from,
        network=row["network"],
        protocol=row["protocol"],
        split=row["split"],
        metric=metric,
        students=int(row["students"]),
        fit_steps=int(steps) if steps else None,
        differs=_differences(row, random),
        file=file,
    )


def _full(row: Row, full: Sequence[Row], metric: Metric) -> tuple[float, str]:
    """Accuracy on all real data of the row's data set and split, and whose it is."""
    found = [other for other in full if (other["dataset"], other["split"]) == (row["dataset"], row["split"])]
    alike = [other for other in found if (other["network"], other["protocol"]) == (row["network"], row["protocol"])]
    if not (used := alike or found):
        return math.nan, ""
    names = sorted({f"{other['network']}, {other['protocol']}" for other in used})
    return fmean(float(other[metric]) for other in used), "; ".join(names)


def _differences(row: Row, random: Row) -> str:
    pairs = [(name, row.get(name, ""), random.get(name, "")) for name in ("source", "students", "precision")]
    pairs.append(("augmentation", _augmentation(row), _augmentation(random)))
    return "; ".join(f"{name} {ours!r}, random's {theirs!r}" for name, ours, theirs in pairs if ours != theirs)


def _augmentation(row: Row) -> str:
    """How the students were augmented where the command says; the command is all that a row keeps of it."""
    words = shlex.split(row.get("command", ""))
    options = dict(pairwise(words))
    return options.get("--augmentation") or options.get("--data.augmentation") or "the data set's"
