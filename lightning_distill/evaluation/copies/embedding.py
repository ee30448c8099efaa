"""Contrastive embedding of images, for copy detection and for distances."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from kornia import augmentation as K
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from lightning_distill.data.checks.arrays import Array
from lightning_distill.networks import create_network
from lightning_distill.spec import DataSpec
from lightning_distill.utils.atomic_files import write_files_atomically
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Number of features, temperature of NT-Xent, largest angle of the positives in degrees, images of a batch.
FEATURES, TEMPERATURE, DEGREES, BATCH = 64, 0.07, 5.0, 64
#: Network of the embedding: a small one, which takes a few seconds.
NETWORK = "convnet_w16"
#: Steps of the embedding of an audit, of a fidelity table and of a filter.
EMBEDDING_STEPS = 200
#: Learning rate of Adam, and number of images embedded at once.
LR, CHUNK = 1e-3, 512


@dataclass(frozen=True)
class ContrastiveEmbedding:
    """Network whose embeddings of two views of an image correlate more than those of different images.

    Args:
        network: Network from images to embeddings ``(B, 64)``.
        spec: Mean and standard deviation that normalise the images.
        device: Device of the network.

    Reference:
        Dar et al.: Unconditional Latent Diffusion Models Memorize Patient Imaging Data, arXiv 2402.01054.
    """

    network: nn.Module
    spec: DataSpec
    device: str = "cpu"

    @classmethod
    def fit(
        cls, images: Array, spec: DataSpec, *, network: str = NETWORK, steps: int, seed: int = 0, device: str = "cpu"
    ) -> ContrastiveEmbedding:
        """Train a network on images by NT-Xent; positives are mirrored and turned by up to 5 degrees.

        Args:
            images: Images ``(n, C, H, W)`` in pixel units, at least two.
            spec: Description of the data.
            network: Name of the network.
            steps: Number of steps.
            seed: Seed of weights, batches and views.
            device: Device to train on.
        """
        with isolated_rng(derive_seed("contrastive", seed)):
            model = create_network(network, spec.shape[0], FEATURES, spec.shape[1:]).to(device).train()
            views = nn.Sequential(K.RandomHorizontalFlip(p=0.5), K.RandomRotation(DEGREES, p=1.0))
            optimizer = torch.optim.Adam(model.parameters(), LR)
            random = np.random.default_rng(seed)
            for _ in range(steps):
                rows = np.sort(random.choice(len(images), min(BATCH, len(images)), replace=False))
                x = spec.normalize(torch.from_numpy(np.ascontiguousarray(images[rows])).to(device))
                loss = nt_xent(model(views(x)), model(views(x)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return cls(model.eval().requires_grad_(False), spec, device)

    @classmethod
    def fit_or_load(
        cls,
        folder: Path,
        images: Array,
        spec: DataSpec,
        *,
        digest: str,
        network: str = NETWORK,
        steps: int,
        seed: int = 0,
        device: str = "cpu",
    ) -> ContrastiveEmbedding:
        """Return the network of a file that is named by images and settings, or train and save it.

        A damaged file is replaced: the training takes seconds.

        Args:
            folder: Folder of the file.
            images: Images to train on.
            spec: Description of the data.
            network: Name of the network.
            digest: Hash of the images.
            steps: Number of steps.
            seed: Seed of the training.
            device: Device of the network.
        """
        about = {"network": network, "spec": spec.to_dict(), "steps": steps, "seed": seed, "images": digest}
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
        path = folder / f"embedding-{name}.safetensors"
        state = _read_state(path)
        if state is None:
            fitted = cls.fit(images, spec, network=network, steps=steps, seed=seed, device=device)
            state = {name: value.cpu().contiguous() for name, value in fitted.network.state_dict().items()}
            write_files_atomically({path: save(state)})
            return fitted
        with isolated_rng(0):
            model = create_network(network, spec.shape[0], FEATURES, spec.shape[1:]).to(device).eval()
        model.load_state_dict(state)
        return cls(model.requires_grad_(False), spec, device)

    @torch.no_grad()
    def __call__(self, images: Array | Tensor) -> NDArray[np.float32]:
        """Return embeddings ``(n, 64)`` of images in pixel units, centred and of unit length.

        The inner product of two embeddings is their Pearson correlation.

        Args:
            images: Images ``(n, C, H, W)``, read in chunks.
        """
        parts = []
        for start in range(0, len(images), CHUNK):
            part = images[start : start + CHUNK]
            pixels = part if isinstance(part, Tensor) else torch.from_numpy(np.ascontiguousarray(part))
            embedded = cast(Tensor, self.network(self.spec.normalize(pixels.to(self.device)))).float()
            parts.append(F.normalize(embedded - embedded.mean(1, keepdim=True), dim=1).cpu())
        return np.asarray(torch.cat(parts).numpy(), np.float32) if parts else np.empty((0, FEATURES), np.float32)


def _read_state(path: Path) -> dict[str, Tensor] | None:
    """Return the weights in a file; None for a missing or a damaged one."""
    try:
        return load(path.read_bytes())
    except (SafetensorError, OSError):
        return None


def nt_xent(first: Tensor, second: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    r"""Return the normalised temperature-scaled cross-entropy of two views of a batch.

    .. math:: \ell_i = -\log \frac{\exp(s_{i, p(i)} / \tau)}{\sum_{j \ne i} \exp(s_{ij} / \tau)}

    over all 2B views i with the other view p(i) of its image and the cosine s.

    Args:
        first: Embeddings ``(B, F)`` of one view.
        second: Embeddings ``(B, F)`` of the other.
        temperature: Temperature of the cosines.

    Reference:
        Chen et al.: A Simple Framework for Contrastive Learning of Visual Representations, arXiv 2002.05709.
    """
    unit = F.normalize(torch.cat([first, second]), dim=1)
    similarity = (unit @ unit.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(unit), device=unit.device).roll(len(first))
    return F.cross_entropy(similarity, partner)
