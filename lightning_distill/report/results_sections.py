"""Contents of the report's sections of results and of networks. The templates turn them into HTML and escape them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_distill.evaluation.metrics.intervals import Estimate
from lightning_distill.report.captions import (
    CaptionedFigure,
    score_against_ipc_caption,
)
from lightning_distill.report.curves import against_ipc
from lightning_distill.report.results import THEMES, Group
from lightning_distill.report.tables import PlainTable, ResultsTable, derived_table, estimates_table, results_table
from lightning_distill.visualization.style import svg_picture

#: Scores that are drawn against images per class.
CURVES = ("acc", "balanced_acc")


@dataclass(frozen=True)
class ResultsSection:
    """Tables and curves of one group of comparable rows.

    Args:
        dataset: Name of the data set; heading of the section.
        about: Source of the data, split, student networks and protocol.
        tables: One table for each theme.
        curves: Scores against images per class.
        relative_scores: Scores relative to random subsets and all real data; ``None`` if there are none.
    """

    dataset: str
    about: str
    tables: Sequence[ResultsTable]
    curves: Sequence[CaptionedFigure]
    relative_scores: PlainTable | None


@dataclass(frozen=True)
class NetworksSection:
    """Accuracy by student network.

    Args:
        dataset: Name of the data set; heading of the section.
        about: Source of the data, split and protocol.
        table: Accuracy of each set, one column for each network.
    """

    dataset: str
    about: str
    table: PlainTable


def results_section(group: Group, numbers: Mapping[str, int]) -> ResultsSection:
    """Collect tables and curves of rows that may be compared.

    Args:
        group: Rows that may be compared.
        numbers: Command numbers from `number_commands`.
    """
    themes = group.scores()
    curves = [
        CaptionedFigure(
            svg_picture(against_ipc(group, name, THEMES["Scores"][name])), score_against_ipc_caption(group, name)
        )
        for name in CURVES
        if name in themes.get("Scores", {}) and len(group.results) > 1
    ]
    source = f"Source of the data: {group.alike['source']}. " if group.alike["source"] else ""
    return ResultsSection(
        dataset=group.alike["dataset"],
        about=f"{source}{group.circumstances[0].upper()}{group.circumstances[1:]}.",
        tables=[results_table(group, theme, scores, numbers) for theme, scores in themes.items()],
        curves=curves,
        relative_scores=derived_table(group),
    )


def networks_sections(groups: Sequence[Group]) -> list[NetworksSection]:
    """Tabulate accuracy by student network for each data set with students of several networks."""
    families: dict[tuple[str, ...], dict[str, dict[str, Estimate]]] = {}
    for group in groups:
        key = tuple(value for column, value in group.alike.items() if column != "network")
        for row in group.results:
            if (value := row.measured("acc")) is not None:
                size = "" if math.isinf(row.ipc) else f", {row.ipc:g} per class"
                rows = families.setdefault(key, {})
                rows.setdefault(f"{row.name}{size}", {})[group.alike["network"] or "unnamed"] = value
    caption = "Accuracy in percent, mean ± standard deviation over students, below it the 95 % interval of the mean."
    return [
        NetworksSection(key[0], ", ".join(part for part in key[1:] if part), estimates_table(caption, rows))
        for key, rows in families.items()
        if any(len(cells) > 1 for cells in rows.values())
    ]
