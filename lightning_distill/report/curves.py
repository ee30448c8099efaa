"""Charts of a score against the number of images per class."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_distill.report.results import Group, Result, Score
from lightning_distill.sets.coresets import METHODS
from lightning_distill.visualization.style import COLOURS, INK, LINE, MUTED, new_figure, set_title

MARKERS = dict(zip(METHODS, ("o", "s", "^", "D"), strict=True))


def against_ipc(group: Group, name: str, score: Score) -> Figure:
    """Draw one line for each method over images per class, with 95 % intervals over students.

    For a single size one row for each method is drawn instead. All real data are a horizontal line with the interval as
    a band. For balanced accuracy the chance level ``1/K`` is dotted.

    Args:
        group: Rows that may be compared.
        name: CSV column of the score.
        score: Label and scale of the score.
    """
    rows = [row for row in group.results if row.measured(name) is not None]
    sizes = sorted({row.ipc for row in rows if math.isfinite(row.ipc)})
    return _lines(group, rows, sizes, name, score) if len(sizes) > 1 else _dots(group, rows, name, score)


def _lines(group: Group, rows: Sequence[Result], sizes: Sequence[float], name: str, score: Score) -> Figure:
    figure, (axis,) = new_figure(4.7, 3.9)
    methods = list(dict.fromkeys(row.cells["trained_on"] for row in rows if math.isfinite(row.ipc)))
    styles = _styles(rows)
    for index, method in enumerate(methods):
        own = [row for row in rows if row.cells["trained_on"] == method and math.isfinite(row.ipc)]
        shift = 1.03 ** (index - (len(methods) - 1) / 2)  # draw intervals side by side
        colour, marker, dash = styles[method]
        axis.errorbar(
            [row.ipc * shift for row in own], *_means_and_errors(own, name, score), label=own[0].name,
            color=colour, marker=marker, linestyle=dash, markersize=4.5, linewidth=1.4, elinewidth=1, capsize=2,
        )  # fmt: skip
    for row in rows:
        if math.isinf(row.ipc):
            _band(axis, row, name, score)
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axis.minorticks_off()
    axis.set_xlabel("images per class")
    axis.grid(axis="y", color=LINE, linewidth=0.6)
    _chance(axis, group, name, score, vertical=False)
    set_title(axis, f"{group.alike['dataset']}: {score.name}")
    legend = figure.legend(loc="outside lower center", ncols=3, fontsize=8.5, frameon=False, labelcolor=INK)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _dots(group: Group, rows: Sequence[Result], name: str, score: Score) -> Figure:
    """Draw one row for each method, in the order of the table."""
    figure, (axis,) = new_figure(4.7, 1.3 + 0.34 * len(rows))
    styles = _styles(rows)
    for place, row in enumerate(rows):
        value, error = _means_and_errors([row], name, score)
        colour, marker, _ = (INK, "|", "") if math.isinf(row.ipc) else styles[row.cells["trained_on"]]
        axis.errorbar(
            value,
            [place],
            xerr=error,
            color=colour,
            marker=marker,
            markersize=6,
            linewidth=0,
            elinewidth=1.4,
            capsize=3,
        )
    axis.set_yticks(range(len(rows)), [row.name for row in rows], parse_math=False)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="x", color=LINE, linewidth=0.6)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    _chance(axis, group, name, score, vertical=True)
    sizes = {f"{row.ipc:g}" for row in rows if math.isfinite(row.ipc)}
    set_title(axis, f"{group.alike['dataset']}: {score.name}")
    axis.set_xlabel(f"{score.name}, {', '.join(sizes)} images per class" if sizes else score.name)
    return figure


def _styles(rows: Sequence[Result]) -> dict[str, tuple[str, str, str]]:
    """Assign colour, marker and line style: baselines are grey and dashed, distilled sets coloured."""
    grey = {
        (key := row.cells["trained_on"]): (MUTED, MARKERS[row.baseline], "--" if key == row.baseline else ":")
        for row in rows
        if row.baseline is not None
    }
    others = dict.fromkeys(row.cells["trained_on"] for row in rows if row.baseline is None and math.isfinite(row.ipc))
    return grey | {method: (COLOURS[i % len(COLOURS)], "o", "-") for i, method in enumerate(others)}


def _means_and_errors(rows: Sequence[Result], name: str, score: Score) -> tuple[list[float], list[list[float]]]:
    """Return means and the lengths of the intervals below and above; NaN for a missing interval draws no bar."""
    values = [value for row in rows if (value := row.measured(name)) is not None]
    means = [score.scale * value.mean for value in values]
    below = [score.scale * (value.mean - value.low) for value in values]
    return means, [below, [score.scale * (value.high - value.mean) for value in values]]


def _band(axis: Axes, row: Result, name: str, score: Score) -> None:
    (mean,), ((below,), (above,)) = _means_and_errors([row], name, score)
    axis.axhline(mean, color=INK, linewidth=1.1, label=row.name)
    axis.axhspan(mean - below, mean + above, color=INK, alpha=0.12, linewidth=0)


def _chance(axis: Axes, group: Group, name: str, score: Score, vertical: bool) -> None:
    counts = {row.classes for row in group.results} - {None}
    if name != "balanced_acc" or len(counts) != 1:
        return
    at = score.scale / (counts.pop() or 1)
    low, high = axis.get_xlim() if vertical else axis.get_ylim()
    if at < min(low, high) - 0.35 * abs(high - low):  # far below all measured values: it would compress the chart
        return
    draw = axis.axvline if vertical else axis.axhline
    draw(at, color=MUTED, linestyle=":", linewidth=1, label=None if vertical else "chance")
