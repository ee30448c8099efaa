"""Ablation of `KRRDistiller` on data with many classes: one CSV row per data set, ipc and variant.

    python benchmarks/krr_ablation.py                                      # all jobs without a row
    python benchmarks/krr_ablation.py --only 'dermamnist-10-*' '*-1-base'  # by job name <data>-<ipc>-<variant>
    python benchmarks/krr_ablation.py --list

Every variant changes the listed options of `BASE` and nothing else. Students (ConvNet of width 32, protocol ``quick``)
are scored on the validation split; the test split is not used. ``--root`` holds the MedMNIST files, ``--mnist_root``
and ``--fashion_root`` hold the idx files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer
from torch import Tensor

from lightning_distill import (
    ArrayDataModule,
    DigitsDataModule,
    Distiller,
    DMDistiller,
    KRRDistiller,
    MedMNISTDataModule,
    MNISTDataModule,
    NpzDataModule,
    SyntheticSetExport,
    evaluate,
)
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.utils.csv_rows import read_csv, write_csv

OUT = Path(__file__).parent / "results" / "krr_ablation.csv"
NETWORK, STEPS, REAL_IMAGES, STUDENTS, PROTOCOL = "convnet_w32", 200, 448, 3, "quick"
#: Options of `KRRDistiller` that a variant starts from.
BASE: dict[str, Any] = {
    "init": "herding", "formation": 1, "lr": 0.01, "optimizer": "adam", "ridge": 1e-1, "pool_size": 6, "max_age": 100,
    "network_steps": 1, "network_lr": 0.01, "dm_weight": 0.0,
}  # fmt: skip
#: Variant -> (hypothesis, options). ``real_images``, ``steps`` and ``method`` are options of the script.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "herding": ("yardstick: picked images", {"steps": 0}),
    "dm": ("yardstick: DM", {"method": DMDistiller, "init": "herding", "pool": 0}),
    "base": ("-", {}),
    "lr_003": ("image rate: drift", {"lr": 0.003}),
    "lr_03": ("image rate: too few steps", {"lr": 0.03}),
    "sgd": ("drift: one scale for all pixels, not one for each", {"optimizer": "sgd", "lr": 30.0}),
    "ridge_1e-3": ("ridge", {"ridge": 1e-3}),
    "ridge_1": ("ridge", {"ridge": 1.0}),
    "real_112": ("real images a step", {"real_images": 112}),
    "prototype": ("the first recipe: small ridge, more steps", {"ridge": 1e-3, "real_images": 896, "steps": 300}),
    "random": ("networks know too much", {"network_steps": 0, "max_age": 1}),
    "trained": ("networks know too little", {"network_steps": 4}),
    "soft_labels": ("labels", {"soft_labels": True}),
    "formation_2": ("high frequencies, number of images", {"formation": 2}),
    "width_128": ("feature dimension", {"network": "convnet"}),
}
#: Data sets and images per class.
GRID = (
    ("dermamnist", 1),
    ("fashionmnist", 1),
    ("mednist6", 1),
    ("mnist", 1),
    ("dermamnist", 10),
    ("fashionmnist", 10),
    ("mednist6", 10),
    ("mnist", 10),
)
#: Columns of the CSV.
COLUMNS = [
    "job", "dataset", "source", "ipc", "variant", "hypothesis", "options", "steps", "real_images", "images", "acc",
    "acc_std", "balanced_acc", "balanced_acc_std", "auroc", "loss_first", "loss_last", "moved", "moved_high",
    "students", "network", "protocol", "split", "fit_seconds", "seconds", "precision", "machine", "torch", "date",
]  # fmt: skip


def load_data(name: str, real_images: int, options: argparse.Namespace) -> ArrayDataModule:
    """Return the data module of a name, with about ``real_images`` real images in a step."""
    if name == "mednist6":
        path, augmentation = options.root / "mednist6_28.npz", "dsa_grey_noflip"
        return NpzDataModule(
            path, name=name, source="MedNIST, own split", augmentation=augmentation, real_per_class=real_images // 6
        )
    if name == "mnist":
        return MNISTDataModule("mnist", root=options.mnist_root, real_per_class=real_images // 10)
    if name == "fashionmnist":
        return MNISTDataModule("fashionmnist", root=options.fashion_root, real_per_class=real_images // 10)
    if name == "digits":
        return DigitsDataModule(real_per_class=real_images // 10)
    classes = {"dermamnist": 7}.get(name, 2)
    source = "lesion-disjoint split, not the official file" if name == "dermamnist" else None
    return MedMNISTDataModule(
        name, root=options.root, download=False, source=source, real_per_class=real_images // classes
    )


class LossRecorder(Callback):
    """Record the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Append the loss of the step."""
        self.losses.append(float(trainer.callback_metrics["distill/loss"]))


def high_frequency_share(images: Tensor) -> float:
    """Return the share of the spectral power of images ``(N, C, H, W)`` above a quarter cycle per pixel."""
    power = torch.fft.fft2(images).abs().square().mean((0, 1))
    rows, columns = (torch.fft.fftfreq(n).abs() for n in images.shape[-2:])
    high = torch.maximum(rows[:, None], columns[None]) > 0.25
    return float(power[high].sum() / power.sum())


def jobs(grid: Sequence[tuple[str, int]]) -> list[tuple[str, str, int, str]]:
    """Return name, data set, ipc and variant of all jobs, variant by variant."""
    return [(f"{data}-{ipc}-{variant}", data, ipc, variant) for variant in VARIANTS for data, ipc in grid]


def distil(data: ArrayDataModule, ipc: int, changes: dict[str, Any], folder: str) -> dict[str, object]:
    """Distil a set into a folder and return the columns of the distillation."""
    method, steps = changes.pop("method", KRRDistiller), changes.pop("steps", STEPS)
    arguments = {"network": NETWORK, **(BASE if method is KRRDistiller else {}), **changes}
    distiller: Distiller = method(ipc=ipc, compile="off", seed=0, **arguments)
    recorder, began = LossRecorder(), time.perf_counter()
    trainer = quiet_trainer(steps, "32-true", "cpu", [recorder, SyntheticSetExport(folder)])
    trainer.fit(distiller, datamodule=data)
    seconds = time.perf_counter() - began
    moved = (distiller.synthetic.images - distiller.init_synthetic(data).images).detach()
    some = max(1, min(30, steps // 3))
    return {
        "steps": steps, "options": " ".join(f"{k}={v}" for k, v in changes.items()),
        "loss_first": round(float(np.mean(recorder.losses[:some])), 4),
        "loss_last": round(float(np.mean(recorder.losses[-some:])), 4),
        "moved": round(float(moved.square().mean().sqrt()), 4),
        "moved_high": round(high_frequency_share(moved), 4), "fit_seconds": round(seconds, 1),
    }  # fmt: skip


def run(name: str, dataset: str, ipc: int, variant: str, options: argparse.Namespace) -> dict[str, object]:
    """Return the row of one job."""
    hypothesis, changes = VARIANTS[variant][0], dict(VARIANTS[variant][1])
    real_images = changes.pop("real_images", REAL_IMAGES)
    data = load_data(dataset, real_images, options)
    data.prepare_data()
    data.setup("fit")
    row: dict[str, object] = {"job": name, "ipc": ipc, "variant": variant, "hypothesis": hypothesis}
    scoring: dict[str, Any] = {
        "protocol": PROTOCOL, "students": STUDENTS, "architectures": [NETWORK], "split": "val", "compile": "off",
        "accelerator": "cpu",
    }  # fmt: skip
    if changes.get("steps") == 0:
        row |= {"steps": 0, "options": "", "fit_seconds": 0.0}
        (scores,) = evaluate(None, data, baselines=["herding"], ipc=ipc, **scoring)
    else:
        with tempfile.TemporaryDirectory() as folder:
            row |= {"real_images": real_images, **distil(data, ipc, changes, folder)}
            (scores,) = evaluate(f"{folder}/last", data, **scoring)
    cells = scores.to_dict()
    return row | {column: cells[column] for column in COLUMNS if column in cells and column not in row}


def read_rows() -> dict[str, dict[str, Any]]:
    """Return the rows of the CSV file by job name."""
    return {row["job"]: dict(row) for row in read_csv(OUT)}


def write_rows(rows: dict[str, dict[str, Any]]) -> None:
    """Write all rows, in the order of the variants."""
    order = list(VARIANTS)

    def place(row: Mapping[str, Any]) -> tuple[str, int, int]:
        return row["dataset"], int(row["ipc"]), order.index(row["variant"])

    write_csv(OUT, COLUMNS, sorted(rows.values(), key=place))


def main(args: list[str] | None = None) -> int:
    """Run all jobs that have no row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=["*"], nargs="+", help="patterns of job names, run in their order")
    parser.add_argument("--root", type=Path, default=Path("../shared/data/medmnist"), help="folder of the npz files")
    parser.add_argument("--mnist_root", type=Path, default=Path("../shared/data"), help="folder of MNIST")
    parser.add_argument("--fashion_root", type=Path, default=None, help="folder of FashionMNIST")
    parser.add_argument("--list", action="store_true", help="list the jobs and their state")
    options = parser.parse_args(args)
    warnings.filterwarnings("ignore")
    chosen = [job for pattern in options.only for job in jobs(GRID) if fnmatch(job[0], pattern)]
    for name, dataset, ipc, variant in chosen:
        done = name in read_rows()
        print(f"{name}: {'done' if done else 'no row'}", flush=True)
        if options.list or done:
            continue
        row = run(name, dataset, ipc, variant, options)
        write_rows(read_rows() | {name: row})  # read again: another process may have added rows
        acc, balanced = float(str(row["acc"])), float(str(row["balanced_acc"]))
        print(f"    {100 * acc:.1f} / {100 * balanced:.1f} %", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
