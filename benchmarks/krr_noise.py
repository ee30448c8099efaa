"""Agreement of the gradients of `KRRDistiller`: which random choice of a step makes them noisy.

    python benchmarks/krr_noise.py

Gradients of the same random real images (ipc of each class) are computed `REPEATS` times with other real images, with
other random networks, or with other random transformations, everything else equal. One CSV row per data set, ridge and
choice: the mean cosine of two such gradients, 1 where the choice has no effect.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations
from pathlib import Path
from typing import cast

import numpy as np
import torch
from krr_ridge import load_data
from torch import Tensor

from lightning_distill import ArrayDataModule, create_network
from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.distillers.krr import regression_targets
from lightning_distill.functional.network import Embedder
from lightning_distill.objectives import ridge_loss, ridge_weights
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.utils.csv_rows import write_csv

OUT = Path(__file__).parent / "results" / "krr_noise.csv"
NETWORK, IPC, REPEATS, RIDGES = "convnet_w32", 10, 6, (1e-3, 1e-1)
#: What is varied, and the real images of a step.
CHOICES = (("real images", 112), ("real images", 448), ("real images", 896), ("network", 448), ("transformation", 448))
COLUMNS = ["dataset", "classes", "ipc", "network", "ridge", "varied", "real_images", "cosine"]


def gradients(
    data: ArrayDataModule, picked: SyntheticSet, count: int, seeds: tuple[int, int, int]
) -> dict[float, Tensor]:
    """Return the gradient by the images for each ridge, with seeds of real images, network and transformation."""
    spec, (images, labels) = data.spec, data.train_arrays()
    random, per_class = np.random.default_rng(seeds[0]), count // spec.num_classes
    rows = np.concatenate([
        random.choice(members, per_class, len(members) < per_class)
        for members in (np.flatnonzero(labels == c) for c in range(spec.num_classes))
    ])  # fmt: skip
    torch.manual_seed(seeds[1])
    embed = cast(Embedder, create_network(NETWORK, spec.shape[0], spec.num_classes, spec.shape[1:])).embed
    augment = SiameseAugmentation(spec.augmentation, spec.shape[1:])
    real = spec.normalize(torch.from_numpy(images[rows]))
    with torch.no_grad():
        r = embed(augment.of_classes(real, [len(real)], [seeds[2]]))
    leaf = picked.images.detach().requires_grad_()
    s = embed(augment.of_classes(leaf, [len(leaf)], [seeds[2]]))
    y_real = regression_targets(torch.from_numpy(labels[rows]), spec)
    y_picked = regression_targets(picked.targets(), spec)
    losses = {ridge: ridge_loss(ridge_weights(s, y_picked, ridge)[0], r, y_real) for ridge in RIDGES}
    return {k: torch.autograd.grad(loss, leaf, retain_graph=True)[0].flatten() for k, loss in losses.items()}


def main(args: list[str] | None = None) -> int:
    """Write all rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("../shared/data/medmnist"), help="folder of the npz files")
    parser.add_argument("--fashion_root", type=Path, default=None, help="folder of FashionMNIST")
    options = parser.parse_args(args)
    lines: list[dict[str, object]] = []
    for data in load_data(options.root, options.fashion_root):
        data.prepare_data()
        data.setup("fit")
        picked = SyntheticSet.from_real_data(*data.train_arrays(), data.spec, IPC, "real", 1)
        for varied, count in CHOICES:
            seeds = [tuple(i if varied == name else 0 for name in ("real images", "network", "transformation"))
                     for i in range(REPEATS)]  # fmt: skip
            found = [gradients(data, picked, count, cast("tuple[int, int, int]", three)) for three in seeds]
            for ridge in RIDGES:
                pairs = combinations([gradient[ridge] for gradient in found], 2)
                cosine = np.mean([float(torch.cosine_similarity(a, b, dim=0)) for a, b in pairs])
                lines.append({
                    "dataset": data.spec.name, "classes": data.spec.num_classes, "ipc": IPC, "network": NETWORK,
                    "ridge": ridge, "varied": varied, "real_images": count, "cosine": round(float(cosine), 3),
                })  # fmt: skip
    write_csv(OUT, COLUMNS, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
