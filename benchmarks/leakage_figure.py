"""Plot balanced accuracy against the rate of the strongest membership attack, for each audited recipe and baseline.

    python benchmarks/leakage_figure.py        # benchmarks/results/leakage.csv -> leakage.png

One panel for each data set. A point is a recipe at one number of images per class: the share of its training images
that the strongest attack finds at 1 % false positives, with the 95 % interval, and the balanced accuracy of students on
the validation split, with its standard deviation over shadow sets. Rates that the number of
images does not resolve are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

sys.path.insert(0, str(Path(__file__).parent))
from tables import Rows, leakage_groups, recipe_name, strongest

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8c6d1f")
MARKERS = ("o", "s", "^", "D", "v")
#: Recipes that do not depend on the audited one: one point for all.
SHARED = ("random", "herding", "full")
#: Most panels in a row, and width and height of a panel in inches.
COLUMNS, WIDTH, HEIGHT = 2, 4.2, 3.4
Point = tuple[float, float, float, float, float]


def points(dataset: str) -> dict[tuple[str, str], Point]:
    """Return rate, its interval, balanced accuracy and its standard deviation in percent, by recipe and number."""
    found: dict[tuple[str, str], Point] = {}
    for (name, ipc, audited, _), recipes in leakage_groups().items():
        if name == dataset:
            for recipe, rows in recipes.items():
                if (point := _point(rows)) is not None:
                    found.setdefault((label(recipe, audited), "all" if recipe == "full" else ipc), point)
    return found


def label(recipe: str, audited: str) -> str:
    """Return the name of a recipe in the legend."""
    name = recipe_name(recipe, audited)
    return name if recipe in SHARED or name == audited else f"{audited}, {name}"


def _point(rows: Rows) -> Point | None:
    best = strongest(rows)
    if best["tpr_at_1"] == "not resolvable":
        return None
    columns = ("tpr_at_1", "low_at_1", "high_at_1", "balanced_acc", "balanced_acc_std")
    rate, low, high, score, spread = (100 * float(best[column]) for column in columns)
    return rate, low, high, score, spread


def draw(panels: Mapping[str, Mapping[tuple[str, str], Point]]) -> Figure:
    """Draw one panel for each data set, with one legend for all."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    inches = max(7, WIDTH * columns + 2.4), HEIGHT * rows + 0.3
    figure = Figure(figsize=inches, layout="constrained")  # not pyplot's, which would keep it
    axes = figure.subplots(rows, columns, squeeze=False)
    names = list(dict.fromkeys(name for panel in panels.values() for name, _ in panel))
    sizes = {size for panel in panels.values() for _, size in panel}
    order = sorted(sizes - {"all"}, key=int) + ["all"] * ("all" in sizes)
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    markers = {size: "*" if size == "all" else MARKERS[i % len(MARKERS)] for i, size in enumerate(order)}
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (dataset, panel) in zip(axes.flat, panels.items(), strict=False):
        axis.axvline(1, color="#888888", linestyle="--", linewidth=1)
        for (name, size), (rate, low, high, score, spread) in panel.items():
            axis.errorbar(
                [rate], [score], xerr=[[rate - low], [high - rate]], yerr=[[spread], [spread]], fmt="none",
                ecolor=colours[name], elinewidth=0.9, alpha=0.5,
            )  # fmt: skip
            axis.plot([rate], [score], markers[size], color=colours[name], markersize=10 if size == "all" else 6)
        largest = max([10.0, *(high for _, _, high, _, _ in panel.values())])
        axis.set(xscale="log", title=dataset, xlim=(0.2, min(110, 1.3 * largest)))
        ticks = [tick for tick in (0.3, 1, 3, 10, 30, 100) if tick <= 1.3 * largest]
        axis.set_xticks(ticks)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(alpha=0.25)
    figure.supxlabel("training images found by the strongest attack at 1 % false positives, %", fontsize=9)
    figure.supylabel("balanced accuracy, %", fontsize=9)
    handles = [Line2D([], [], color=colours[name], marker="o", linestyle="", label=name) for name in names]
    handles += [
        Line2D([], [], color="#555555", marker=markers[size], linestyle="",
                   label="all images" if size == "all" else f"{size} per class") for size in order
    ]  # fmt: skip
    handles.append(Line2D([], [], color="#888888", linestyle="--", label="guessing"))
    figure.legend(handles=handles, fontsize=8, frameon=False, loc="outside right upper")
    return figure


def main() -> None:
    datasets = dict.fromkeys(name for name, _, _, _ in leakage_groups())
    panels = {name: found for name in datasets if (found := points(name))}
    figure = draw(panels)
    figure.savefig(Path(__file__).parent / "results" / "leakage.png", dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
