"""``lightning-distill audit-set``: measure what a set, or a recipe for sets, reveals about its training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lightning_distill import leakage
from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import progress_bar, report_to
from lightning_distill.data import ArrayDataModule
from lightning_distill.leakage import AttackRow, AuditResult
from lightning_distill.leakage.config import read_data
from lightning_distill.leakage.result import LABELS
from lightning_distill.leakage.sheet import data_sheet
from lightning_distill.sets.leakage_record import bind_audit
from lightning_distill.sets.storage import check_file_writable, read_set
from lightning_distill.utils.atomic_files import write_files_atomically


def audit_set(
    recipe: str | None = None,
    data: ArrayDataModule | None = None,
    *,
    synthetic_set: str | None = None,
    attach: bool = False,
    sheet: str | None = None,
    **options: Any,
) -> AuditResult:
    """Measure by attacks what a set reveals about its training images: membership, copies, recovery of the start.

    The recipe is repeated on random halves of the patients, beside real images, all real data and the method from
    noise. The same command, called again, goes on where it was stopped.

    Args:
        recipe: YAML file of ``fit`` that makes the set, or ``random``, ``herding``, ``kcenter``, ``kmeans`` or ``full``
            for real images, given before all options: ``audit-set config.yaml --shadows 16``. Default: the recipe in
            the card of ``--set``.
        data: Data that the set is made from. Default: the section ``data`` of the YAML file.
        synthetic_set: Finished set (file or folder), made from all training images, that is attacked too.
        attach: Whether the result is written into the card of ``--set``.
        sheet: HTML file for a data sheet of one page, in plain words.
        **options: Options of `leakage.audit_set`.

    Returns:
        Rows of all attacks.

    Raises:
        FileNotFoundError: The configuration or the set does not exist.
        ValueError: There are fewer than 8 shadows, a half would lack a class, set and configuration or data do not
            belong together, the folder holds another audit, or an option is unknown.
        OSError: A folder cannot be written.
    """
    if recipe is None and synthetic_set is None:
        raise ValueError("give the YAML file of fit that makes the set, or --set FILE whose card holds the recipe")
    if data is None and recipe is None:
        raise ValueError("give the data that the set was made from, e.g. --data DigitsDataModule")
    if sheet is not None:
        check_file_writable(sheet)
    console, module = plain_console(), data if data is not None else read_data(str(recipe))
    with progress_bar() as bar:
        result = leakage.audit_set(
            recipe,
            module,
            synthetic_set=synthetic_set,
            attach=attach,
            maker=None,
            on_progress=report_to(bar),
            on_rows=lambda so_far, name: bar.console.print(one_line(so_far, name), highlight=False, markup=False),
            **options,
        )
    print_result(result, console)
    if sheet is not None:
        plain = result.to_dict()
        sha256 = None
        if synthetic_set is not None:
            sha256 = str(bind_audit(plain, read_set(synthetic_set)[0])["set_sha256"])
        write_files_atomically({Path(sheet): data_sheet(plain, sha256).encode()})
        console.print(f"{sheet}: data sheet, one page", highlight=False)
    return result


def one_line(result: AuditResult, recipe: str) -> str:
    """Return the strongest attack on a recipe in one line.

    Args:
        result: Result so far.
        recipe: Name of the recipe.
    """
    row = result.strongest(recipe)
    assert row is not None
    rates = row.rates
    return (
        f"{LABELS.get(recipe, recipe)}: AUC {rates.auc:.3f} [{rates.auc_low:.3f}, {rates.auc_high:.3f}], TPR at 1 % "
        f"FPR {rates.rates[0]} ({row.attack})"
    )


def strongest_rows(result: AuditResult, recipe: str) -> list[AttackRow]:
    """Return the strongest attack on the sets of a recipe and on the finished set, by image and by patient."""
    kinds = dict.fromkeys((row.target, row.unit) for row in result.rows if row.recipe == recipe)
    found = [result.strongest(recipe, target, unit) for target, unit in kinds]
    return [row for row in found if row is not None]


def print_result(result: AuditResult, console: Console) -> None:
    """Print the strongest attack on each recipe, the findings, and what was not measured."""
    about = result.about
    shown = [row for name in result.utility for row in strongest_rows(result, name)]
    table = Table(title=f"Strongest attacks on {about['data']}, {about['shadows']} shadow sets, percent")
    for column in ("recipe", "attack", "unit", "AUC", "TPR at 1 %", "TPR at 0.1 %", "starts"):
        table.add_column(column, justify="left" if column in ("recipe", "attack", "unit") else "right")
    for row in shown:
        rates = row.rates
        table.add_row(
            LABELS.get(row.recipe, row.recipe) + (", finished set" if row.target == "set" else ""),
            row.attack,
            row.unit,
            f"{rates.auc:.3f} [{rates.auc_low:.3f}, {rates.auc_high:.3f}]",
            *(str(rate).replace(" %", "") for rate in rates.rates),
            "-" if row.started is None else f"{100 * row.started['tpr']:.0f}",
        )
    console.print(table)
    attacks = len({row.attack for row in result.rows})
    units = "by image" if result.about["patients"] is None else "by image and by patient"
    console.print(f"All {attacks} attacks, {units}, are in audit.json and the report.", highlight=False)
    for sentence in result.sentences():
        console.print(sentence, highlight=False)
    console.print("Not measured:", highlight=False)
    for item in result.not_measured:
        console.print(f"  {item}", highlight=False)
