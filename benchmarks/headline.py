"""Plot how much of all data's balanced accuracy a set keeps against the share of images that it has.

    python benchmarks/headline.py        # benchmarks/results/quality.csv -> quality_headline.png

One line for each data set, through the method that is best on the validation split at each number of images per class;
an open marker is the best pick of real images there. Scores are those of the test split, hard labels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parent))
from tables import QUALITY_METHODS, best_pick, full_rows, mean_score, quality_groups

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
LINE = 90


def points(dataset: str) -> list[tuple[float, float, float]]:
    """Return share of images, share kept by the best method, and by the best pick, in percent, by number of images."""
    val, test = quality_groups("hard", "val"), quality_groups("hard", "test")
    full = full_rows("test").get(dataset)
    found = []
    for (name, ipc), rows in sorted(val.items()):
        methods, pick = [method for method in QUALITY_METHODS if method in rows], best_pick(rows)
        if name != dataset or full is None or not methods or pick is None:
            continue
        best, scored = max(methods, key=lambda method: mean_score(rows[method])), test[name, ipc]
        share = 100 * int(rows[best][0]["images"]) / int(full[0]["images"])
        found.append(
            (
                share,
                100 * mean_score(scored[best]) / mean_score(full),
                100 * mean_score(scored[pick]) / mean_score(full),
            )
        )
    return sorted(found)


def main() -> None:
    figure, axis = plt.subplots(figsize=(7, 3.8))
    for colour, dataset in zip(COLOURS, sorted({name for name, _ in quality_groups("hard", "val")}), strict=False):
        if found := points(dataset):
            shares, kept, picked = zip(*found, strict=True)
            axis.plot(shares, kept, "o-", color=colour, label=dataset, markersize=6)
            axis.plot(shares, picked, "o", color=colour, markerfacecolor="none", markersize=7)
    axis.axhline(LINE, color="#888888", linestyle="--", linewidth=1)
    axis.set(xscale="log", xlabel="share of the training images, %", ylabel="share of all data's\nbalanced accuracy, %")
    axis.set_xticks([0.02, 0.1, 0.5, 1, 5])
    axis.xaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False, title="filled: distilled, open: best pick", title_fontsize=8,
                bbox_to_anchor=(1.01, 1), loc="upper left")  # fmt: skip
    figure.tight_layout()
    figure.savefig(Path(__file__).parent / "results" / "quality_headline.png", dpi=150, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
