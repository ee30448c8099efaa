"""Points of the study: accuracy of distilled sets and of random subsets of the same size, read from result CSVs."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Literal

from lightning_distill.utils.csv_rows import parse_csv

Row = Mapping[str, str]
Metric = Literal["acc", "balanced_acc"]
#: Columns that a distilled set and its random subset must agree in.
EVALUATION_COLUMNS = ("dataset", "ipc", "split", "network", "protocol", "epochs")
NEEDED = (*EVALUATION_COLUMNS, "trained_on", "source", "images", "students", "acc", "balanced_acc")


@dataclass(frozen=True)
class Point:
    """Accuracy of one distilled set and of random subsets of the same size. Accuracies are fractions.

    Args:
        dataset: Name of the data set. Points of one data set are not independent of each other.
        method: Class name of the distiller, and what is not its plain form: sub-images, soft labels.
        ipc: Images per class.
        classes: Number of classes K.
        random_acc: Mean accuracy x of students trained on random subsets of the same size.
        acc: Mean accuracy y of students trained on the distilled set.
        full_acc: Mean accuracy of students trained on all real data; NaN if no row has it.
        full_from: Network and protocol of the row of ``full_acc``, which may differ from those of the point.
        network: Network of the students.
        protocol: Protocol of the students.
        split: Split of the scored images.
        metric: Column of the accuracies: ``acc``, or ``balanced_acc`` (mean recall over classes).
        students: Number of students trained on the distilled set.
        fit_steps: Number of image steps of the distillation; ``None`` if the row does not have it.
        differs: Description of other differences between the two rows; empty if there are none.
        file: Name of the CSV.
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


def read_points(files: Iterable[str | os.PathLike[str]], metric: Metric = "acc") -> tuple[list[Point], list[str]]:
    """Read the points of all files, and a message for each distilled set without a point.

    A point needs a ``random`` row of the same file that agrees in `EVALUATION_COLUMNS`; for a set with soft labels one
    with soft labels, or else with hard ones. The accuracy on all real data
    is taken from any of the files, from a row of the same network and protocol if there is one.

    Args:
        files: Paths of CSVs written by ``lightning-distill evaluate --out`` or ``benchmarks/run.py``.
        metric: Column of the accuracies.

    Returns:
        The points and the messages.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file lacks columns, or has two random rows for one evaluation.
    """
    return match_points({Path(file).name: read_rows(Path(file)) for file in files}, metric)


def match_points(tables: Mapping[str, Sequence[Row]], metric: Metric = "acc") -> tuple[list[Point], list[str]]:
    """Match the distilled sets of tables with their random subsets, see `read_points`.

    Args:
        tables: Rows with the columns of ``lightning-distill evaluate --out``, by the name of their table.
        metric: Column of the accuracies.

    Returns:
        The points, and a message for each distilled set without a point.

    Raises:
        ValueError: If a table has two random rows for one evaluation.
    """
    full = [row for rows in tables.values() for row in rows if row["trained_on"] == "full"]
    points, left_out = [], []
    for file, rows in tables.items():
        random: dict[tuple[str, ...], Row] = {}
        for row in rows:
            if row["trained_on"] == "random" and random.setdefault(_evaluation_key(row), row) is not row:
                raise ValueError(f"{file} has two random rows for {', '.join(_evaluation_key(row))}; remove one")
        for row in rows:
            if row["trained_on"].split(",")[0].endswith("Distiller"):
                name = f"{file}: {row['trained_on']} on {row['dataset']} at ipc {row['ipc']}"
                beside = random.get(_evaluation_key(row)) or random.get((*_evaluation_key(row)[:-1], "hard"))
                if not row["ipc"].isdigit() or int(row["images"]) % int(row["ipc"]):
                    left_out.append(f"{name}: classes of unequal size")
                elif beside is None:
                    left_out.append(f"{name}: no random subset beside it")
                else:
                    points.append(_point(row, beside, full, file, metric))
    return points, left_out


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a CSV that has the columns of an evaluation.

    Args:
        path: Path of the CSV.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file lacks columns.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no result file {path}")
    columns, rows = parse_csv(path)
    if missing := [name for name in NEEDED if name not in columns]:
        raise ValueError(
            f"{path.name} has no column {missing[0]!r}; give CSVs written by lightning-distill evaluate --out"
        )
    return [*rows]


def _evaluation_key(row: Row) -> tuple[str, ...]:
    return (*(row[name] for name in EVALUATION_COLUMNS), row.get("labels") or "hard")


def _point(row: Row, random: Row, full: Sequence[Row], file: str, metric: Metric) -> Point:
    ipc = int(row["ipc"])
    full_acc, full_from = _full(row, full, metric)
    steps = row.get("fit_steps", "")
    return Point(
        dataset=row["dataset"],
        method=row["trained_on"] + (", soft labels" if row.get("labels") == "soft" else ""),
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
    """Return the accuracy on all real data of a row's data set and split, with its network and protocol."""
    candidates = [r for r in full if (r["dataset"], r["split"]) == (row["dataset"], row["split"])]
    matching = [
        other for other in candidates if (other["network"], other["protocol"]) == (row["network"], row["protocol"])
    ]
    if not (used := matching or candidates):
        return math.nan, ""
    names = sorted({f"{other['network']}, {other['protocol']}" for other in used})
    return fmean(float(other[metric]) for other in used), "; ".join(names)


def _differences(row: Row, random: Row) -> str:
    pairs = [(name, row.get(name, ""), random.get(name, "")) for name in ("source", "students", "precision")]
    pairs.append(("augmentation", _augmentation(row), _augmentation(random)))
    return "; ".join(f"{name} {ours!r}, random's {theirs!r}" for name, ours, theirs in pairs if ours != theirs)


def _augmentation(row: Row) -> str:
    """Return the augmentation in the row's command. The row has no column for it."""
    words = shlex.split(row.get("command", ""))
    options = dict(pairwise(words))
    return options.get("--augmentation") or options.get("--data.augmentation") or "the data set's"
