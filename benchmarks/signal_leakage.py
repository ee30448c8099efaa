"""Measure what a signal bank reveals about the images in its sums, with and without noise.

    python benchmarks/signal_leakage.py --root ../shared/data     # writes benchmarks/results/signal_leakage.csv
    python benchmarks/signal_leakage.py --only breastmnist,pneumoniamnist
    python benchmarks/signal_leakage.py --quick                   # scikit-learn's digits, as a test

Banks of 2, 10 and 50 random networks are computed from 16 random halves of the patients, and attacked by somebody who
knows one image and by somebody who knows all images that may be in the sums (`leakage.audit_signals`). Banks with a
guarantee have 50 networks and 8 halves. DermaMNIST is counted by image and by lesion.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from script import folder, listed, options

from lightning_distill import DigitsDataModule, MedMNISTDataModule, MNISTDataModule
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ArrayDataModule
from lightning_distill.leakage import audit_signals

SOURCES = {
    "breastmnist": "official file",
    "pneumoniamnist": "reassembled, official pixels",
    "dermamnist": "lesion-disjoint split, not the official file",
    "mnist": "official files",
}
NETWORK = "convnet_w32"
#: Random networks of a bank, epsilon of its guarantee, and number of halves.
BANKS: tuple[tuple[int, float | None, int], ...] = (
    (2, None, 16), (10, None, 16), (50, None, 16), (50, 8.0, 8), (50, 1.0, 8),
)  # fmt: skip
COLUMNS = (
    "source", "network", "halves", "images", "classes", "auc", "auc_low", "auc_high", "tpr_at_1", "low_at_1",
    "high_at_1", "tpr_at_0.1", "low_at_0.1", "high_at_0.1", "worst_class", "worst_class_auc", "seconds",
)  # fmt: skip


def measure(
    name: str, make: Callable[[], ArrayDataModule], network: str, draws: int, epsilon: float | None, halves: int,
    book: ResumableCsv,
) -> None:  # fmt: skip
    """Add the rows of one kind of bank."""
    shown = "none" if epsilon is None else f"{epsilon:g}"
    if not book.is_missing(name, draws, shown, "decoding", "image"):
        return
    data, began = make(), time.perf_counter()
    rows = audit_signals(data, shadows=halves, draws=draws, network=network, epsilon=epsilon, accelerator="cpu")
    seconds = time.perf_counter() - began
    for row in reversed(rows):  # the row that is looked for above comes last
        rates = {
            f"{part}_at_{level}": "not resolvable" if value != value else f"{value:.4f}"
            for level, rate in zip(("1", "0.1"), row.rates.rates, strict=True)
            for part, value in (("tpr", rate.tpr), ("low", rate.low), ("high", rate.high))
        }
        book.put({
            "dataset": name, "draws": draws, "epsilon": shown, "attack": row.attack, "unit": row.unit,
            "source": data.spec.source, "network": network, "halves": halves, "images": len(data.train_arrays()[1]),
            "classes": len(data.spec.balance_groups), "auc": f"{row.rates.auc:.4f}",
            "auc_low": f"{row.rates.auc_low:.4f}", "auc_high": f"{row.rates.auc_high:.4f}", **rates,
            "worst_class": row.worst_class, "worst_class_auc": f"{row.worst_class_auc:.4f}",
            "seconds": f"{seconds:.1f}", **provenance("python benchmarks/signal_leakage.py"),
        })  # fmt: skip
        print(
            f"{name}, {draws} networks, epsilon {shown}: {row.attack}, {row.unit}: AUC {row.rates.auc:.3f}", flush=True
        )


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--root", type=Path, default=Path("../shared/data"), help="folder of medmnist/ and of idx files"
    )
    parser.add_argument("--only", default=",".join(SOURCES), help=f"comma-separated data sets: {','.join(SOURCES)}")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    makes: dict[str, Callable[[], ArrayDataModule]] = {
        name: partial(MNISTDataModule, root=str(given.root))
        if name == "mnist"
        else partial(MedMNISTDataModule, name, root=str(given.root / "medmnist"), download=False, source=SOURCES[name])
        for name in listed(parser, given.only, tuple(SOURCES))
    }
    network, banks = NETWORK, BANKS
    if given.quick:
        makes, network, banks = {"digits": DigitsDataModule}, "convnet_w16", ((1, None, 8), (1, 8.0, 8))
    book = ResumableCsv(
        folder(given) / "signal_leakage.csv", ("dataset", "draws", "epsilon", "attack", "unit"), COLUMNS, given.again
    )
    for name, make in makes.items():
        for draws, epsilon, halves in banks:
            measure(name, make, network, draws, epsilon, halves, book)


if __name__ == "__main__":
    main()
