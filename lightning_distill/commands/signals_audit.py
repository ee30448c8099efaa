"""``lightning-distill signals-audit``: measure what a signal bank reveals about the images in its sums."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import progress_bar, report_to
from lightning_distill.data import ArrayDataModule
from lightning_distill.leakage.result import AttackRow
from lightning_distill.leakage.signal_attacks import SIGNAL_ATTACKS
from lightning_distill.leakage.signal_audit import audit_signals
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.utils.atomic_files import write_files_atomically


def signals_audit(data: ArrayDataModule, *, out: str | None = None, **options: Any) -> list[AttackRow]:
    """Measure by attacks what a signal bank reveals about the images in its sums, before it is sent.

    Banks are computed from random halves of the patients, and attacked by somebody who knows one image, and by
    somebody who knows all images that may be in the sums. ``--epsilon 8`` measures a bank with noise beside it.

    Args:
        data: Real data that the bank is made from: ``--data MedMNISTDataModule --data.name breastmnist``.
        out: JSON file for the rates; it names no image.
        **options: Options of `leakage.audit_signals`.

    Returns:
        A row for each attack.

    Raises:
        ValueError: There are fewer than 8 halves, a half would lack a class, or an option is out of range or unknown.
        OSError: The file cannot be written.
    """
    if out is not None:
        check_file_writable(out)
    with progress_bar() as bar:
        rows = audit_signals(data, on_progress=report_to(bar), **options)
    console = plain_console()
    table = Table(title=f"Attacks on signal banks of {data.spec.name}, percent")
    for column in ("bank", "attack", "unit", "AUC", "TPR at 1 %", "TPR at 0.1 %"):
        table.add_column(column)
    for row in rows:
        rates = row.rates
        table.add_row(
            row.recipe,
            row.attack,
            row.unit,
            f"{rates.auc:.3f} [{rates.auc_low:.3f}, {rates.auc_high:.3f}]",
            *(str(rate).replace(" %", "") for rate in rates.rates),
        )
    console.print(table)
    for attack, known in SIGNAL_ATTACKS.items():
        console.print(f"{attack}: {known}", soft_wrap=True)
    if "tracing" not in {row.attack for row in rows}:
        console.print("tracing was not measured: it needs 8 validation images of each class", soft_wrap=True)
    if out is not None:
        text = json.dumps([row.to_dict(public=True) for row in rows], default=float, indent=1)
        write_files_atomically({Path(out): text.encode()})
    return rows
