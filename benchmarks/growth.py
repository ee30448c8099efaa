"""Measure the growth of a DM step with classes, images per class, and the total number of real images.

    python benchmarks/growth.py                         # writes benchmarks/results/growth.csv
    python benchmarks/growth.py --only classes          # any of classes, ipc, real
    python benchmarks/growth.py --quick                 # tiny sizes, as a test

Noise of 3x32x32, ConvNet of width 32, eager float32, 256 real images per class; 10 classes and 10 images per class
unless they vary. ``slope_ms`` and ``r2`` describe a straight line through a series, ``ms_a_unit`` is the time of a step
divided by the value, ``to_first`` the ratio to the first step's time. The real images are a fixed cost of each step.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

from script import folder, listed, options

from lightning_distill.bench.cases import Size, Variant
from lightning_distill.bench.measure import measure_path
from lightning_distill.bench.results import TIME_COLUMNS, ResumableCsv, provenance

SERIES: dict[str, tuple[int, ...]] = {
    "classes": (2, 5, 10, 20, 50, 100), "ipc": (1, 10, 20, 50), "real": (2_560, 25_000, 250_000),
}  # fmt: skip
SIZE, PAIRS = Size(network="convnet_w32"), 5
TINY, TINY_SERIES = Size(2, 1, 8, 2, 4, None, "convnet_w16"), {"classes": (2, 3), "ipc": (1, 2), "real": (20, 40)}


def add_line(book: ResumableCsv, series: str) -> None:
    """Add slope and r2 of a series to its rows, and the time of each step per unit and relative to the first."""
    rows = sorted((row for row in book.rows if row["series"] == series), key=lambda row: int(row["value"]))
    x, y = [float(row["value"]) for row in rows], [float(row["ours_ms"]) for row in rows]
    slope, r2 = statistics.linear_regression(x, y).slope, statistics.correlation(x, y) ** 2
    for row, value, ms in zip(rows, x, y, strict=True):
        columns = {"ms_a_unit": ms / value, "to_first": ms / y[0], "slope_ms": slope, "r2": r2}
        book.put({**row, **{name: f"{number:.4g}" for name, number in columns.items()}})


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--only", default=",".join(SERIES), help=f"comma-separated series: {', '.join(SERIES)}")
    given = parser.parse_args(arguments)
    size, series, pairs = (TINY, TINY_SERIES, 1) if given.quick else (SIZE, SERIES, PAIRS)
    made = provenance("python benchmarks/growth.py" + " --quick" * given.quick)
    columns = (*TIME_COLUMNS[:3], *TIME_COLUMNS[7:], "ms_a_unit", "to_first", "slope_ms", "r2")
    book = ResumableCsv(folder(given) / "growth.csv", ("series", "value"), columns, overwrite=given.again)
    for name in listed(parser, given.only, tuple(SERIES)):
        for value in series[name]:
            if book.is_missing(name, value):
                case = replace(size, **{name: value})  # type: ignore[arg-type]
                turns = measure_path("dm", case, Variant(), warmup=1, pairs=pairs, reference=None)
                print(f"{name} {value}: {turns.median(turns.ours):.3f} s", flush=True)
                book.put({"series": name, "value": value, **turns.row(), **made})
        add_line(book, name)


if __name__ == "__main__":
    main()
