"""Draw images of several sets of one data set below each other, a row for each class of each set.

    python benchmarks/generators_picture.py --sets "DM, 2 x 2=runs/a/last" "flow=runs/b/last"

It writes ``benchmarks/results/generators_compared.png``. The first images of each set are shown, not selected.
Sub-images are decoded.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from script import folder, options

from lightning_distill.sets.image_grid import image_grid, png_bytes
from lightning_distill.sets.storage import read_set
from lightning_distill.utils.atomic_files import write_files_atomically

#: Images of a row.
COLUMNS = 10


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--sets", nargs="+", required=True, help="caption and path of each set: CAPTION=PATH")
    given = parser.parse_args(arguments)
    pixels, labels = [], []
    names: list[str] = []
    for text in given.sets:
        caption, _, path = text.partition("=")
        decoded = read_set(Path(path))[0].decode()
        spec = decoded.spec
        labels.append(decoded.labels + len(names))
        pixels.append(decoded.pixels.float())
        names += [f"{name}, {caption}" for name in spec.class_names]
    together = replace(spec, class_names=tuple(names), task="binary" if len(names) == 2 else "multi-class")
    grid = image_grid(torch.cat(pixels), torch.cat(labels), together, COLUMNS)
    write_files_atomically({folder(given) / "generators_compared.png": png_bytes(grid)})


if __name__ == "__main__":
    main()
