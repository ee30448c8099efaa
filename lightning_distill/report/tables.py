"""Contents of the report's tables: mean, spread and interval of every score, and the command behind each row."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_distill.evaluation.metrics.intervals import Estimate
from lightning_distill.report.results import Group, Result, Score
from lightning_distill.visualization.format import NO_SPREAD, bracket, spread

#: A space of the width of a digit. It aligns numbers with fewer digits.
FIGURE_SPACE = "\u2007"
#: Columns that describe how a row was computed, besides its command. Rows that agree in these are listed together.
CIRCUMSTANCES = ("date", "machine", "precision", "torch", "lightning_distill")
#: Names of the units that intervals over test images resample.
RESAMPLED_UNITS = {"images": "test images", "groups": "groups of test images, such as those of one patient or lesion"}


@dataclass(frozen=True)
class Cell:
    """Score of one row.

    Args:
        mean: Mean over students.
        spread: Standard deviation over students; empty if it is not known.
        notes: Small lines below: intervals, and the name of the worst class.
        best: Whether this is the best mean among rows of one size.
    """

    mean: str
    spread: str = ""
    notes: Sequence[str] = ()
    best: bool = False


@dataclass(frozen=True)
class TableRow:
    """Row of a `ResultsTable`.

    Args:
        name: Name of the set or baseline that students were trained on.
        class_sizes: Images of each class if classes differ in size, else empty.
        images: Number of images in the set.
        cells: One cell for each score.
        students: Number of students.
        student_notes: Small lines below the number of students: seeds, and the number of diverged students.
        command: Number of the command that computed the row; ``None`` if the row has no command.
        baseline: Whether the row is a selection of real images.
    """

    name: str
    class_sizes: str
    images: str
    cells: Sequence[Cell]
    students: int
    student_notes: Sequence[str]
    command: int | None
    baseline: bool


@dataclass(frozen=True)
class ResultsTable:
    """Scores of one theme for one group of comparable rows.

    Args:
        theme: Title of the table.
        explanation: Sentence that explains the numbers of a cell.
        columns: Names of the scores.
        sizes: Pairs of a heading (images per class) and its rows.
    """

    theme: str
    explanation: str
    columns: Sequence[str]
    sizes: Sequence[tuple[str, Sequence[TableRow]]]


@dataclass(frozen=True)
class PlainTable:
    """Table of named rows and columns.

    Args:
        title: Title in bold; may be empty.
        caption: Text after the title.
        columns: Names of the columns.
        rows: Cells of each row by column name; a missing cell is shown as a dash.
    """

    title: str
    caption: str
    columns: Sequence[str]
    rows: Mapping[str, Mapping[str, Cell | str]]


@dataclass(frozen=True)
class Command:
    """Command that computed one or more rows.

    Args:
        number: Number in the tables.
        parts: Pieces of the command line. Every second piece is the name of an option and is not broken across lines.
        distillation: Steps, seed and seconds of the distillation; empty if the row does not have them.
    """

    number: int
    parts: Sequence[str]
    distillation: str


@dataclass(frozen=True)
class CommandBlock:
    """Commands that ran on the same machine, day and versions.

    Args:
        circumstances: Date, machine, precision and versions.
        commands: Commands in the order of their numbers.
    """

    circumstances: str
    commands: Sequence[Command]


def results_table(group: Group, theme: str, scores: Mapping[str, Score], numbers: Mapping[str, int]) -> ResultsTable:
    """Tabulate one theme of a group: rows by images per class, the best mean of each size marked.

    Args:
        group: Rows that may be compared.
        theme: Title of the table.
        scores: Scores by CSV column.
        numbers: Command numbers from `number_commands`.
    """
    columns = [_score_cells(group.results, name, score) for name, score in scores.items()]
    index = {id(row): i for i, row in enumerate(group.results)}
    sizes = []
    for size, rows in group.by_size().items():
        best = [_best(rows, name, score) if math.isfinite(size) else [] for name, score in scores.items()]
        table_rows = [
            _table_row(
                row,
                [
                    Cell(cell.mean, cell.spread, cell.notes, best=row in winners)
                    for cell, winners in zip((column[index[id(row)]] for column in columns), best, strict=True)
                ],
                numbers,
            )
            for row in rows
        ]
        sizes.append((_size(size), table_rows))
    explanation = _explain_cells(group.results, scores)
    return ResultsTable(theme, explanation, [score.name for score in scores.values()], sizes)


def derived_table(group: Group) -> PlainTable | None:
    """Tabulate the relative scores of a group; ``None`` if no row has any."""
    relative = {f"{row.name}, {_size(row.ipc)}": group.derived(row) for row in group.results}
    rows = {name: cells for name, cells in relative.items() if cells}
    if not rows:
        return None
    caption = "Computed from the mean accuracies above and subject to the same uncertainty."
    return PlainTable("Relative scores", caption, _column_names(rows), rows)


def estimates_table(caption: str, rows: Mapping[str, Mapping[str, Estimate]]) -> PlainTable:
    """Tabulate estimates.

    Args:
        caption: Text above the table.
        rows: Estimates by row name and column name.
    """
    cells = {name: {column: _estimate_cell(value) for column, value in row.items()} for name, row in rows.items()}
    return PlainTable("", caption, _column_names(rows), cells)


def number_commands(results: Sequence[Result]) -> dict[str, int]:
    """Assign a number to each distinct command with its circumstances, in the order of the tables."""
    keys = dict.fromkeys(key for row in results if (key := _command_key(row)))
    return {key: number for number, key in enumerate(keys, 1)}


def command_blocks(results: Sequence[Result], numbers: Mapping[str, int]) -> list[CommandBlock]:
    """List every numbered command with its machine and versions.

    Args:
        results: Rows in the order of the tables.
        numbers: Command numbers from `number_commands`.
    """
    rows = {numbers[key]: row for row in reversed(results) if (key := _command_key(row))}
    blocks: dict[tuple[str, ...], list[int]] = {}
    for number in sorted(rows):
        blocks.setdefault(tuple(rows[number].text(name) for name in CIRCUMSTANCES), []).append(number)
    listed = []
    for (date, machine, precision, torch, version), members in blocks.items():
        parts = [date, machine, precision, torch and f"torch {torch}", version and f"lightning_distill {version}"]
        commands = [Command(n, _command_parts(rows[n]), _distillation(rows[n])) for n in members]
        listed.append(CommandBlock(", ".join(part for part in parts if part), commands))
    return listed


def _column_names(rows: Mapping[str, Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for cells in rows.values() for name in cells))


def _table_row(row: Result, cells: Sequence[Cell], numbers: Mapping[str, int]) -> TableRow:
    notes = [f"seeds {row.text('seeds')}"] if row.text("seeds") else []
    if row.number("diverged") > 0:
        notes.append(f"{int(row.number('diverged'))} diverged")
    counts = row.cells["ipc"]
    return TableRow(
        name=row.name,
        class_sizes=f"{counts.replace('/', ' / ')} per class" if "/" in counts else "",
        images=f"{int(row.number('images')):,}",
        cells=cells,
        students=row.students,
        student_notes=notes,
        command=numbers.get(_command_key(row)),
        baseline=row.baseline is not None,
    )


def _explain_cells(rows: Sequence[Result], scores: Mapping[str, Score]) -> str:
    """Explain the cells of a table: which spread and intervals they have."""
    values = [value for row in rows for name in scores if (value := row.measured(name)) is not None]
    if all(math.isnan(value.std) and value.n > 1 for value in values):
        return "Means over students; the file gives no standard deviation."
    text = "Mean ± standard deviation over students, below it the 95 % interval of the mean"
    units = {
        RESAMPLED_UNITS.get(images.unit, images.unit)
        for row in rows
        for name in scores
        if (images := row.over_images(name))
    }
    return f"{text}, then (in round brackets) the one over {' or '.join(sorted(units))}." if units else f"{text}."


def _size(size: float) -> str:
    if math.isinf(size):
        return "the whole training split"
    return f"{size:g} image{'s' if size != 1 else ''} per class"


def _score_cells(rows: Sequence[Result], name: str, score: Score) -> list[Cell]:
    """Format a column, padded so that means, spreads and interval ends are aligned."""
    values = [row.measured(name) for row in rows]
    texts = [spread(value, score.scale, score.decimals).split(" ± ") if value else ["-"] for value in values]
    no_spread = not any(value and not math.isnan(value.std) for value in values)
    spread_width = max((len(parts[1]) for parts in texts if len(parts) == 2), default=0)
    ends = [bracket(value, score.scale, score.decimals).split(", ") if value else [""] for value in values]
    end_width = max((len(parts[1]) for parts in ends if len(parts) == 2), default=0)
    cells = []
    for row, parts, interval in zip(rows, texts, ends, strict=True):
        # the caption of the table says it if no row has a spread
        mean = parts[0].removesuffix(f" ({NO_SPREAD})") if no_spread else parts[0]
        notes = []
        if len(interval) == 2:
            notes.append(f"{interval[0]}, {interval[1].rjust(end_width, FIGURE_SPACE)}")
        if (images := row.over_images(name)) is not None:
            low, high = (f"{score.scale * end:.{score.decimals}f}" for end in (images.low, images.high))
            notes.append(f"({low} to {high})")
        if name == "worst_recall" and row.text("worst_class"):
            notes.append(row.text("worst_class"))
        cells.append(Cell(mean, "".join(part.rjust(spread_width, FIGURE_SPACE) for part in parts[1:]), notes))
    return cells


def _estimate_cell(value: Estimate) -> Cell:
    mean, _, std = spread(value).partition(" ± ")
    return Cell(mean, std, [bracket(value)])


def _best(rows: Sequence[Result], name: str, score: Score) -> list[Result]:
    """Rows with the best mean as printed; empty for a single row or if no row has a spread."""
    values = [(value, row) for row in rows if (value := row.measured(name)) is not None]
    means = [(round(score.scale * value.mean, score.decimals), row) for value, row in values]
    if len(means) < 2 or score.rises is None or all(math.isnan(value.std) for value, _ in values):
        return []
    best = (max if score.rises else min)(mean for mean, _ in means)
    return [row for mean, row in means if mean == best]


def _command_key(row: Result) -> str:
    return " | ".join(row.text(name) for name in ("command", *CIRCUMSTANCES)) if row.text("command") else ""


def _command_parts(row: Result) -> list[str]:
    return re.split(r"((?<!\S)--[\w.]{1,30})", row.text("command"))


def _distillation(row: Result) -> str:
    steps, seed, seconds = (row.text(f"fit_{name}") for name in ("steps", "seed", "seconds"))
    return f"distilled before: {steps} steps, seed {seed}, {seconds} s" if steps else ""
