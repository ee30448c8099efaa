"""Plot balanced accuracy of distilled, generated and selected images against their number.

    python benchmarks/generators_figure.py        # benchmarks/results/generators.csv -> generators_utility.png

One panel for each data set with generated images, hard labels, test split; bars are standard deviations over students,
the dashed line is all real data.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parent))
from tables import GENERATORS, generator_groups, generators_full

COLOURS = ("#000000", "#56B4E9", "#0072B2", "#D55E00", "#E69F00", "#CC79A7", "#009E73")


def main(path: Path = Path(__file__).parent / "results" / "generators_utility.png") -> None:
    groups, full = generator_groups("hard", "test"), generators_full()
    datasets = list(
        dict.fromkeys(name for (name, _), found in sorted(groups.items()) if {"flow", "gan"} & found.keys())
    )
    figure, axes = plt.subplots(1, len(datasets), figsize=(1.6 + 3.2 * len(datasets), 3.4), squeeze=False, sharey=True)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        for colour, (method, caption) in zip(COLOURS, GENERATORS.items(), strict=True):
            rows = {ipc: found[method] for (name, ipc), found in groups.items() if name == dataset and method in found}
            numbers = sorted(rows)
            scores, spreads = (
                [100 * float(rows[ipc][f"balanced_acc{end}"]) for ipc in numbers] for end in ("", "_std")
            )
            axis.errorbar(numbers, scores, spreads, fmt="o-", color=colour, label=caption, markersize=4, linewidth=1.2)
        if dataset in full:
            axis.axhline(100 * float(full[dataset]["balanced_acc"]), color="#888888", linestyle="--", linewidth=1)
        axis.set(xscale="log", xlabel="images per class", title=dataset)
        axis.set_xticks([1, 10, 100, 1000])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(alpha=0.25)
    axes[0][0].set_ylabel("balanced accuracy, %")
    axes[0][-1].legend(fontsize=8, frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
