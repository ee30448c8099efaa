"""Results as HTML tables: mean, spread and interval of every score, baselines beside, and how each row was made."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape

from lightning_distill.evaluation.metrics.intervals import Estimate
from lightning_distill.report.results import Group, Result, Score
from lightning_distill.visualization.format import NO_SPREAD, bracket, spread

#: As wide as a digit: keeps numbers of fewer digits under each other.
FIGURE_SPACE = "\u2007"
#: What a row was made by, beside its command; rows that agree in these are listed together.
MADE_BY = ("date", "machine", "precision", "torch", "lightning_distill")
#: What intervals over images are over, in words.
OVER = {"images": "test images", "groups": "groups of test images, such as those of one patient or lesion"}
Numbering = Mapping[str, int]


def results_table(group: Group, theme: str, scores: Mapping[str, Score], numbers: Numbering) -> str:
    """One theme of one group: rows by images per class, the highest mean (lowest, of errors) of each size in bold."""
    head = "".join(f"<th scope=col class=n>{escape(score.name)}</th>" for score in scores.values())
    columns = [_column(group.results, name, score) for name, score in scores.items()]
    place = {id(row): index for index, row in enumerate(group.results)}
    bodies = []
    for size, rows in group.by_size().items():
        best = {name: _best(rows, name, score) if math.isfinite(size) else [] for name, score in scores.items()}
        lines = [f"<tr class=size><th scope=rowgroup colspan={len(scores) + 4}>{escape(_size(size))}</th></tr>"]
        for row in rows:
            cells = "".join(
                f"<td class='n{' best' if row in best[name] else ''}'>{column[place[id(row)]]}</td>"
                for name, column in zip(scores, columns, strict=True)
            )
            kind = " class=base" if row.baseline else ""
            seeds = f"<small>seeds {escape(row.text('seeds'))}</small>" if row.text("seeds") else ""
            if row.number("diverged") > 0:
                seeds += f"<small>{int(row.number('diverged'))} diverged</small>"
            lines.append(
                f"<tr{kind}><th scope=row>{escape(row.name)}{_unequal(row)}</th>"
                f"<td class=n>{int(row.number('images')):,}</td>{cells}"
                f"<td class=n>{row.students}{seeds}</td><td class=n>{_made(row, numbers)}</td></tr>"
            )
        bodies.append(f"<tbody>{''.join(lines)}</tbody>")
    return (
        f"<p class=cap><b>{escape(theme)}.</b> {_what_is_known(group.results, scores)}</p>"
        f"<div class=wide><table><thead><tr><th scope=col>trained on</th>"
        f"<th scope=col class=n>images</th>{head}<th scope=col class=n>students</th>"
        f"<th scope=col class=n>made</th></tr></thead>{''.join(bodies)}</table></div>"
    )


def derived_table(group: Group) -> str:
    """What follows from the means of a group; empty where its rows have nothing of it."""
    found = [(f"{row.name}, {_size(row.ipc)}", group.derived(row)) for row in group.results]
    rows = {name: follows for name, follows in found if follows}
    if not rows:
        return ""
    caption = "<b>What follows.</b> From the mean accuracies above, and as uncertain as these are."
    return _plain_table(caption, {name: {k: escape(v) for k, v in cells.items()} for name, cells in rows.items()})


def estimates_table(caption: str, rows: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Scores by name, a row for what their intervals are over; the caption is HTML."""
    return _plain_table(caption, {name: {k: _cell(v) for k, v in cells.items()} for name, cells in rows.items()})


def _plain_table(caption: str, rows: Mapping[str, Mapping[str, str]]) -> str:
    """A table of cells, by the names of rows and columns; caption and cells are HTML."""
    columns = list(dict.fromkeys(name for cells in rows.values() for name in cells))
    head = "".join(f"<th scope=col class=n>{escape(name)}</th>" for name in columns)
    lines = "".join(
        f"<tr><th scope=row>{escape(name)}</th>"
        + "".join(f"<td class=n>{cells.get(column, '-')}</td>" for column in columns)
        + "</tr>"
        for name, cells in rows.items()
    )
    return (
        f"<p class=cap>{caption}</p><div class=wide><table class=narrow><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div>"
    )


def numbering(results: Sequence[Result]) -> dict[str, int]:
    """A number for each way of making a row, in the order of the tables."""
    ways = dict.fromkeys(way for row in results if (way := _way(row)))
    return {way: number for number, way in enumerate(ways, 1)}


def making_list(results: Sequence[Result], numbers: Numbering) -> str:
    """Machine, versions and the command of every numbered row."""
    rows = {numbers[way]: row for row in reversed(results) if (way := _way(row))}
    circumstances: dict[tuple[str, ...], list[int]] = {}
    for number in sorted(rows):
        circumstances.setdefault(tuple(rows[number].text(name) for name in MADE_BY), []).append(number)
    blocks = []
    for (date, machine, precision, torch, version), members in circumstances.items():
        parts = [date, machine, precision, torch and f"torch {torch}", version and f"lightning_distill {version}"]
        items = "".join(
            f"<li id=made-{n} value={n}><code>{_command(rows[n])}</code>{_distilled(rows[n])}</li>" for n in members
        )
        blocks.append(f"<h3>{escape(', '.join(part for part in parts if part))}</h3><ol class=made>{items}</ol>")
    return "".join(blocks)


def _what_is_known(rows: Sequence[Result], scores: Mapping[str, Score]) -> str:
    """How to read the cells: which of spread and intervals they have."""
    values = [value for row in rows for name in scores if (value := row.measured(name)) is not None]
    if all(math.isnan(value.std) and value.n > 1 for value in values):
        return "Means over students; the file has no spread of them."
    text = "Mean ± standard deviation over students, below it the 95 % interval of the mean"
    over = {OVER.get(images.unit, images.unit) for row in rows for name in scores if (images := row.over_images(name))}
    return f"{text}, then (in round brackets) the one over {escape(' or '.join(sorted(over)))}." if over else f"{text}."


def _size(size: float) -> str:
    if math.isinf(size):
        return "the whole training split"
    return f"{size:g} image{'s' if size != 1 else ''} per class"


def _unequal(row: Result) -> str:
    """The images of each class, where they differ."""
    counts = row.cells["ipc"]
    return f"<small>{escape(counts.replace('/', ' / '))} per class</small>" if "/" in counts else ""


def _column(rows: Sequence[Result], name: str, score: Score) -> list[str]:
    """The cells of a column, padded so that means, spreads and ends of intervals are under each other."""
    values = [row.measured(name) for row in rows]
    texts = [spread(value, score.scale, score.decimals).split(" ± ") if value else ["-"] for value in values]
    silent = not any(value and not math.isnan(value.std) for value in values)
    width = max((len(parts[1]) for parts in texts if len(parts) == 2), default=0)
    ends = [bracket(value, score.scale, score.decimals).split(", ") if value else [""] for value in values]
    reach = max((len(parts[1]) for parts in ends if len(parts) == 2), default=0)
    cells = []
    for row, parts, interval in zip(rows, texts, ends, strict=True):
        mean = parts[0].removesuffix(f" ({NO_SPREAD})") if silent else parts[0]  # then the caption says so
        text = " ± ".join([f"<b>{mean}</b>", *(part.rjust(width, FIGURE_SPACE) for part in parts[1:])])
        if len(interval) == 2:
            text += f"<small>{interval[0]}, {interval[1].rjust(reach, FIGURE_SPACE)}</small>"
        if (images := row.over_images(name)) is not None:
            low, high = (f"{score.scale * end:.{score.decimals}f}" for end in (images.low, images.high))
            text += f"<small>({low} to {high})</small>"
        worst = row.text("worst_class") if name == "worst_recall" else ""
        cells.append(text + (f"<small>{escape(worst)}</small>" if worst else ""))
    return cells


def _cell(value: Estimate) -> str:
    mean, *rest = spread(value).split(" ± ")
    return " ± ".join([f"<b>{mean}</b>", *rest]) + f"<small>{bracket(value)}</small>"


def _best(rows: Sequence[Result], name: str, score: Score) -> list[Result]:
    """The rows whose mean, as it is printed, is the best of several; none where no spread is known."""
    values = [(value, row) for row in rows if (value := row.measured(name)) is not None]
    found = [(round(score.scale * value.mean, score.decimals), row) for value, row in values]
    if len(found) < 2 or score.rises is None or all(math.isnan(value.std) for value, _ in values):
        return []
    best = (max if score.rises else min)(mean for mean, _ in found)
    return [row for mean, row in found if mean == best]


def _way(row: Result) -> str:
    return " | ".join(row.text(name) for name in ("command", *MADE_BY)) if row.text("command") else ""


def _made(row: Result, numbers: Numbering) -> str:
    way = _way(row)
    return f"<a href='#made-{numbers[way]}'>{numbers[way]}</a>" if way else ""


def _command(row: Result) -> str:
    """The command, its options never broken at their hyphens."""
    return re.sub(r"(?<!\S)--[\w.]{1,30}", r"<span>\g<0></span>", escape(row.text("command")))


def _distilled(row: Result) -> str:
    """Steps, seed and seconds of the distillation, where a grid has noted them."""
    steps, seed, seconds = (row.text(f"fit_{name}") for name in ("steps", "seed", "seconds"))
    if not steps:
        return ""
    return f"<small>distilled before: {escape(steps)} steps, seed {escape(seed)}, {escape(seconds)} s</small>"
