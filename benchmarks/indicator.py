"""Study the indicator: does the accuracy of random subsets predict the accuracy of distilled sets?

    python benchmarks/indicator.py                       # the files in FILES in benchmarks/results
    python benchmarks/indicator.py medical.csv mine.csv  # other files
    python benchmarks/indicator.py --draws 200           # fewer resamples

Rows of ``quality.py`` count too: its methods in `QUALITY` with hard labels, the mean over their distillation seeds.
Sub-images that are too small for the presets (digits) are left out.
Writes ``results/indicator_points.csv`` (one row per distilled set), ``results/indicator.csv`` (one row per number) and
``lightning_distill/indicator/study.json``, from which ``lightning-distill indicator`` predicts. Nothing is trained; the
script takes a few minutes.
"""

from __future__ import annotations

import argparse
import datetime
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lightning_distill.indicator import (
    CORRELATIONS,
    Interval,
    Point,
    Study,
    clustered_bootstrap,
    fit_study,
    match_points,
    partial_correlation,
)
from lightning_distill.indicator.correlation import pearson, within
from lightning_distill.indicator.points import Metric, read_rows
from lightning_distill.indicator.regression import (
    BASELINES,
    fit_line,
    left_out_errors,
    linear_fit,
    mean_error,
    root_mean_square,
)
from lightning_distill.utils.csv_rows import read_csv, write_csv
from lightning_distill.utils.statistics import t_quantile

HERE = Path(__file__).parent
#: Rows of `quality.py`.
GRID = "quality.csv"
FILES = ("medical.csv", "mnist.csv", "dm.csv", "selection.csv", GRID)
#: Methods of grids/quality.yaml in the study and their names there; of two budgets of a method, the longer one.
QUALITY = {
    "random": "random",
    "full": "full",
    "dm": "DMDistiller",
    "dsa": "DSADistiller",
    "dm_f2": "DMDistiller, 2 x 2",
    "krr_long": "KRRDistiller, 2 x 2",
}
JSON = HERE.parent / "lightning_distill" / "indicator" / "study.json"
POOLED = "all methods"
#: Data sets and formations with sub-images below the side that the presets ask for.
TOO_SMALL = {("digits", "2")}
COLUMNS = ("method", "quantity", "unit", "value", "low", "high", "points", "data_sets", "left_out", "note")
ABOUT = ("sources", "date", "command")
TITLES = {
    "line": "line",
    "mean": "mean elsewhere",
    "same": "y = x",
    "gain": "y = x + mean gain elsewhere",
}
CAUTION = (
    "Fitted to small distillation budgets (see fit_steps) and narrow students (see networks), not to the budgets of "
    "the papers. Points of one data set are not independent: a few data sets make wide intervals. Accuracies are of "
    "the test split; nothing was chosen by them."
)
Row = dict[str, object]
Vector = NDArray[np.float64]


def read_tables(files: Iterable[Path]) -> dict[str, Sequence[Mapping[str, str]]]:
    """Read result files; rows of `quality.py` get the columns of ``lightning-distill evaluate``."""
    return {path.name: quality_rows(read_csv(path)) if path.name == GRID else read_rows(path) for path in files}


def quality_rows(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the rows of `QUALITY` with hard labels on the test split, the mean over distillation seeds of each."""
    cells: dict[tuple[str, str, str], list[Mapping[str, str]]] = {}
    for own in rows:
        known = own["method"] in QUALITY and (own["dataset"], own["formation"]) not in TOO_SMALL
        if known and (own["labels"], own["split"]) == ("hard", "test"):
            cells.setdefault((own["dataset"], own["ipc"], own["method"]), []).append(own)
    return [
        {
            **own[0], "trained_on": QUALITY[method], "fit_steps": own[0]["steps"], "command": "",
            **{metric: f"{fmean(float(seed[metric]) for seed in own):.5f}" for metric in get_args(Metric)},
        }
        for (_, _, method), own in cells.items()
    ]  # fmt: skip


def study_rows(points: Sequence[Point], draws: int, seed: int) -> list[Row]:
    """Compute all numbers of the study: for each method, and pooled with one intercept per method."""
    rows = []
    methods = list(dict.fromkeys(point.method for point in points))
    for method in track([*methods, POOLED], "Resampling data sets"):
        own = [point for point in points if method in (point.method, POOLED)]
        if len({point.dataset for point in own}) < 2:
            rows.append(row(method, own, "none", "", math.nan, note="one data set: nothing to leave out"))
            continue
        rows += [*association_rows(method, own, draws, seed), *error_rows(method, own, draws, seed)]
    return rows


def association_rows(method: str, own: Sequence[Point], draws: int, seed: int) -> list[Row]:
    """Compute correlations (plain, within data sets, given full-data accuracy) and the linear fit."""
    x, y = np.array([(point.random_acc, point.acc) for point in own]).T
    names = [point.dataset for point in own]
    resample = partial(clustered_bootstrap, clusters=names, resamples=draws, seed=seed)
    rows = []
    for name, correlate in CORRELATIONS.items():
        interval = resample(partial(_of_rows, correlate, x, y))
        rows.append(row(method, own, name, "", correlate(x, y), interval))
    for data in dict.fromkeys(names):
        rest = np.array(names) != data
        left = [point for point in own if point.dataset != data]
        rows.append(row(method, left, "pearson", "", pearson(x[rest], y[rest]), out=data))
    # Demeaned once: a resample holds whole data sets, so their means do not change.
    groups = [f"{point.dataset} {point.method}" for point in own]
    x_in, y_in = within(x, groups), within(y, groups)
    note = "the mean of each data set and method taken out of both: what is left is mostly ipc"
    interval = resample(lambda r: pearson(x_in[r], y_in[r]))
    rows.append(row(method, own, "pearson within data sets", "", pearson(x_in, y_in), interval, note))
    rows.append(given_full(method, [point for point in own if not math.isnan(point.full_acc)]))
    intercepts, slope = fit_line(own)
    interval = resample(lambda r: fit_line([own[i] for i in r])[1])
    rows.append(row(method, own, "slope", "", slope, interval))
    rows += [row(method, own, "intercept", "points", 100 * a, note=name) for name, a in intercepts.items()]
    return rows


def given_full(method: str, full: Sequence[Point]) -> Row:
    """Compute the partial correlation given the accuracy on all real data, for data sets with such a row."""
    x, y, z = ([getattr(point, name) for point in full] for name in ("random_acc", "acc", "full_acc"))
    names = [point.dataset for point in full]
    sets = len(set(names))
    note = f"full-data accuracy is known of {sets} data sets, {max(0, len(full) - 3)} degrees of freedom"
    if sets == 2:
        note += ": with two values it does no more than take out each data set's mean"
    if others := {point.full_from for point in full if point.full_from != f"{point.network}, {point.protocol}"}:
        note += f"; of some points by other students ({', '.join(sorted(others))})"
    return row(method, full, "pearson given full", "", partial_correlation(x, y, z), note=note)


def error_rows(method: str, own: Sequence[Point], draws: int, seed: int) -> list[Row]:
    """Compute errors on left-out data sets, in points, of the fit and its baselines, and the prediction interval."""
    errors = {name: left_out_errors(own, rule) for name, rule in {"line": linear_fit, **BASELINES}.items()}
    each = {name: {data: fmean(map(abs, e)) for data, e in found.items()} for name, found in errors.items()}
    rows = [
        row(method, own, f"error of {TITLES[name]}", "points", 100 * mean_error(found))
        for name, found in errors.items()
    ]
    rows += [
        row(method, [p for p in own if p.dataset == data], f"error of {TITLES[name]}", "points", 100 * error, out=data)
        for name, found in each.items()
        for data, error in found.items()
    ]
    sets = list(each["line"])
    for name in BASELINES:
        gains = 100 * np.array([each[name][data] - each["line"][data] for data in sets])
        interval = clustered_bootstrap(partial(_mean_of_rows, gains), sets, draws, seed)
        note = f"closer on {int((gains > 0).sum())} of {len(gains)} data sets; lines are not fitted again"
        quantity = f"line better than {TITLES[name]} by"
        rows.append(row(method, own, quantity, "points", float(gains.mean()), interval, note))
    width = t_quantile(len(sets)) * root_mean_square(errors["line"])
    note = "t over data sets times the root mean square of the left-out errors"
    rows.append(row(method, own, "half width of the prediction interval", "points", 100 * width, note=note))
    return rows


def row(
    method: str,
    own: Sequence[Point],
    quantity: str,
    unit: str,
    value: float,
    interval: Interval | None = None,
    note: str = "",
    out: str = "",
) -> Row:
    """Return the row of one number; NaN becomes an empty cell, ``out`` is the left-out data set."""
    numbers = value, *((interval.low, interval.high) if interval else (math.nan, math.nan))
    cells = ["" if math.isnan(n) else round(float(n), 2 if unit == "points" else 3) for n in numbers]
    sets = len({point.dataset for point in own})
    return dict(zip(COLUMNS, (method, quantity, unit, *cells, len(own), sets, out, note), strict=True))


def show(rows: Sequence[Row], metric: str, console: Console) -> None:
    """Print the numbers as a table: one line per quantity, one column per method."""
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    table = Table(title=f"{metric}; [95 % over resampled data sets: too narrow for so few of them]")
    table.add_column("")
    for method in methods:
        table.add_column(method, justify="right")
    overall = [row for row in rows if not row["left_out"] and row["quantity"] != "intercept"]
    cells = {(row["method"], row["quantity"]): row for row in overall}
    for quantity in dict.fromkeys(str(row["quantity"]) for row in overall):
        table.add_row(quantity, *(_cell(cells.get((method, quantity))) for method in methods))
        if quantity == "pearson":
            table.add_row("pearson, a data set left out", *(_range(rows, method) for method in methods))
    console.print(table)


def print_conclusions(study: Study, points: Sequence[Point], left_out: Sequence[str], console: Console) -> None:
    """Print the conclusions of the study and the points that were left out."""
    console.print(study.about(), highlight=False)
    for fitted in study.lines:
        console.print(f"  {fitted.describe_error()}", highlight=False)
    for point in points:
        if point.differs:
            name = f"{point.file}: {point.method} on {point.dataset} at ipc {point.ipc}"
            console.print(f"Different settings: {name}: {point.differs}", highlight=False)
    for reason in left_out:
        console.print(f"Left out: {reason}", highlight=False)


def _cell(row: Row | None) -> str:
    if row is None or row["value"] == "":
        return "-"
    interval = f" [{row['low']}, {row['high']}]" if row["low"] != "" else ""
    return f"{row['value']}{interval}"


def _of_rows(correlate: Callable[[Vector, Vector], float], x: Vector, y: Vector, rows: NDArray[np.int64]) -> float:
    return correlate(x[rows], y[rows])


def _mean_of_rows(gains: Vector, rows: NDArray[np.int64]) -> float:
    return float(gains[rows].mean())


def _range(rows: Sequence[Row], method: str) -> str:
    found = [row for row in rows if row["method"] == method and row["quantity"] == "pearson" and row["left_out"]]
    values = [float(str(row["value"])) for row in found if row["value"] != ""]
    return f"{min(values)} to {max(values)}" if values else "-"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=FILES, help="file names in benchmarks/results, or paths")
    parser.add_argument("--draws", type=int, default=2000, help="number of resamples of the data sets")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resamples")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the CSV files")
    parser.add_argument("--json", type=Path, default=JSON, help="file for the coefficients")
    given = parser.parse_args(arguments)
    files = [path if path.is_file() else HERE / "results" / path for path in map(Path, given.files)]
    console, date = Console(), datetime.date.today().isoformat()
    names = [] if tuple(given.files) == FILES else [path.name for path in files]
    options = ["--draws", str(given.draws), "--seed", str(given.seed)]
    command = shlex.join(["python", "benchmarks/indicator.py", *names, *options])
    tables = read_tables(files)
    points, left_out = match_points(tables)
    study = fit_study(points, date, command, CAUTION)  # fits accuracy; balanced accuracy is for comparison
    about = dict(zip(ABOUT, (" ".join(study.sources), date, command), strict=True))
    table, measured = [], []
    for metric in get_args(Metric):
        own, _ = match_points(tables, metric)
        rows = study_rows(own, given.draws, given.seed)
        show(rows, metric, console)
        table += [{"metric": metric, **row, **about} for row in rows]
        measured += [{**_plain(point), "date": date, "command": command} for point in own]
    print_conclusions(study, points, left_out, console)
    write_csv(given.out / "indicator.csv", ("metric", *COLUMNS, *ABOUT), table)
    columns = [field.name for field in fields(Point)]
    write_csv(given.out / "indicator_points.csv", (*columns, "date", "command"), measured)
    given.json.write_text(study.to_json(), encoding="utf-8")


def _plain(point: Point) -> Row:
    return {name: "" if value is None or value != value else value for name, value in asdict(point).items()}


if __name__ == "__main__":
    main()
