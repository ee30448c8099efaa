"""Plot accuracy against images per class from the CSV file of a grid: one panel per data set, one line per method.

python benchmarks/curves.py medical            # benchmarks/results/medical.csv -> medical_curves.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parent))
from tables import METHODS, Rows, read

from lightning_distill.evaluation.labels import display_name

COLOURS = {"random": "#888888", "DCDistiller": "#0072B2", "DSADistiller": "#E69F00", "DMDistiller": "#009E73",
           "MTTDistiller": "#CC79A7"}  # fmt: skip


def draw(rows: Rows, path: Path, metric: str = "balanced_acc") -> None:
    """Plot one panel per data set. Bars are one standard deviation over students, the dotted line is chance."""
    chance = {"breastmnist": 1 / 2, "pneumoniamnist": 1 / 2, "dermamnist": 1 / 7, "mnist": 0.1, "fashionmnist": 0.1}
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    figure, axes = plt.subplots(1, len(datasets), figsize=(3.6 * len(datasets), 3.4), squeeze=False)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        for shift, name in enumerate(METHODS):
            line = sorted((row for row in rows if (row["dataset"], row["trained_on"]) == (dataset, name)),
                          key=lambda row: int(row["ipc"]))  # fmt: skip
            if line:
                axis.errorbar(
                    [int(row["ipc"]) * 1.04 ** (shift - 2) for row in line],
                    [100 * float(row[metric]) for row in line],
                    [100 * float(row[f"{metric}_std"]) for row in line],
                    label=display_name(name), color=COLOURS[name], marker="o", markersize=4, capsize=2, linewidth=1.5,
                    linestyle="--" if name == "random" else "-",
                )  # fmt: skip
        if dataset in chance:
            axis.axhline(100 * chance[dataset], color="#bbbbbb", linestyle=":", linewidth=1)
        ticks = sorted({int(row["ipc"]) for row in rows})
        axis.set(title=dataset, xlabel="images per class", xscale="log", xticks=ticks)
        axis.set_xticklabels([str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.25)
    axes[0][0].set_ylabel({"acc": "accuracy, %", "balanced_acc": "balanced accuracy, %"}[metric])
    axes[0][-1].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(figure)


def main(name: str) -> None:
    results = Path(__file__).parent / "results"
    draw(read(name), results / f"{name}_curves.png")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "medical")
