"""What a run leaves behind, found in its folder: the set, its card, results and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.report.results import Result, read_results
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import SET, Card, read_set

RESULTS, PREDICTIONS = "results.csv", "predictions"
#: Where `SyntheticSetExport` puts sets in its folder; the first that is there is shown.
PLACES = ("", "best", "last")


@dataclass(frozen=True)
class Run:
    """One folder.

    Args:
        name: of the folder, without the folders of this machine above it.
        synthetic: the set; ``None`` where there is none.
        card: of the set.
        results: rows of ``results.csv``.
        predictions: files of ``predictions/`` by what was trained on.
    """

    name: str
    synthetic: LabeledSet | None = None
    card: Card = field(default_factory=dict)
    results: Sequence[Result] = ()
    predictions: Mapping[str, Predictions] = field(default_factory=dict)


def read_input(path: str | Path) -> Run:
    """A run folder, or a CSV as a run of rows only.

    Raises:
        FileNotFoundError: there is nothing there.
        ValueError: neither, or a folder without anything to report.
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
    """All there is in a folder.

    Raises:
        ValueError: nothing to report, or a file that is not what its name says.
    """
    home = next((folder / place for place in PLACES if (folder / place / SET).is_file()), None)
    synthetic, card = (None, {}) if home is None else read_set(home)
    around = list(dict.fromkeys([folder, home or folder]))
    files = [place / RESULTS for place in around if (place / RESULTS).is_file()]
    results = [row for file in files for row in read_results(file)]
    found = sorted(file for place in around for file in (place / PREDICTIONS).glob("*.safetensors"))
    if home is None and not results and not found:
        raise ValueError(
            f"{folder} holds nothing to report: no {SET} (nor in best/ or last/), no {RESULTS}, no "
            f"{PREDICTIONS}/*.safetensors; give the folder of a run"
        )
    return Run(_name(home or folder), synthetic, card, results, {file.stem: Predictions.read(file) for file in found})


def _name(path: Path) -> str:
    """The path as it was typed if it is below here, else its last part: where a folder lies says whose it is."""
    below = not path.is_absolute() and ".." not in path.parts and path.parts and not path.parts[0].startswith("~")
    return path.as_posix() if below else path.name or "run"
