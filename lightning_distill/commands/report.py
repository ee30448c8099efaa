"""``lightning-distill report``: summarize runs and result tables in one HTML file."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import progress_bar
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.overlap import check_overlap
from lightning_distill.report.neighbours import check_fits, count_chunks, nearest, neighbour_bands
from lightning_distill.report.page import page
from lightning_distill.report.runs import Run, read_input
from lightning_distill.report.set_section import Neighbours
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.utils.atomic_files import write_files_atomically

#: Number of validation images whose nearest training image is the reference for the set's distances.
REFERENCE_IMAGES = 256


def report(inputs: list[str], *, out: str = "report.html", data: ArrayDataModule | None = None) -> Path:
    """Summarize runs and result tables in one self-contained HTML file.

    The page shows tables, curves, confusion matrices, reliability, recall, the images of each set and their nearest
    real images.

    Args:
        inputs: Result CSVs and run folders (with ``set.safetensors``, ``results.csv`` or
            ``predictions/*.safetensors``), given before all options: ``report runs/digits results.csv``.
        out: HTML file to write; it refers to no other file.
        data: Data that the sets were made from, to find the nearest real images: ``--data MedMNISTDataModule
            --data.name breastmnist``.

    Returns:
        Path of the HTML file.

    Raises:
        FileNotFoundError: An input does not exist.
        ValueError: An input is neither a run nor a CSV of results, or a set does not fit the data.
        OSError: The folder of ``out`` cannot be written.
    """
    path = Path(out)
    check_file_writable(path)
    runs = [read_input(path) for path in dict.fromkeys(inputs)]
    neighbours = {} if data is None else find_neighbours(runs, data)
    text = page(runs, neighbours, datetime.date.today().isoformat())
    write_files_atomically({path: text.encode()})
    plain_console().print(f"{path}: {len(text) / 1e6:.1f} MB, one file", highlight=False)
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
