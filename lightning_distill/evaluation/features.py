"""Real images as a network sees them that has learned to tell their classes apart."""

from __future__ import annotations

import numpy as np
import torch

from lightning_distill.evaluation.baselines import Arrays, full_data
from lightning_distill.evaluation.students.protocol import ProgressCallback, Protocol, get_protocol
from lightning_distill.evaluation.students.trainer import StudentTrainer
from lightning_distill.functional.compile import CompileMode
from lightning_distill.networks import check_network
from lightning_distill.sets.coresets import Features, check_labels
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed, isolated_rng


def embed_features(
    real: Arrays,
    spec: DataSpec,
    network: str = "convnet",
    protocol: str | Protocol = "reference",
    seed: int = 0,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    compile: CompileMode = "auto",
    tick: ProgressCallback = lambda: None,
) -> Features:
    """Train one network on all real training images and give its features of each of them.

    ``f_i = embed(theta, (x_i - mean) / std)``, the input of the last linear layer, neither scaled nor centred. The
    network never begins where an evaluated student does. No validation or test image is seen.

    Args:
        real: training images ``(N, C, H, W)`` in pixel units and labels ``(N,)``.
        spec: of the data.
        network: by our names or timm's.
        protocol: how it is trained, shortened by `Protocol.for_real_data`; see `embedding_epochs`.
        seed: of the network.
        device: where to compute.
        bf16: forward in bfloat16.
        compile: see `functional.FunctionalNetwork`.
        tick: called after every epoch.

    Returns:
        ``(N, F)`` float32, in the order of the images.

    Raises:
        ValueError: unknown network or protocol, labels of several classes at once.
    """
    check_network(network)
    images, labels = real
    check_labels(labels)
    way = get_protocol(protocol).for_real_data(len(labels))
    school = StudentTrainer(network, spec, way, len(labels), 1, device, bf16, compile)
    student = school.fit(full_data(real, spec)(0), derive_seed("embedding", seed), tick)
    school.network.train(False)
    found = []
    with isolated_rng(0), torch.no_grad(), torch.autocast(school.device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(labels), way.batch_size):
            x = torch.from_numpy(np.ascontiguousarray(images[start : start + way.batch_size]))
            features = school.network.embed(student.parameters, spec.normalize(x.to(school.device)))
            found.append(features.float().cpu().numpy())
    return np.concatenate(found)


def embedding_epochs(protocol: str | Protocol, images: int) -> int:
    """How often `embed_features` calls ``tick``."""
    return get_protocol(protocol).for_real_data(images).epochs + 1
