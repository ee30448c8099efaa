"""``lightning-distill audit-data``: find leaks and faults in data before training."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightning_distill._version import __version__
from lightning_distill.audit import Finding, Place, audit, total_work
from lightning_distill.audit.classes import class_counts, class_names
from lightning_distill.audit.run import MAX_NEAR, NEAR
from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import command_line, progress_bar
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.groups import PATIENT
from lightning_distill.data.checks.splits import RawSplits
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.utils.csv_rows import append_csv

STYLES = {"blocks": "bold red", "warns": "yellow", "unknown": "dim", "ok": "green"}
#: Number of examples printed for a finding; the CSV lists all.
SHOWN = 3


@dataclass(frozen=True)
class AuditRow:
    """Result of a check; with ``row``, one image that the check found and the image that it matches."""

    dataset: str
    source: str
    check: str
    status: str
    count: int
    found: str
    split: str
    row: int | None
    other_split: str
    other_row: int | None
    value: float
    kind: str
    near: float
    max_near: float
    lightning_distill: str
    date: str
    command: str


def audit_data(
    data: ArrayDataModule, *, near: float = NEAR, max_near: float = MAX_NEAR, out: str | None = None
) -> list[Finding]:
    """Find faults that invalidate scores: copies and patients in two splits, missing classes, wrong labels.

    The splits are checked as they are stored, before any image is left out or moved to a validation split. Images are
    named by split and row, counted from 0. Patients are counted and never named.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        near: Similarity in (0, 1] above which two images count as near copies, unchanged, mirrored, rotated or shifted;
            see `audit.similarity.ImageSimilarity`.
        max_near: Largest share in [0, 1] of near copies of earlier splits in a split; a larger share is an error (exit
            status 1). Near copies of 1 % of a split can change an accuracy by as much as students differ. 1 never
            fails.
        out: CSV file that the findings are appended to, with every image.

    Returns:
        Findings, ordered by severity, if none of them is an error.

    Raises:
        SystemExit: Exit status 1 where a finding blocks: the same image or patient in two splits, too many near copies,
            an image with different labels in two splits, a class without training images, one class only,
            a label without a class.
        ValueError: The data cannot be read, or ``near`` or ``max_near`` is out of range.
        OSError: The folder of ``out`` cannot be written.
    """
    command = command_line(audit_data, locals())
    if out is not None:
        check_file_writable(out)
    splits = data.load_splits()
    with progress_bar() as bar:
        task = bar.add_task("checking images", total=total_work(splits))
        findings = audit(splits, near, max_near, lambda images: bar.advance(task, images))
        bar.update(task, completed=total_work(splits))
    console = plain_console()
    print_findings(findings, splits, console)
    if splits.advice:
        console.print(f"{splits.advice}.", highlight=False, markup=False)
    if "test" not in splits.splits:
        advice = data.advise_split("test")
        console.print(f"There is no test split, so that no set can be tested: {advice}.", highlight=False)
    if out is not None:
        append_csv(Path(out), rows_of(findings, splits, near, max_near, command))
    if any(finding.status == "blocks" for finding in findings):
        raise SystemExit(1)
    return findings


def print_findings(findings: list[Finding], splits: RawSplits, console: Console) -> None:
    """Print the class counts of every split and the findings."""
    counts = class_counts(splits)
    table = Table(title=f"{splits.name} ({splits.source}), images of each class")
    table.add_column("class")
    for split in counts:
        table.add_column(split, justify="right")
    for label, name in enumerate(class_names(splits)):
        table.add_row(name, *(f"{count[label]:,}" for count in counts.values()))
    table.add_row("total", *(f"{len(labels):,}" for _, labels in splits.splits.values()), style="bold")
    console.print(table)
    table = Table(title="Audit")
    for column in ("", "check", "found", "examples (split row)"):
        table.add_column(column)
    for finding in findings:
        examples = ", ".join(map(str, finding.places[:SHOWN])) + (", ..." if len(finding.places) > SHOWN else "")
        table.add_row(finding.status, finding.check, finding.found, examples, style=STYLES[finding.status])
    console.print(table)
    if "val" not in splits.splits:
        whole = "patients or lesions" if splits.group_kind == PATIENT else f"{splits.group_kind}s"
        how = f"whole {whole}" if "train" in splits.groups else "single images, regardless of the patient"
        console.print(f"There is no val split: it will be split off from train by {how}.", highlight=False)


def rows_of(findings: list[Finding], splits: RawSplits, near: float, max_near: float, command: str) -> list[AuditRow]:
    """Return a row for each finding, followed by one for each of its images."""
    day = datetime.date.today().isoformat()

    def row(finding: Finding, count: int, found: str, place: Place) -> AuditRow:
        return AuditRow(
            dataset=splits.name,
            source=splits.source,
            check=finding.check,
            status=finding.status,
            count=count,
            found=found,
            split=place.split,
            row=place.row,
            other_split=place.other_split,
            other_row=place.other_row,
            value=math.nan if place.value is None else round(place.value, 4),
            kind=place.kind,
            near=near,
            max_near=max_near,
            lightning_distill=__version__,
            date=day,
            command=command,
        )

    rows = []
    for finding in findings:
        rows.append(row(finding, finding.count, finding.found, Place()))
        rows += [row(finding, 1, "", place) for place in finding.places]
    return rows
