"""Rows of result CSVs: reading, checks, display names and groups of comparable rows."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lightning_distill.evaluation.labels import LABELS, coreset_method, display_name
from lightning_distill.evaluation.metrics.intervals import Estimate
from lightning_distill.evaluation.metrics.registry import METRICS
from lightning_distill.evaluation.metrics.relative import RelativeScores, relative_scores
from lightning_distill.report.redact import redact_command, redact_paths
from lightning_distill.utils.csv_rows import parse_csv
from lightning_distill.visualization.format import estimate

#: Columns that every row must have.
REQUIRED = ("dataset", "trained_on", "ipc", "images", "split", "students", "acc")
#: Columns that comparable rows agree in.
ALIKE = ("dataset", "source", "split", "network", "protocol")


@dataclass(frozen=True)
class Score:
    """Label and number format of a score column.

    Args:
        name: Label in tables.
        percent: Whether the score is a fraction shown in percent.
        rises: Whether higher is better; ``None`` for neither.
        decimals: Number of decimals.
    """

    name: str
    percent: bool = True
    rises: bool | None = True
    decimals: int = 1

    @property
    def scale(self) -> float:
        """Factor from the stored to the shown value."""
        return 100.0 if self.percent else 1.0


def _sections() -> dict[str, dict[str, Score]]:
    """Scores by report section, from the metric registry; scaled scores follow their metric."""
    sections: dict[str, dict[str, Score]] = {}
    for name, metric in METRICS.items():
        section, unit = sections.setdefault(metric.section, {}), ", %" if metric.percent else ""
        for key, label in ((name, metric.label), *([(f"{name}_scaled", f"{metric.label} scaled")] * metric.scaled)):
            section[key] = Score(label + unit, metric.percent, metric.higher_is_better, metric.decimals)
        if metric.scaled:
            section["temperature"] = section.pop("temperature", Score("temperature", False, None))
    return sections


#: Scores by section of the report.
THEMES = _sections()


@dataclass(frozen=True)
class Result:
    """Row of a result CSV.

    Args:
        cells: Text of each column; empty for a missing value.
    """

    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """Return a cell without the folders of absolute paths."""
        value = self.cells.get(column) or ""
        return redact_command(value) if column == "command" else redact_paths(value)

    def number(self, column: str) -> float:
        """Return a cell as a number; NaN for an empty cell."""
        return float(self.cells.get(column) or "nan")

    @property
    def students(self) -> int:
        """Number of students."""
        return int(self.number("students"))

    @property
    def ipc(self) -> float:
        """Images per class; the mean if classes differ, and infinity for the whole training split."""
        text = self.cells["ipc"]
        if text == "all":
            return math.inf
        return self.number("images") / len(text.split("/")) if "/" in text else float(text)

    @property
    def name(self) -> str:
        """Display name of the set or baseline that students were trained on."""
        return display_name(self.text("trained_on"), soft=self.soft)

    @property
    def soft(self) -> bool:
        """Whether the students were trained on soft labels; rows of earlier versions do not tell and count as hard."""
        return self.text("labels") == "soft"

    @property
    def key(self) -> tuple[str, bool]:
        """Candidate and kind of its labels: rows of several sizes with the same key form a curve."""
        return self.cells["trained_on"], self.soft

    @property
    def baseline(self) -> str | None:
        """Coreset method of a baseline; ``None`` for any other row."""
        return coreset_method(self.cells["trained_on"])

    @property
    def classes(self) -> int | None:
        """Number of classes; ``None`` if the row does not determine it."""
        images, ipc = self.number("images"), self.cells["ipc"]
        if "/" in ipc:
            return len(ipc.split("/"))
        return int(images / int(ipc)) if ipc.isdecimal() and int(ipc) and images % int(ipc) == 0 else None

    def measured(self, score: str) -> Estimate | None:
        """Return mean, spread and interval of a score, with the interval of the file if it has one."""
        mean, std, half = (self.number(name) for name in (score, f"{score}_std", f"{score}_ci95_half_width"))
        bounds = METRICS[score].bounds if score in METRICS else (-math.inf, math.inf)
        return None if math.isnan(mean) else estimate(mean, std, half, self.students, bounds)

    def over_images(self, score: str) -> Estimate | None:
        """Return the interval over test images or groups of them; ``None`` if the row has none."""
        mean, low, high = (self.number(name) for name in (score, f"{score}_ci95_low", f"{score}_ci95_high"))
        over = self.text("resampled") or "images"
        return None if math.isnan(low) else Estimate(mean, math.nan, low, high, 0.95, 0, over)

    @property
    def derived(self) -> RelativeScores:
        """Relative scores that the row holds."""
        return RelativeScores(**{field.name: self.number(field.name) for field in fields(RelativeScores)})


@dataclass(frozen=True)
class Group:
    """Comparable rows: same data, split, network and protocol.

    Args:
        alike: Values of the columns `ALIKE`.
        results: Rows by images per class, with baselines first at each size.
    """

    alike: Mapping[str, str]
    results: Sequence[Result]

    @property
    def title(self) -> str:
        """Name and source of the data set."""
        return self.alike["dataset"] + (f" ({self.alike['source']})" if self.alike["source"] else "")

    @property
    def circumstances(self) -> str:
        """Description of split, network and protocol."""
        parts = [f"{self.alike['split']} split"]
        parts += [f"students: {self.alike['network']}"] if self.alike["network"] else []
        return ", ".join([*parts, *([f"{self.alike['protocol']} protocol"] if self.alike["protocol"] else [])])

    def by_size(self) -> dict[float, list[Result]]:
        """Return the rows by images per class."""
        sizes: dict[float, list[Result]] = {}
        for result in self.results:
            sizes.setdefault(result.ipc, []).append(result)
        return sizes

    def derived(self, result: Result) -> dict[str, str]:
        """Return the relative scores of a row as text by name; empty for baselines.

        Missing scores are computed from the rows of random subsets and of all real data in the group.
        """
        if result.baseline is not None or math.isinf(result.ipc):
            return dict(result.derived.table_rows())
        random = [row for row in self.results if row.baseline == "random" and row.ipc == result.ipc]
        random = [row for row in random if row.soft == result.soft] or random
        full = [row for row in self.results if row.cells["trained_on"] == "full"]
        syn, random_acc, full_acc = (rows[0].number("acc") if rows else math.nan for rows in ([result], random, full))
        stored, computed = asdict(result.derived), asdict(relative_scores(syn, full_acc, random_acc))
        known = {name: computed[name] if math.isnan(value) else value for name, value in stored.items()}
        return dict(RelativeScores(**known).table_rows())

    def scores(self) -> dict[str, dict[str, Score]]:
        """Return the scores of the rows by theme; unknown columns come last, four to a theme."""
        there = score_columns(self.results)
        known = {theme: {k: s for k, s in scores.items() if k in there} for theme, scores in THEMES.items()}
        known = {theme: scores for theme, scores in known.items() if scores}
        rest = [name for name in there if not any(name in scores for scores in known.values())]
        for start in range(0, len(rest), 4):
            title = "Further columns" + (f", {start // 4 + 1}" if len(rest) > 4 else "")
            known[title] = {k: Score(k, False, decimals=3) for k in rest[start : start + 4]}
        return known


def read_results(path: str | Path) -> list[Result]:
    """Read and check the rows of a CSV written by `evaluate --out` or `benchmarks/run.py`.

    Args:
        path: Path of the CSV.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If columns or rows are missing, or if a cell is not a number.
    """
    path = Path(path)
    try:
        columns, rows = parse_csv(path)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path.name} is not a CSV: {error}; give a CSV of `lightning-distill evaluate --out`"
        ) from error
    if lacking := [name for name in REQUIRED if name not in columns]:
        raise ValueError(
            f"{path.name} has no column {', '.join(lacking)}; it has {', '.join(columns) or 'none'}. "
            "Give a CSV of `lightning-distill evaluate --out`"
        )
    if not rows:
        raise ValueError(f"{path.name} has columns but no rows; run lightning-distill evaluate --out {path.name} first")
    results = [Result(row) for row in rows]
    for line, result in enumerate(results, 2):
        _check(result, path.name, line)
    return results


def grouped(results: Sequence[Result]) -> list[Group]:
    """Group comparable rows, with groups of one data set together and without duplicate rows."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in {tuple(sorted(r.cells.items())): r for r in results}.values():
        groups.setdefault(tuple(result.text(name) for name in ALIKE), []).append(result)
    datasets = [key[0] for key in groups]
    return [
        Group(dict(zip(ALIKE, key, strict=True)), sorted(groups[key], key=lambda row: (row.ipc, _baseline_order(row))))
        for key in sorted(groups, key=lambda key: datasets.index(key[0]))
    ]


def score_columns(results: Sequence[Result]) -> list[str]:
    """List the scores with a value in any row: known scores, and other columns with a spread or an interval."""
    names = dict.fromkeys(name for result in results for name in result.cells)
    known = [name for scores in THEMES.values() for name in scores]
    scores = [name for name in names if name in known or f"{name}_std" in names or f"{name}_ci95_half_width" in names]
    return [name for name in scores if any(result.cells.get(name) for result in results)]


def _check(result: Result, file: str, line: int) -> None:
    scores = score_columns([result])
    beside = [f"{name}_{ending}" for name in scores for ending in ("std", "ci95_half_width", "ci95_low", "ci95_high")]
    derived = [field.name for field in fields(RelativeScores)]
    for column in ("images", "students", "acc", "diverged", *scores, *beside, *derived):
        try:
            result.number(column)
        except ValueError:
            raise ValueError(f"{file}, line {line}: {column}={result.cells[column]!r} is not a number") from None
    try:
        sized = result.ipc > 0
    except ValueError:
        sized = False
    if not sized:
        raise ValueError(f"{file}, line {line}: ipc={result.cells['ipc']!r}; it must be a number, '3/5' or 'all'")
    if not (result.number("students") >= 1 and result.number("images") >= 1):
        few = f"students={result.cells['students']!r}, images={result.cells['images']!r}"
        raise ValueError(f"{file}, line {line}: {few}; both must be at least 1")


def _baseline_order(result: Result) -> int:
    return len(LABELS) if result.baseline is None else list(LABELS).index(result.baseline)
