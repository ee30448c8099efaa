"""``lightning-distill coreset``: write selected real images as a set file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import (
    Accelerator,
    Labels,
    Precision,
    progress_bar,
    resolve_device,
    start_task,
)
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.baselines import coreset_sampler
from lightning_distill.evaluation.features import embed_features, embedding_epochs
from lightning_distill.evaluation.label_prior import Prior
from lightning_distill.evaluation.relabel import get_teachers, record_text, relabel
from lightning_distill.functional.compile import CompileMode
from lightning_distill.networks.pretrained import weights_digests
from lightning_distill.networks.resolve import resolve_networks
from lightning_distill.sets.adapt import to_stored_dtype
from lightning_distill.sets.card import REDUCED, UNCHANGED, make_card
from lightning_distill.sets.coresets import Ratio, Space, check_labels, check_method, counts_for_ratio
from lightning_distill.sets.formation import validate_formation
from lightning_distill.sets.picture_file import write_picture
from lightning_distill.sets.storage import check_writable, read_set, save_set
from lightning_distill.sets.synthetic import SmallClass, images_per_class, limit_to_available
from lightning_distill.sets.training_images import ENTRY, hash_training_images


def coreset(
    data: ArrayDataModule,
    *,
    method: str = "herding",
    ipc: int | list[int] = 10,
    formation: int = 1,
    out: str = "coreset",
    space: Space = "pixels",
    ratio: Ratio = "balanced",
    on_small_class: SmallClass = "error",
    network: str = "convnet",
    weights: dict[str, str] | None = None,
    protocol: str = "reference",
    labels: Labels = "hard",
    teachers: int | str = 3,
    prior: Prior = "natural",
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    compile: CompileMode = "auto",
    training_hashes: bool = True,
) -> Path:
    """Select real training images and write them as a set file, unchanged or reduced to sub-images.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        method: Selection method: ``random``, ``herding``, ``kcenter`` or ``kmeans``.
        ipc: Images per class, one number or one for each class.
        formation: Number f of sub-images along each side of an image: f * f selected images are reduced in size and
            stored as one.
        out: Folder for ``set.safetensors`` and ``card.json``.
        space: Space of the distances: ``pixels``, or ``embedding`` of a network trained on the data or pretrained.
        ratio: Class ratio: ``balanced`` takes ipc images of each class, ``natural`` the same total in the class
            ratio of the data.
        on_small_class: Policy where a class has fewer images than ipc: ``error``, ``fewer`` or ``repeat``.
        network: Name of the network of the embedding and of the teachers, of this package or of timm.
        weights: Path of a local weights file for a timm ``network`` of the embedding, which is then not trained:
            ``{"resnet18": "resnet18.safetensors"}``. The card holds its sha256, not its path.
        protocol: Training protocol of these networks: ``reference``, ``quick`` or ``tiny`` (for tests).
        labels: ``hard``, or ``soft`` for additional probabilities by networks trained on the data (see ``relabel``).
        teachers: Teachers of the soft labels: a number to train, or a file written by ``relabel --save_teachers``.
        prior: Class frequencies of the soft labels: ``natural`` or ``balanced``.
        seed: Seed of the selection and of the networks.
        precision: Precision of the networks' forward pass: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``auto``, ``off`` or ``max``.
        training_hashes: Whether the card holds hashes of the training images, see `SyntheticSetExport`.

    Returns:
        Path of ``set.safetensors``.

    Raises:
        ValueError: The method or network is unknown, or a class has too few images.
        OSError: The folder cannot be written.
    """
    check_method(method)
    (resolved,) = resolve_networks([network], weights)
    if labels == "soft" and weights and (isinstance(teachers, int) or teachers.isdecimal()):
        raise ValueError(
            "teachers of soft labels are trained from scratch and do not read weights; give a file of teachers "
            "(relabel --save_teachers), or relabel the picked set afterwards"
        )
    check_writable(out)
    real, spec = data.train_arrays(), data.spec
    check_labels(real[1])
    counts = images_per_class(ipc, spec)
    if ratio == "natural":
        counts = counts_for_ratio(real[1], sum(counts), ratio)
    validate_formation(formation, spec.shape)
    available = np.bincount(real[1], minlength=len(spec.balance_groups))
    counts = limit_to_available(counts, available, spec, on_small_class, formation)
    hyper_parameters: dict[str, object] = {"ipc": ipc, "ratio": ratio, "space": space, "seed": seed}
    if formation > 1:
        hyper_parameters |= {"formation": formation}
    features = None
    if space == "embedding":
        hyper_parameters |= {"network": network, "protocol": protocol}
        hyper_parameters |= {"weights": weights_digests([resolved], weights)} if weights else {}
        device = resolve_device(accelerator)
        with progress_bar() as bar:
            task = bar.add_task(f"embedding by {network}", total=embedding_epochs(protocol, len(real[1]), resolved))
            on_epoch, bf16 = partial(bar.advance, task), precision == "bf16-mixed"
            features = embed_features(
                real,
                spec,
                network=resolved,
                protocol=protocol,
                seed=seed,
                device=device,
                bf16=bf16,
                compile=compile,
                on_epoch=on_epoch,
            )
    selected = coreset_sampler(method, real, counts, spec, seed, features, formation)(0)
    stored, record = replace(selected, pixels=to_stored_dtype(selected.pixels, spec)), None
    if labels == "soft":
        with progress_bar() as bar:
            ensemble = get_teachers(
                teachers,
                data,
                prior=prior,
                on_start=partial(start_task, bar),
                network=network,
                protocol=protocol,
                seed=seed,
                device=resolve_device(accelerator),
                bf16=precision == "bf16-mixed",
                compile=compile,
            )
        stored, record = relabel(stored, teachers=ensemble, prior=prior, seed=seed)
    card = make_card(method, hyper_parameters, {}, UNCHANGED if formation == 1 else REDUCED, 0, soft_labels=record)
    if training_hashes:
        card[ENTRY] = hash_training_images(data.splits["train"][0])
    path = save_set(out, stored, card)
    write_picture(path.parent, *read_set(path))
    rank_zero_warn(f"REAL IMAGES in {path}: {card['warning']}")
    labelled = f", labelled by {record_text(record)}" if record else ""
    count = f"{len(selected.targets)} real images of {spec.name}"
    plain_console().print(f"{count}, {card['start']}, selected by {method}{labelled}: {path}", soft_wrap=True)
    return path
