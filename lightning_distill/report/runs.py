"""Contents of a run folder: the set, its card, results and predictions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.report.results import Result, read_results
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import SET, Card, read_set

RESULTS, PREDICTIONS = "results.csv", "predictions"
#: Folders in which `SyntheticSetExport` writes sets; the first one with a set is used.
SET_FOLDERS = ("", "best", "last")


@dataclass(frozen=True)
class Run:
    """Contents of one run folder.

    Args:
        name: Name of the folder, without its parents if the path was absolute.
        synthetic: Synthetic set; ``None`` if the folder has none.
        card: Card of the set; empty without a set.
        results: Rows of ``results.csv``.
        predictions: Predictions of ``predictions/*.safetensors`` by file name.
    """

    name: str
    synthetic: LabeledSet | None = None
    card: Card = field(default_factory=dict)
    results: Sequence[Result] = ()
    predictions: Mapping[str, Predictions] = field(default_factory=dict)


def read_input(path: str | os.PathLike[str]) -> Run:
    """Read a run folder or a CSV of results.

    Args:
        path: Path of the folder or CSV.

    Returns:
        The run; for a CSV a run of rows only.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the path is neither a CSV nor a run folder, or if there is nothing to report.
    """
    path = Path(path)
    if path.is_dir():
        return read_run(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; give run folders and result CSVs")
    if path.suffix.lower() != ".csv":
        hint = "its folder" if path.name == SET else "a run folder or a CSV of `lightning-distill evaluate --out`"
        raise ValueError(f"{path.name} is neither a run folder nor a CSV; give {hint}")
    return Run(_name(path), results=read_results(path))


def read_run(folder: Path) -> Run:
    """Read set, card, results and predictions of a folder.

    Args:
        folder: Path of the folder.

    Raises:
        ValueError: If there is nothing to report, or if a file has another format than its name says.
    """
    set_folder = next((folder / name for name in SET_FOLDERS if (folder / name / SET).is_file()), None)
    synthetic, card = (None, {}) if set_folder is None else read_set(set_folder)
    folders = list(dict.fromkeys([folder, set_folder or folder]))
    files = [place / RESULTS for place in folders if (place / RESULTS).is_file()]
    results = [row for file in files for row in read_results(file)]
    prediction_files = sorted(file for place in folders for file in (place / PREDICTIONS).glob("*.safetensors"))
    if set_folder is None and not results and not prediction_files:
        raise ValueError(
            f"{folder} holds nothing to report: no {SET} (nor in best/ or last/), no {RESULTS}, no "
            f"{PREDICTIONS}/*.safetensors; give the folder of a run"
        )
    return Run(
        _name(set_folder or folder),
        synthetic,
        card,
        results,
        {file.stem: Predictions.read(file) for file in prediction_files},
    )


def _name(path: Path) -> str:
    """Return a relative path below the working folder, and only the last part of any other path."""
    is_below = not path.is_absolute() and ".." not in path.parts and path.parts and not path.parts[0].startswith("~")
    return path.as_posix() if is_below else path.name or "run"
