"""Measure how often the checks of `inspect_set` raise a finding in clean sets, and find defects that were planted.

    python benchmarks/inspection.py --root ../shared/data            # medmnist/*.npz and MNIST/raw below it
    python benchmarks/inspection.py --quick                          # scikit-learn's digits, as a test

Writes ``benchmarks/results/inspection.csv``: for each data set, kind of set, defect and images per class the number of
sets and of those with a finding of each check. ``picks`` are random real images. ``distilled`` sets come from short
DM runs; their defect is in the real training data. `sets/inspection/rates.py` holds the sums of the rows without
defect. Defects: ``square`` (a bright square of 3 x 3 pixels, 2 x 2 in images of 8 pixels, in the corner of all images
of a class), ``noise`` (a random pattern of that size anywhere), ``noisy`` (that pattern with noise of 8 of 255 levels),
``copy`` (an image also under another class), ``speck`` (an isolated bright pixel in one image).
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from script import folder, listed, options
from torch import Tensor

from lightning_distill import ArrayDataModule, DigitsDataModule, DMDistiller, MedMNISTDataModule, MNISTDataModule
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.callbacks import SyntheticSetExport
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.sets.inspection import triggers
from lightning_distill.sets.inspection.check import checked_images
from lightning_distill.sets.inspection.registry import CHECKS
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import read_set

DATA = ("digits", "mnist", "breastmnist", "pneumoniamnist", "dermamnist")
DEFECTS = ("none", "square", "noise", "noisy", "copy", "speck")
SIZES = (5, 10, 20)
#: Sets without and with a defect, real images and seeds of distilled ones.
PICKS, SEEDS = (40, 20), (2, 1)
#: Starts and sub-images of the distilled sets, their images per class, steps, and real images of a batch.
RUNS, IPC, STEPS, REAL = (("noise", 1), ("herding", 1), ("herding", 2)), 10, 60, 32


def damage(pixels: Tensor, labels: Tensor, defect: str, seed: int) -> Tensor:
    """Return uint8 images ``(N, C, H, W)`` with a defect."""
    random, pixels = torch.Generator().manual_seed(seed), pixels.clone()
    height, width = pixels.shape[2:]
    side = triggers.planted_side(pixels)
    own = labels == int(torch.randint(0, int(labels.max()) + 1, (1,), generator=random))
    if defect == "square":
        pixels[own, :, height - side :, width - side :] = 255
    elif defect in ("noise", "noisy"):
        row, column = (int(torch.randint(0, size - side + 1, (1,), generator=random)) for size in (height, width))
        patch = torch.randint(0, 256, (side, side), generator=random).float().expand(int(own.sum()), 1, side, side)
        noise = 8 * torch.randn(patch.shape, generator=random) if defect == "noisy" else 0
        pixels[own, :, row : row + side, column : column + side] = (patch + noise).clamp(0, 255).round().byte()
    elif defect == "copy":
        pixels[(~own).nonzero()[0]] = pixels[own.nonzero()[0]]
    elif defect == "speck":
        image = pixels[0]
        image[:, height // 2, width // 2] = 255 if float(image[:, height // 2, width // 2].float().mean()) < 128 else 0
    return pixels


def with_findings(data: LabeledSet) -> set[str]:
    """Return the names of the checks with a finding."""
    images = checked_images(data)
    names = {name for name, check in CHECKS.items() if name != triggers.NAME and check(images).findings}
    return names | {triggers.NAME} if triggers.find_triggers(images) else names


def picks(data: ArrayDataModule, per_class: int, defect: str, count: int) -> list[set[str]]:
    """Inspect random real images with a defect."""
    images, labels = (torch.as_tensor(array[:]) for array in data.train_arrays())
    found = []
    for seed in range(count):
        random = torch.Generator().manual_seed(seed)
        members = [(labels == label).nonzero().flatten() for label in range(data.spec.num_classes)]
        chosen = torch.cat([rows[torch.randperm(len(rows), generator=random)[:per_class]] for rows in members])
        pixels = damage(images[chosen], labels[chosen], defect, seed)
        found.append(with_findings(LabeledSet(pixels, labels[chosen], data.spec)))
    return found


def distilled(data: ArrayDataModule, defect: str, steps: int, seeds: int) -> list[set[str]]:
    """Distil sets from training images with a defect, and inspect them."""
    images, labels = (torch.as_tensor(array[:]) for array in data.train_arrays())
    found = []
    for seed, (init, formation) in enumerate(RUNS * seeds):
        real = damage(images, labels, defect, seed)
        spec = data.spec
        module = ArrayDataModule(
            (real.numpy(), labels.numpy()), name=spec.name, class_names=spec.class_names, channels="first",
            augmentation=spec.augmentation, real_per_class=REAL,
        )  # fmt: skip
        model = DMDistiller(
            IPC, init=init, formation=formation, network="convnet_w16", compile="off", seed=seed, pool=0
        )
        with tempfile.TemporaryDirectory() as place:
            trainer = quiet_trainer(steps, "32-true", "cpu", [SyntheticSetExport(place, yardsticks=())])
            trainer.fit(model, datamodule=module)
            found.append(with_findings(read_set(Path(place) / "last")[0]))
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of medmnist/*.npz and MNIST/raw")
    parser.add_argument("--only", help=f"comma-separated data sets: {','.join(DATA)}")
    parser.add_argument("--parts", default="picks,distilled", help="comma-separated parts")
    given = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    medmnist = partial(MedMNISTDataModule, root=given.root / "medmnist", download=False)
    makes: dict[str, Callable[[], ArrayDataModule]] = {
        "digits": DigitsDataModule,
        "mnist": partial(MNISTDataModule, root=given.root, download=False),
        **{name: partial(medmnist, name) for name in DATA[2:]},
    }
    names = ["digits"] if given.quick else listed(parser, given.only or ",".join(DATA), DATA)
    parts = listed(parser, given.parts, ("picks", "distilled"))
    counts, seeds, sizes, steps = ((2, 2), (1, 1), (5,), 2) if given.quick else (PICKS, SEEDS, SIZES, STEPS)
    columns = ("sets", *CHECKS, "seconds")
    book = ResumableCsv(
        folder(given) / "inspection.csv", ("dataset", "kind", "defect", "per_class"), columns, overwrite=given.again
    )
    for name in names:
        data = makes[name]()
        data.setup()
        jobs: list[tuple[str, str, int, Callable[[], list[set[str]]]]] = []
        if "picks" in parts:
            for size in sizes:
                jobs += [("picks", d, size, partial(picks, data, size, d, counts[d != "none"])) for d in DEFECTS]
        if "distilled" in parts:
            jobs += [
                ("distilled", d, IPC, partial(distilled, data, d, steps, seeds[d != "none"]))
                for d in ("none", "square", "noise")
            ]
        for kind, defect, size, job in jobs:
            if book.is_missing(name, kind, defect, size):
                started = time.perf_counter()
                found = job()
                row = {"dataset": name, "kind": kind, "defect": defect, "per_class": size, "sets": len(found)}
                row |= {check: sum(check in findings for findings in found) for check in CHECKS}
                row["seconds"] = f"{time.perf_counter() - started:.1f}"
                book.put(row | provenance("python benchmarks/inspection.py"))
                print(row, flush=True)


if __name__ == "__main__":
    main()
