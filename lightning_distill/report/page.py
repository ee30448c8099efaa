"""Render runs and results as one self-contained HTML page: no script, no network, pictures as ``data:`` URIs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lightning_distill._version import __version__
from lightning_distill.report.exposed_pairs import ExposedPairs
from lightning_distill.report.leakage_section import leakage_section
from lightning_distill.report.predictions_section import predictions_section
from lightning_distill.report.results import grouped
from lightning_distill.report.results_sections import networks_sections, results_section
from lightning_distill.report.runs import Run
from lightning_distill.report.set_section import Neighbours, set_section
from lightning_distill.report.tables import command_blocks, number_commands


def page(
    runs: Sequence[Run],
    neighbours: Mapping[int, Neighbours],
    date: str,
    exposed: Mapping[int, ExposedPairs] | None = None,
) -> str:
    """Render the whole page from ``templates/page.html.j2`` and ``report.css``.

    Args:
        runs: Runs and results in the order of the page.
        neighbours: Nearest real images of the sets, by the index of their run in ``runs``.
        date: Date of the report, such as ``2026-01-31``.
        exposed: Pictures of real images for the sections of leakage, by the index of their run; default: none.
    """
    groups = grouped([row for run in runs for row in run.results])
    ordered = [row for group in groups for row in group.results]
    numbers = number_commands(ordered)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            title=f"Report: {', '.join(_datasets(runs)) or 'no data'}",
            date=date,
            version=__version__,
            style=Markup(files("lightning_distill.report").joinpath("report.css").read_text("utf-8")),
            results=[results_section(group, numbers) for group in groups],
            networks=networks_sections(groups),
            sets=[set_section(run, neighbours.get(i)) for i, run in enumerate(runs) if run.synthetic is not None],
            audits=[
                section
                for i, run in enumerate(runs)
                if run.synthetic is not None and (section := leakage_section(run, (exposed or {}).get(i)))
            ],
            predictions=[
                predictions_section(name, predictions, run.name)
                for run in runs
                for name, predictions in run.predictions.items()
            ],
            commands=command_blocks(ordered, numbers),
        )
    )


@cache
def environment() -> Environment:
    """Create the environment of the templates: everything is escaped, and an undefined name is an error."""
    created = Environment(
        loader=PackageLoader("lightning_distill.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    created.filters["thousands"] = lambda number: f"{number:,}"
    created.filters["no_break_before_percent"] = _no_break_before_percent
    return created


def _no_break_before_percent(html: str) -> Markup:
    return Markup(re.sub(r"(?<=\d) %", "\u00a0%", html))


def _datasets(runs: Sequence[Run]) -> list[str]:
    names = [row.text("dataset") for run in runs for row in run.results]
    names += [run.synthetic.spec.name for run in runs if run.synthetic is not None]
    names += [predictions.spec.name for run in runs for predictions in run.predictions.values()]
    return list(dict.fromkeys(names))
