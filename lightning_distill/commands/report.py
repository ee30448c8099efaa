"""``lightning-distill report``: summarize runs and result tables in one HTML file."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import progress_bar
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.overlap import check_overlap
from lightning_distill.leakage.exposed_pairs import exposed_pairs as draw_exposed_pairs
from lightning_distill.leakage.members import check_members, members_of
from lightning_distill.report.exposed_pairs import ExposedPairs
from lightning_distill.report.neighbours import check_fits, count_chunks, nearest, neighbour_bands
from lightning_distill.report.page import page
from lightning_distill.report.runs import Run, read_input
from lightning_distill.report.set_section import Neighbours
from lightning_distill.sets.leakage_record import read_audit
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.utils.atomic_files import write_files_atomically

#: Number of validation images whose nearest training image is the reference for the set's distances.
REFERENCE_IMAGES = 256


def report(
    inputs: list[str],
    *,
    out: str = "report.html",
    data: ArrayDataModule | None = None,
    exposed_pairs: bool = False,
    audit: str | None = None,
) -> Path:
    """Summarize runs and result tables in one self-contained HTML file.

    The page shows tables, curves, confusion matrices, reliability, recall, the images of each set and their nearest
    real images. It holds real images only where they are asked for: nearest ones by ``--data``, and exposed ones by
    ``--exposed_pairs`` too. Keep such a page under the rules of the data.

    Args:
        inputs: Result CSVs and run folders (with ``set.safetensors``, ``results.csv`` or
            ``predictions/*.safetensors``), given before all options: ``report runs/digits results.csv``.
        out: HTML file to write; it refers to no other file.
        data: Data that the sets were made from, to find the nearest real images: ``--data MedMNISTDataModule
            --data.name breastmnist``. The page then shows real images.
        exposed_pairs: Whether the section of a leakage audit shows the closest pairs of real and synthetic images. It
            needs ``--data`` and a set with an audit in its card.
        audit: Folder of ``audit-set`` (its ``--out``), for the training images that the strongest attack finds most
            often; needs ``--exposed_pairs true``.

    Returns:
        Path of the HTML file.

    Raises:
        FileNotFoundError: An input does not exist.
        ValueError: An input is neither a run nor a CSV of results, or a set does not fit the data. Exposed pairs are
            asked for without data, without an audit, or with another audit than that of the card.
        OSError: The folder of ``out`` cannot be written.
    """
    path = Path(out)
    check_file_writable(path)
    if exposed_pairs and data is None:
        raise ValueError("--exposed_pairs shows real images; give the data that the set was made from by --data")
    if audit is not None and not exposed_pairs:
        raise ValueError("--audit names the folder with the most exposed images; add --exposed_pairs true to show them")
    runs = [read_input(path) for path in dict.fromkeys(inputs)]
    exposed = find_exposed_pairs(runs, data, audit) if exposed_pairs and data is not None else {}
    neighbours = {} if data is None else find_neighbours(runs, data)
    text = page(runs, neighbours, datetime.date.today().isoformat(), exposed)
    write_files_atomically({path: text.encode()})
    console = plain_console()
    console.print(f"{path}: {len(text) / 1e6:.1f} MB, one file", highlight=False)
    if data is not None and neighbours:
        console.print(f"The page shows real images of {data.spec.name}: keep it under the rules of the data.")
    return path


def find_neighbours(runs: Sequence[Run], data: ArrayDataModule) -> dict[int, Neighbours]:
    """Return the nearest real images in train and val of each set, by the index of its run.

    Raises:
        ValueError: There is no set among the inputs, or a set does not fit the data.
    """
    sets = {index: run.synthetic for index, run in enumerate(runs) if run.synthetic is not None}
    if not sets:
        raise ValueError("--data finds the nearest real images of a set, but no input holds a set; leave it out")
    for synthetic in sets.values():
        check_fits(synthetic.spec, data.spec)
    for run in runs:
        check_overlap(run.card, data, "test", "warn")
    (train, _), (val, _) = data.splits["train"], data.splits["val"]
    reference = val[np.linspace(0, len(val) - 1, min(REFERENCE_IMAGES, len(val))).astype(np.int64)]
    neighbours = {}
    total = len(sets) * (count_chunks(train) + count_chunks(val)) + count_chunks(train)
    with progress_bar() as bar:
        task = bar.add_task("nearest real images", total=total)
        on_step: Callable[[], object] = lambda: bar.advance(task)  # noqa: E731
        real = nearest(torch.from_numpy(np.array(reference)), train, data.spec, on_step)
        for index, synthetic in sets.items():
            shown = synthetic.decode()
            in_train, in_val = (nearest(shown.pixels, pool, data.spec, on_step) for pool in (train, val))
            pools = [("train", train, in_train), ("val", val, in_val)]
            bands = neighbour_bands(shown.pixels, shown.labels, shown.spec, pools)
            neighbours[index] = Neighbours(bands, in_train, in_val, real, data.spec.name)
    return neighbours


def find_exposed_pairs(runs: Sequence[Run], data: ArrayDataModule, folder: str | None) -> dict[int, ExposedPairs]:
    """Return pictures of the real images that each audited set exposes most, by the index of its run.

    Raises:
        FileNotFoundError: The folder holds no audit.
        ValueError: No set has an audit, an audit belongs to another set or was changed, or it does not fit the data or
            the folder.
    """
    exposed = {}
    for index, run in enumerate(runs):
        if run.synthetic is None:
            continue
        found: Any = read_audit(run.card, run.synthetic)
        if found is not None:
            check_members(members_of(data), run.synthetic.spec, run.card)
            try:
                exposed[index] = draw_exposed_pairs(run.synthetic, found, data, folder)
            except (KeyError, TypeError) as error:
                raise ValueError(f"the audit in the card of {run.name} is not readable; audit the set again") from error
    if not exposed:
        raise ValueError("--exposed_pairs needs a set with an audit in its card; run audit-set with --attach true")
    return exposed
