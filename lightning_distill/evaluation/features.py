"""Features of real images from a network trained on them."""

from __future__ import annotations

import numpy as np
import torch

from lightning_distill.evaluation.baselines import Arrays, full_data
from lightning_distill.evaluation.students.probe import FrozenEncoder
from lightning_distill.evaluation.students.protocol import Protocol, get_protocol
from lightning_distill.evaluation.students.trainer import StudentTrainer
from lightning_distill.functional.compile import CompileMode
from lightning_distill.networks import check_network
from lightning_distill.networks.pretrained import is_pretrained
from lightning_distill.sets.coresets import Features, check_labels
from lightning_distill.spec import DataSpec
from lightning_distill.utils.progress import ProgressCallback
from lightning_distill.utils.rng import derive_seed, isolated_rng


def embed_features(
    real: Arrays,
    spec: DataSpec,
    *,
    network: str = "convnet",
    protocol: str | Protocol = "reference",
    seed: int = 0,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    compile: CompileMode = "auto",
    on_epoch: ProgressCallback = lambda: None,
) -> Features:
    """Return features of all real training images from a network trained on them, or from a pretrained network.

    ``f_i = embed(theta, (x_i - mean) / std)`` is the input of the last linear layer, neither scaled nor centred. The
    initial weights differ from those of every evaluated student. No validation or test image is used. A network with
    pretrained weights is not trained.

    Args:
        real: Training images ``(N, C, H, W)`` in pixel units and labels ``(N,)``.
        spec: Specification of the data.
        network: Network name of this package or timm, or a name of `networks.resolve_networks` with weights.
        protocol: Training protocol, shortened by `Protocol.for_real_data`.
        seed: Seed of the network.
        device: Device of the training.
        bf16: Whether the forward pass runs in bfloat16.
        compile: Compile mode: ``auto``, ``off`` or ``max``.
        on_epoch: Function called after every epoch, see `embedding_epochs`.

    Returns:
        Features ``(N, F)`` float32 in the order of the images.

    Raises:
        ValueError: The network or protocol is unknown, or labels are not ``(N,)``.
    """
    check_network(network)
    images, labels = real
    check_labels(labels)
    if is_pretrained(network):
        on_epoch()
        return _frozen_features(real, spec, network, device, bf16)
    epochs_protocol = get_protocol(protocol).for_real_data(len(labels))
    trainer = StudentTrainer(
        network,
        spec,
        protocol=epochs_protocol,
        images=len(labels),
        students=1,
        device=device,
        bf16=bf16,
        compile=compile,
    )
    student = trainer.fit(full_data(real, spec)(0), derive_seed("embedding", seed), on_epoch=on_epoch)
    trainer.network.train(False)
    chunks = []
    with isolated_rng(0), torch.no_grad(), torch.autocast(trainer.device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(labels), epochs_protocol.batch_size):
            x = torch.from_numpy(np.ascontiguousarray(images[start : start + epochs_protocol.batch_size]))
            features = trainer.network.embed(student.parameters, spec.normalize(x.to(trainer.device)))
            chunks.append(features.float().cpu().numpy())
    return np.concatenate(chunks)


def _frozen_features(real: Arrays, spec: DataSpec, network: str, device: torch.device | str, bf16: bool) -> Features:
    """Return the features of a pretrained network."""
    encoder, data = FrozenEncoder(network, spec, device, bf16), full_data(real, spec)(0)
    chunks = torch.arange(len(data.labels)).split(256)
    return np.concatenate([encoder(spec.normalize(data.pixels[rows].to(device))).numpy() for rows in chunks])


def embedding_epochs(protocol: str | Protocol, images: int, network: str = "convnet") -> int:
    """Return the number of epochs of `embed_features`; a pretrained network counts as one."""
    if is_pretrained(network):
        return 1
    return get_protocol(protocol).for_real_data(images).epochs + 1
