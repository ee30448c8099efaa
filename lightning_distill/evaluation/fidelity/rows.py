"""``FidelityRow``: the metrics of one set, as a row of a CSV file and of a printed table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table

from lightning_distill.evaluation.fidelity.metric import Column
from lightning_distill.evaluation.fidelity.registry import FIDELITY_METRICS

NAN = float("nan")
#: Number of sets beside each other in a printed table.
SETS_PER_TABLE = 2


@dataclass(frozen=True)
class FidelityRow:
    """Metrics of a set against real images.

    Args:
        set_name: Name of the set in the table.
        set_sha256: First digits of the digest of the set file; empty for a set in memory.
        dataset: Name of the data.
        method: Method that made the set.
        source: Origin of the data.
        split: Split of the reference.
        images: Number of decoded images of the set.
        formation: Number of sub-images along each side of a stored image.
        reference_images: Number of images of the reference.
        real_images: Number of images of each random subset of the training images; 0 where a class has none.
        draws: Number of subsets.
        network: Name of the feature network; empty where no metric uses one.
        network_sha256: First digits of the digest of its weights.
        seed: Seed of subsets and pairs.
        not_resolvable: Metrics that the numbers of images do not resolve, with the reason.
        values: Value of each column of the metrics. ``NAME_real`` and ``NAME_real_std`` are mean and standard deviation
            over the random subsets of real training images.
    """

    set_name: str
    set_sha256: str
    dataset: str
    method: str
    source: str
    split: str
    images: int
    formation: int
    reference_images: int
    real_images: int
    draws: int
    network: str
    network_sha256: str
    seed: int
    not_resolvable: str = ""
    values: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, column: str) -> float:
        """Return the value of a column; NaN where it was not measured or is not resolvable."""
        return self.values.get(column, NAN)

    def to_dict(self) -> dict[str, object]:
        """Return the cells of the CSV by column name."""
        cells = {name: value for name, value in self.__dict__.items() if name not in ("values", "not_resolvable")}
        return {**cells, **self.values, "not_resolvable": self.not_resolvable}


def fidelity_tables(rows: Sequence[FidelityRow]) -> list[Table]:
    """Return the rows as tables of two sets each: value of the set, in brackets that of real training images.

    Args:
        rows: Rows of one data set.
    """
    first = rows[0]
    title = (
        f"{first.dataset} ({first.source}) against {first.reference_images} {first.split} images\n"
        f"in brackets: random real training images, {first.draws} draws"
    )
    if first.network:
        title += f"; features: {first.network} {first.network_sha256}"
    starts = range(0, len(rows), SETS_PER_TABLE)
    return [_table(rows[start : start + SETS_PER_TABLE], title if not start else "") for start in starts]


def _table(rows: Sequence[FidelityRow], title: str) -> Table:
    table = Table(title=title)
    table.add_column("")
    for row in rows:
        table.add_column(row.set_name, justify="right")
    table.add_row("images", *(f"{row.images:,} ({row.real_images:,})" for row in rows))
    for column in (column for metric in FIDELITY_METRICS for column in metric.columns):
        if column.label and any(column.name in row.values for row in rows):
            table.add_row(f"{column.label}{_arrow(column)}", *(_cell(row, column) for row in rows))
    return table


def _arrow(column: Column) -> str:
    return {True: " ↑", False: " ↓", None: ""}[column.higher_is_better]


def _cell(row: FidelityRow, column: Column) -> str:
    """Format a value with that of real images; a dash for what is not resolvable."""
    value, real, spread = (row[f"{column.name}{end}"] for end in ("", "_real", "_real_std"))
    text = "-" if value != value else f"{value:.{column.decimals}f}"
    if real != real:
        return text
    return f"{text} ({real:.{column.decimals}f}" + (")" if spread != spread else f" ± {spread:.{column.decimals}f})")
