"""``lightning-distill mix``: measure what a set adds to a given number of real images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import progress_bar, report_to
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation import mixing
from lightning_distill.evaluation.mixing import MixRow, summarize
from lightning_distill.evaluation.result_table import percent
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.utils.csv_rows import append_csv, parse_row, read_csv


def mix(data: ArrayDataModule, synthetic_set: str, *, out: str | None = None, **options: Any) -> list[MixRow]:
    """Train students on real images mixed with a set at several ratios, and measure the gain in accuracy.

    Ratio w means w images of the set for each real image. The whole set is repeated as often as it fits; the rest is a
    random class-balanced part of it. At every ratio, students take the same number of steps on the same real images
    and start from the same weights. Every ratio is reported. An interrupted command continues when it is repeated with
    the same options.

    Args:
        data: Real data. The real images are drawn from the training split.
        synthetic_set: Path of ``set.safetensors`` or of its folder (``--set``).
        out: CSV file that the rows are appended to, each as soon as it is measured. Rows of an earlier run of the same
            command with the same set file are kept and not measured again.
        **options: Options of `evaluation.mixing.measure_mixtures`.

    Returns:
        One row for each number of real images and each ratio.

    Raises:
        FileNotFoundError: The set file does not exist.
        ValueError: An option is invalid, the set does not fit the data, or the CSV has other columns.
        OSError: The folder of ``out`` cannot be written.
    """
    known: list[MixRow] = []
    if out is not None:
        check_file_writable(out)
        known = [parse_row(MixRow, cells) for cells in read_csv(Path(out), MixRow)]
    measured: list[MixRow] = []

    def save(row: MixRow) -> None:
        measured.append(row)
        if out is not None:
            append_csv(Path(out), [row])

    with progress_bar() as bar:
        rows = mixing.measure_mixtures(
            data, synthetic_set, known=known, on_progress=report_to(bar), on_result=save, **options
        )
    console = plain_console()
    if kept := len(rows) - len(measured):
        console.print(f"{kept} of {len(rows)} rows were already in {out} and are kept", highlight=False)
    print_rows(rows, console)
    return rows


def print_rows(rows: list[MixRow], console: Console) -> None:
    """Print the table of all mixtures, and the gain of each mixture with a verdict."""
    first = rows[0]
    title = f"{first.dataset} ({first.source}), {first.split} split, {first.protocol} protocol, percent"
    console.print(rich_table(rows, title))
    for row in rows:
        if row.ratio:
            text = summarize(row.estimated_gain, row.real, row.set_images, row.ratio)
            console.print(text, highlight=False, soft_wrap=True)


def rich_table(rows: list[MixRow], title: str) -> Table:
    """Return the rows as a table: accuracy in percent, gain in percentage points."""
    table = Table(title=title)
    for column in ("real images", "ratio", "of the set", "accuracy", "change", "95 % interval"):
        table.add_column(column, justify="right")
    for row in rows:
        interval = "" if math.isnan(row.gain_low) else f"{100 * row.gain_low:.1f} to {100 * row.gain_high:.1f}"
        change = f"{100 * row.gain:+.1f}", interval
        mixture = (f"{row.real:,}", f"{row.ratio:g}", f"{row.synthetic:,}", percent(row.acc, row.acc_std))
        table.add_row(*mixture, *(change if row.ratio else ("", "")))
    return table
