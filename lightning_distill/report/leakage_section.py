"""Contents of the report's section of the leakage audit in a card. The templates turn them into HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from lightning_distill.report.exposed_pairs import ExposedPairs
from lightning_distill.report.redact import redact_paths
from lightning_distill.report.runs import Run
from lightning_distill.sets.leakage_record import read_audit
from lightning_distill.visualization.style import (
    COLOURS,
    LINE,
    MUTED,
    Picture,
    new_figure,
    png_picture,
    set_title,
    svg_picture,
)

#: Most curves of a figure.
CURVES = 6


@dataclass(frozen=True)
class LeakageRow:
    """An attack in the table.

    Args:
        recipe: What was attacked, in words.
        attack: The attack, in words.
        unit: ``image`` or the kind of a group.
        cells: AUC, true positive rates at 1 and 0.1 % false positives, predictive values, and the rate among starts.
        own: Whether the row is of the audited recipe, not of a baseline.
    """

    recipe: str
    attack: str
    unit: str
    cells: Sequence[str]
    own: bool


@dataclass(frozen=True)
class PairsFigure:
    """Pictures of real images beside images of the set.

    Args:
        closest: Images of the set, each above the training image that it is most correlated with.
        exposed: Training images that the strongest attack finds most often; ``None`` without the folder of the audit.
        attack: Name of that attack in words.
        data: Name of the data set.
    """

    closest: Picture
    exposed: Picture | None
    attack: str
    data: str


@dataclass(frozen=True)
class LeakageSection:
    """Leakage audit of one set.

    Args:
        name: Name of the run.
        refused: Reason why the audit in the card is not shown; empty where it is.
        about: Data, shadow sets, students and date in one line.
        sentences: Findings in words.
        rows: Table of attacks.
        curves: ROC curves on logarithmic axes; ``None`` without any.
        recovery: Recovery of the starts as steps grow: steps, SSIM, correlation, share found.
        copies: Copy detection in words.
        not_measured: Things that were not measured.
        pairs: Pictures of real images; ``None`` unless they were asked for.
    """

    name: str
    refused: str = ""
    about: str = ""
    sentences: Sequence[str] = ()
    rows: Sequence[LeakageRow] = ()
    curves: Picture | None = None
    recovery: Sequence[Sequence[str]] = ()
    copies: Sequence[str] = ()
    not_measured: Sequence[str] = ()
    pairs: PairsFigure | None = None


def leakage_section(run: Run, exposed: ExposedPairs | None = None) -> LeakageSection | None:
    """Collect the audit in the card of a set; ``None`` for a card without one.

    An audit of another set, or one that was changed, is named and not shown. Without ``exposed`` the section shows no
    real image.

    Args:
        run: Run with a set.
        exposed: Pictures of real images; ``None`` leaves them out.
    """
    assert run.synthetic is not None
    try:
        audit: Any = read_audit(run.card, run.synthetic)
    except ValueError as error:
        return LeakageSection(run.name, refused=str(error))
    if audit is None:
        return None
    try:
        return _section(run.name, audit, exposed)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return LeakageSection(run.name, refused=f"the audit in the card is not readable ({type(error).__name__})")


def _section(name: str, audit: Any, exposed: ExposedPairs | None) -> LeakageSection:
    about = audit["about"]
    return LeakageSection(
        name=name,
        about=about_line(about),
        sentences=[redact_paths(str(text)) for text in audit["verdict"]],
        rows=[_row(row, about) for row in audit["rows"]],
        curves=svg_picture(figure) if (figure := roc_figure(audit["rows"], about["recipe_name"])) else None,
        recovery=[_recovery(row) for row in audit["recovery"]],
        copies=[copy_sentence(name, counts) for name, counts in audit["copies"].items()],
        not_measured=[str(text) for text in audit["not_measured"]],
        pairs=None if exposed is None else _pairs(exposed),
    )


def _pairs(exposed: ExposedPairs) -> PairsFigure:
    found = None if exposed.exposed is None else png_picture(exposed.exposed, 1.6)
    return PairsFigure(png_picture(exposed.closest, 1.6), found, exposed.attack, exposed.data)


def about_line(about: Mapping[str, Any]) -> str:
    """Return data, shadow sets, students and date of an audit in one line.

    Args:
        about: Description of the audit.
    """
    counted = f"{about['images']:,} images"
    if about["patients"] is not None:
        counted += f" of {about['patients']:,} units ({about['unit']})"
    return (
        f"{about['data']} ({redact_paths(str(about['source']))}): {counted}; {about['shadows']} shadow sets, each of a "
        f"random half; {about['students']} network(s) {about['network']} trained on each; {about['date']}"
    )


def roc_figure(rows: Sequence[Mapping[str, Any]], recipe: str) -> Figure | None:
    """Draw ROC curves on logarithmic axes: the strongest attack of each recipe; ``None`` without rows.

    Args:
        rows: Rows of the audit as plain data.
        recipe: Name of the audited recipe, which is drawn first.
    """
    best: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        key = (row["recipe"], row["target"])
        if row["unit"] == "image" and (key not in best or _strength(row) > _strength(best[key])):
            best[key] = row
    chosen = sorted(best.values(), key=lambda row: row["recipe"] != recipe)[:CURVES]
    if not chosen:
        return None
    figure, (axis,) = new_figure(5.2, 4.6)
    least = min(1 / row["non_members"] for row in chosen)
    for number, row in enumerate(chosen):
        points = [(x, y) for x, y in row["curve"] if x >= least and y > 0]
        suffix = ", finished set" if row["target"] == "set" else ""
        axis.plot(
            [x for x, _ in points], [y for _, y in points], color=COLOURS[number % len(COLOURS)],
            linestyle="-" if row["recipe"] == recipe else "--", linewidth=1.6,
            label=f"{row['recipe_label']}{suffix}: {row['attack_label']}",
        )  # fmt: skip
    axis.plot([least, 1], [least, 1], color=MUTED, linestyle=":", linewidth=1, label="guessing")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(least, 1)
    axis.set_ylim(least, 1.05)
    axis.grid(color=LINE, linewidth=0.6)
    axis.set_xlabel("false positive rate")
    axis.set_ylabel("true positive rate")
    set_title(axis, "Strongest attack of each recipe")
    for text in figure.legend(loc="outside lower center", fontsize=7.5, frameon=False).get_texts():
        text.set_parse_math(False)
    return figure


def copy_sentence(name: str, counts: Mapping[str, float]) -> str:
    """Return the result of copy detection in one sentence.

    Args:
        name: Name of the recipe, or ``set``.
        counts: Numbers of the detection.
    """
    return (
        f"{name}: {100 * counts['copies']:.0f} % of the images have a training image above the copy threshold "
        f"(held-out images: {100 * counts['copies_null']:.0f} %), and {100 * counts['memorised']:.1f} % of the "
        f"training images have one of the set (held-out images: {100 * counts['memorised_null']:.1f} %)."
    )


def percent_with_interval(rate: Mapping[str, Any]) -> str:
    """Format a true positive rate with its interval.

    Args:
        rate: Rate of an audit as plain data.
    """
    if rate["tpr"] is None:
        return "not resolvable"
    return f"{100 * rate['tpr']:.1f} [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def cells_of(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of an attack: AUC, rates, predictive values, rate among starts.

    Args:
        row: Row of an audit as plain data.
    """
    ppv = [f"{100 * value:.0f}" if value is not None else "-" for value in row["rates"][0]["ppv"]]
    started = row["started"]
    return [
        f"{row['auc']:.3f} [{row['auc_low']:.3f}, {row['auc_high']:.3f}]",
        *(percent_with_interval(rate) for rate in row["rates"]),
        *ppv,
        "-" if started is None else f"{100 * started['tpr']:.0f}",
    ]


def _row(row: Mapping[str, Any], about: Mapping[str, Any]) -> LeakageRow:
    recipe = str(row["recipe_label"]) + (", finished set" if row["target"] == "set" else "")
    return LeakageRow(recipe, row["attack_label"], row["unit"], cells_of(row), row["recipe"] == about["recipe_name"])


def _recovery(row: Mapping[str, Any]) -> list[str]:
    def number(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.2f}"

    found = f"{100 * row['top1']:.0f} [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"
    return [f"{row['steps']:,}", number(row["ssim"]), number(row["correlation"]), found]


def _strength(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["rates"][0]["tpr"] or 0.0, row["auc"]
