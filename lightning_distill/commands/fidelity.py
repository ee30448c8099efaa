"""``lightning-distill fidelity``: compare the images of sets with real images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import progress_bar, report_to, resolve_device
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.fidelity.feature_network import NETWORK, FeatureNetwork
from lightning_distill.evaluation.fidelity.measure import measure_fidelity
from lightning_distill.evaluation.fidelity.rows import FidelityRow, fidelity_tables
from lightning_distill.evaluation.teacher_file import load_teachers
from lightning_distill.sets.same_data import check_same_data
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.utils.csv_rows import append_csv, read_csv


def fidelity(
    sets: list[str],
    data: ArrayDataModule,
    *,
    metrics: list[str] | None = None,
    network: str = NETWORK,
    weights: dict[str, str] | None = None,
    teachers: str | None = None,
    out: str | None = None,
    **options: Any,
) -> list[FidelityRow]:
    """Compare the images of sets with real images: distance, diversity and near copies.

    ``lightning-distill fidelity A B --data MedMNISTDataModule --data.name pneumoniamnist --out fidelity.csv``. Behind
    each value stands that of random real training images with the class counts of the set. Sub-images are decoded.

    Args:
        sets: Paths of ``set.safetensors`` files or their folders (``--set``).
        data: Real data that the sets were made from.
        metrics: Names of metrics: ``kid``, ``fd``, ``neighbours``, ``ms_ssim``, ``copies``. Default: all.
        network: Feature network, trained on the training split: a name of this package or of timm that served no method
            and no student of the table.
        weights: Local weights file of a timm network, which is then not trained: ``{"resnet18": "FILE"}``.
        teachers: File written by ``relabel --save_teachers``; its first network gives the features.
        out: CSV file that the rows are appended to, each as soon as it is measured.
        **options: Options of `measure_fidelity`.

    Returns:
        A row for each set.

    Raises:
        FileNotFoundError: A set or the file of teachers does not exist.
        ValueError: An option is invalid, a set does not fit the data, or the CSV has other rows.
        OSError: The folder of ``out`` cannot be written.
    """
    if out is not None:
        check_file_writable(out)
        read_csv(Path(out), FidelityRow)
    features: str | FeatureNetwork = network
    if teachers is not None:
        known = load_teachers(teachers)
        check_same_data(known.spec, data.spec, "the teachers", data.spec.name, "use teachers of these data")
        features = FeatureNetwork.of_teachers(known, device=resolve_device(options.get("accelerator", "auto")))

    def save(row: FidelityRow) -> None:
        if out is not None:
            append_csv(Path(out), [row])

    with progress_bar() as bar:
        rows = measure_fidelity(
            sets,
            data,
            metrics=metrics,
            network=features,
            weights=weights,
            on_progress=report_to(bar),
            on_row=save,
            **options,
        )
    print_rows(rows, plain_console())
    return rows


def print_rows(rows: list[FidelityRow], console: Console) -> None:
    """Print the tables, and what the numbers of images do not resolve."""
    for table in fidelity_tables(rows):
        console.print(table)
    for row in rows:
        if row.not_resolvable:
            console.print(f"{row.set_name}, not resolvable: {row.not_resolvable}", highlight=False, soft_wrap=True)
