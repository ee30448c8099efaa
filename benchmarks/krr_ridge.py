"""Error of kernel ridge regression from picked images, before any distillation, by ridge, network and training.

    python benchmarks/krr_ridge.py

The regression of `KRRDistiller` on random real images (ipc of each class) predicts 40 other real training images of
each class. One CSV row per data set, ipc, network, number of SGD steps of the network on the picked images, and ridge:
the mean over `SEEDS` networks. ``centred`` subtracts the mean of the synthetic features, which is a regression with an
intercept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_distill import ArrayDataModule, MedMNISTDataModule, MNISTDataModule, NpzDataModule, create_network
from lightning_distill.distillers.krr import regression_targets
from lightning_distill.functional.network import Embedder
from lightning_distill.objectives import ridge_loss, ridge_weights
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.utils.csv_rows import write_csv

OUT = Path(__file__).parent / "results" / "krr_ridge.csv"
RIDGES, SEEDS, REAL_PER_CLASS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), 2, 40
#: Networks and the SGD steps on the picked images that they have taken.
NETWORKS = (("convnet_w32", 0), ("convnet_w32", 50), ("convnet_w16", 0), ("convnet", 0))
COLUMNS = ["dataset", "ipc", "network", "features", "steps", "centred", "ridge", "loss", "acc", "loss_of_zero"]


def load_data(root: Path, fashion_root: Path | None) -> list[ArrayDataModule]:
    """Return data with two, six, seven and ten classes."""
    return [
        MedMNISTDataModule("pneumoniamnist", root=root, download=False),
        NpzDataModule(root / "mednist6_28.npz", name="mednist6_28"),
        MedMNISTDataModule("dermamnist", root=root, download=False),
        MNISTDataModule("fashionmnist", root=fashion_root),
    ]


def features_of(network: str, steps: int, picked: SyntheticSet, real: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the features of picked and real images by a new network that was trained on the picked ones."""
    spec, images, targets = picked.spec, picked.images.detach(), picked.targets()
    torch.manual_seed(seed)
    net = create_network(network, spec.shape[0], spec.num_classes, spec.shape[1:])
    sgd = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for _ in range(steps):
        sgd.zero_grad()
        F.cross_entropy(net(images), targets).backward()
        sgd.step()
    embed = cast(Embedder, net).embed
    with torch.no_grad():
        return embed(images), embed(real)


def rows_of(data: ArrayDataModule, ipc: int) -> list[dict[str, object]]:
    """Return the rows of one data set and ipc."""
    data.prepare_data()
    data.setup("fit")
    spec, (images, labels) = data.spec, data.train_arrays()
    picked, random = SyntheticSet.from_real_data(images, labels, spec, ipc, "real", 1), np.random.default_rng(0)
    chosen = [random.choice(np.flatnonzero(labels == c), REAL_PER_CLASS, False) for c in range(spec.num_classes)]
    real, real_labels = spec.normalize(torch.from_numpy(images[np.concatenate(chosen)])), torch.arange(len(chosen))
    real_labels = real_labels.repeat_interleave(REAL_PER_CLASS)
    y_real, y_picked = regression_targets(real_labels, spec), regression_targets(picked.targets(), spec)
    rows: list[dict[str, object]] = []
    for network, steps in NETWORKS:
        pairs = [features_of(network, steps, picked, real, seed) for seed in range(SEEDS)]
        for centred in (False, True):
            for ridge in RIDGES:
                losses, hits = [], []
                for s, r in pairs:
                    mean = s.mean(0) if centred else torch.zeros_like(s[0])
                    weights, _ = ridge_weights(s - mean, y_picked, ridge)
                    losses.append(float(ridge_loss(weights, r - mean, y_real)) / len(r))
                    hits.append(float((((r - mean).double() @ weights).argmax(1) == real_labels).float().mean()))
                rows.append({
                    "dataset": spec.name, "ipc": ipc, "network": network, "features": len(pairs[0][0][0]),
                    "steps": steps, "centred": int(centred), "ridge": ridge, "loss": round(float(np.mean(losses)), 4),
                    "acc": round(float(np.mean(hits)), 4), "loss_of_zero": round(1 - 1 / spec.num_classes, 4),
                })  # fmt: skip
    return rows


def main(args: list[str] | None = None) -> int:
    """Write all rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("../shared/data/medmnist"), help="folder of the npz files")
    parser.add_argument("--fashion_root", type=Path, default=None, help="folder of FashionMNIST")
    options = parser.parse_args(args)
    data = load_data(options.root, options.fashion_root)
    rows = [row for module in data for ipc in (1, 10) for row in rows_of(module, ipc)]
    write_csv(OUT, COLUMNS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
