"""``lightning-distill audit-data``: leaks and faults in data, before anything is trained on them."""

from __future__ import annotations

import datetime
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightning_distill._version import __version__
from lightning_distill.audit import Finding, Place, audit, total_work
from lightning_distill.audit.classes import class_counts, class_names
from lightning_distill.audit.run import MAX_NEAR, NEAR
from lightning_distill.commands._candidates import student_bar
from lightning_distill.commands.evaluate import data_options
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.groups import PATIENT
from lightning_distill.data.checks.splits import RawSplits
from lightning_distill.sets.storage import check_writable
from lightning_distill.utils.csv_rows import append_csv

STYLES = {"blocks": "bold red", "warns": "yellow", "unknown": "dim", "ok": "green"}
#: Examples of a finding that are shown; the CSV has all.
SHOWN = 3


@dataclass(frozen=True)
class AuditRow:
    """A check with what it found; or, with a ``row``, one image that it found, and the one it is like."""

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
    data: ArrayDataModule, near: float = NEAR, max_near: float = MAX_NEAR, out: str | None = None
) -> list[Finding]:
    """Look for what makes scores on some data wrong: copies and patients in two splits, classes that are missing.

    The data are looked at as they were given: nothing is carved out of train or left out, and patients in two splits
    do not stop it. Images are named by split and row, from 0; patients are counted and never named.

    Args:
        data: the real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        near: likeness from which an image is nearly another, as it lies, mirrored, turned or shifted; see
            `audit.likeness.ImageSimilarity`.
        max_near: the share of a split's images above which near copies of earlier splits block. The default, one in a
            hundred, is what can move an accuracy as much as students differ; chance is far below it. 1 only warns.
        out: CSV that the findings are added to, with every image.

    Returns:
        The findings, the worst first, where none blocks.

    Raises:
        SystemExit: 1 where something blocks: the same image or patient in two splits, too many near copies, one image
            with other labels in two splits, a class without training images, a label without a class.
        ValueError: data that cannot be read, ``near`` outside of (0, 1], ``max_near`` outside of [0, 1].
        OSError: the folder of ``out`` cannot be written.
    """
    if out is not None:
        check_writable(Path(out).parent)
    given = data.load_splits()
    with student_bar() as bar:
        task = bar.add_task("images looked at", total=total_work(given))
        findings = audit(given, near, max_near, lambda images: bar.advance(task, images))
        bar.update(task, completed=total_work(given))
    show(findings, given, Console())
    if out is not None:
        append_csv(Path(out), rows_of(findings, data, given, near, max_near))
    if any(finding.status == "blocks" for finding in findings):
        raise SystemExit(1)
    return findings


def show(findings: list[Finding], given: RawSplits, console: Console) -> None:
    """The classes of every split, and what the checks have found."""
    counts = class_counts(given)
    table = Table(title=f"{given.name} ({given.source}), images of each class")
    table.add_column("class")
    for split in counts:
        table.add_column(split, justify="right")
    for label, name in enumerate(class_names(given)):
        table.add_row(name, *(f"{count[label]:,}" for count in counts.values()))
    table.add_row("images", *(f"{len(labels):,}" for _, labels in given.splits.values()), style="bold")
    console.print(table)
    table = Table(title="Audit")
    for column in ("", "check", "found", "examples (split row)"):
        table.add_column(column)
    for finding in findings:
        examples = ", ".join(map(str, finding.places[:SHOWN])) + (", ..." if len(finding.places) > SHOWN else "")
        table.add_row(finding.status, finding.check, finding.found, examples, style=STYLES[finding.status])
    console.print(table)
    if "val" not in given.splits:
        whole = "patients or lesions" if given.group_kind == PATIENT else f"{given.group_kind}s"
        how = f"whole {whole}" if "train" in given.groups else "single images, whoever they are of"
        console.print(f"There is no val split: it will be carved out of train by {how}.", highlight=False)


def rows_of(
    findings: list[Finding], data: ArrayDataModule, given: RawSplits, near: float, max_near: float
) -> list[AuditRow]:
    """A row for each finding, followed by one for each of its images."""
    options = [*data_options("data", data), *(["--near", f"{near:g}"] if near != NEAR else [])]
    options += ["--max_near", f"{max_near:g}"] if max_near != MAX_NEAR else []
    command = shlex.join(["lightning-distill", "audit-data", *options])
    day = datetime.date.today().isoformat()

    def row(finding: Finding, count: int, found: str, place: Place) -> AuditRow:
        return AuditRow(
            dataset=given.name,
            source=given.source,
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
