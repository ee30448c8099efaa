"""``lightning-distill report``: everything a run or a grid has measured, as one HTML file."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_distill.data import ArrayDataModule
from lightning_distill.report.neighbours import check_fits, count_chunks, nearest, neighbour_bands
from lightning_distill.report.page import page
from lightning_distill.report.runs import Run, read_input
from lightning_distill.report.sections import Neighbours
from lightning_distill.sets.storage import check_writable, write_files_atomically

#: Validation images whose own nearest training image is looked for, as something to hold the set's against.
REAL = 256


def report(inputs: list[str], out: str = "report.html", data: ArrayDataModule | None = None) -> Path:
    """Write one self-contained HTML file: tables, curves, confusion, reliability, recall, images and their neighbours.

    Args:
        inputs: run folders (with ``set.safetensors``, ``results.csv``, ``predictions/*.safetensors``, or some of them)
            and result CSVs, given before all options: ``report runs/digits results.csv --out report.html``.
        out: the file to write; it needs nothing else to be read.
        data: the data the sets were made from, to find the nearest real images: ``--data MedMNISTDataModule
            --data.name breastmnist``.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: an input is not there.
        ValueError: an input is neither a run nor a CSV of results, or a set that does not fit the data.
        OSError: the folder of ``out`` cannot be written.
    """
    path = Path(out)
    check_writable(path.parent)
    runs = [read_input(given) for given in dict.fromkeys(inputs)]
    neighbours = {} if data is None else find_neighbours(runs, data)
    text = page(runs, neighbours, datetime.date.today().isoformat())
    write_files_atomically({path: text.encode()})
    Console().print(f"{path}: {len(text) / 1e6:.1f} MB, one file", highlight=False)
    return path


def find_neighbours(runs: Sequence[Run], data: ArrayDataModule) -> dict[int, Neighbours]:
    """For every set among the inputs its nearest real images in train and in val, by the place of its run.

    Raises:
        ValueError: no set among the inputs, or one that does not fit the data.
    """
    sets = {place: run.synthetic for place, run in enumerate(runs) if run.synthetic is not None}
    if not sets:
        raise ValueError("--data is for the nearest real images of a set, and no input holds a set; leave it out")
    for synthetic in sets.values():
        check_fits(synthetic.spec, data.spec)
    (train, _), (val, _) = data.splits["train"], data.splits["val"]
    yardstick = val[np.linspace(0, len(val) - 1, min(REAL, len(val))).astype(np.int64)]
    found = {}
    with _bar() as bar:
        task = bar.add_task(
            "nearest real images", total=len(sets) * (count_chunks(train) + count_chunks(val)) + count_chunks(train)
        )
        tick: Callable[[], object] = lambda: bar.advance(task)  # noqa: E731
        real = nearest(torch.from_numpy(np.array(yardstick)), train, data.spec, tick)
        for place, synthetic in sets.items():
            in_train, in_val = (nearest(synthetic.pixels, pool, data.spec, tick) for pool in (train, val))
            pools = [("train", train, in_train), ("val", val, in_val)]
            bands = neighbour_bands(synthetic.pixels, synthetic.labels, synthetic.spec, pools)
            found[place] = Neighbours(bands, in_train, in_val, real, data.spec.name)
    return found


def _bar() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
