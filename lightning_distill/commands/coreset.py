"""``lightning-distill coreset``: chosen real images as a set file, to hold a distilled one against."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from rich.console import Console

from lightning_distill.commands._candidates import student_bar
from lightning_distill.commands.evaluate import Precision
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.baselines import coreset_sampler
from lightning_distill.evaluation.features import embed_features, embedding_epochs
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.adapt import to_stored_dtype
from lightning_distill.sets.card import UNCHANGED, make_card
from lightning_distill.sets.coresets import Ratio, Space, check_labels, check_method, counts_for_ratio
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import check_writable, save_set
from lightning_distill.sets.synthetic import SmallClass, images_per_class, limit_to_available


def coreset(
    data: ArrayDataModule,
    method: str = "herding",
    ipc: int | list[int] = 10,
    out: str = "coreset",
    space: Space = "pixels",
    ratio: Ratio = "balanced",
    on_small_class: SmallClass = "error",
    network: str = "convnet",
    protocol: str = "reference",
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    compile: CompileMode = "auto",
) -> Path:
    """Choose real training images and write them as a set file; the file then holds real images.

    Args:
        data: the real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        method: ``random``, ``herding``, ``kcenter`` or ``kmeans``.
        ipc: images per class, one number or one for each class.
        out: folder for ``set.safetensors`` and ``card.json``.
        space: where distances are measured: ``pixels``, or ``embedding`` of a network trained on the data.
        ratio: ``balanced`` takes ipc of each class, ``natural`` as many in all, in the ratio of the data's classes.
        on_small_class: where a class has fewer images than its ipc: ``error``, ``fewer``, ``repeat``.
        network: that makes the embedding, by our names or timm's.
        protocol: how it is trained: ``reference`` or ``quick``.
        seed: of the choice and of the network.
        precision: of the network's forward.
        accelerator: where to compute.
        compile: see `functional.FunctionalNetwork`.

    Returns:
        The path of ``set.safetensors``.

    Raises:
        ValueError: unknown method or network, a class with too few images.
        OSError: the folder cannot be written.
    """
    check_method(method)
    check_writable(out)
    real, spec = data.train_arrays(), data.spec
    check_labels(real[1])
    counts = images_per_class(ipc, spec)
    if ratio == "natural":
        counts = counts_for_ratio(real[1], sum(counts), ratio)
    counts = limit_to_available(counts, np.bincount(real[1], minlength=len(spec.balance_groups)), spec, on_small_class)
    hyper_parameters: dict[str, object] = {"ipc": ipc, "ratio": ratio, "space": space, "seed": seed}
    features = None
    if space == "embedding":
        hyper_parameters |= {"network": network, "protocol": protocol}
        device = ("cuda" if torch.cuda.is_available() else "cpu") if accelerator == "auto" else accelerator
        with student_bar() as bar:
            task = bar.add_task(f"embedding by {network}", total=embedding_epochs(protocol, len(real[1])))
            tick, bf16 = partial(bar.advance, task), precision == "bf16-mixed"
            features = embed_features(real, spec, network, protocol, seed, device, bf16, compile, tick)
    picked = coreset_sampler(method, real, counts, spec, seed, features)(0)
    card = make_card(method, hyper_parameters, {}, UNCHANGED, 0)
    path = save_set(out, LabeledSet(to_stored_dtype(picked.pixels, spec), picked.labels, spec), card)
    rank_zero_warn(f"REAL IMAGES in {path}: {card['warning']}")
    Console().print(
        f"{len(picked.labels)} real images of {spec.name}, unchanged, chosen by {method}: {path}", soft_wrap=True
    )
    return path
