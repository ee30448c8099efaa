"""``FeatureNetwork``: features of images in pixel units, from a network trained on the real training split."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from lightning_distill.data.checks.arrays import Array
from lightning_distill.evaluation.candidates import EvaluationData
from lightning_distill.evaluation.fidelity.metric import Features
from lightning_distill.evaluation.students.protocol import Protocol
from lightning_distill.evaluation.teachers import TeacherEnsemble, teacher_epochs, train_teachers
from lightning_distill.functional.build import build_functional_network
from lightning_distill.functional.network import Parameters
from lightning_distill.networks.pretrained import is_pretrained, require_loaded
from lightning_distill.spec import DataSpec
from lightning_distill.utils.progress import ProgressCallback
from lightning_distill.utils.rng import isolated_rng
from lightning_distill.utils.tensor_digest import tensors_digest

#: Default network, small enough for a CPU: 84 features. It serves no method and no table as a student.
NETWORK = "lenet"
#: Number of images in a forward pass.
CHUNK = 256


class FeatureNetwork(nn.Module):
    """Trained network from images in pixel units to the input of its last linear layer.

    It is the argument ``feature`` of torchmetrics' image metrics. It stays in evaluation mode, whatever module holds
    it, and its parameters enter no ``state_dict``.

    Args:
        name: Name of the network.
        spec: Statistics that normalise the images.
        parameters: Trained parameters by name.
        sha256: Digest of the weights; ``None`` takes that of the parameters.
        device: Device of the network.

    Attributes:
        num_features: Number of features F.
    """

    def __init__(
        self,
        name: str,
        spec: DataSpec,
        parameters: Parameters,
        *,
        sha256: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.name, self.spec, self.device = name, spec, torch.device(device)
        self._network = build_functional_network(name, spec, 0.0, self.device, "off", (CHUNK,))
        self._parameters_by_name = {key: value.detach().to(self.device) for key, value in parameters.items()}
        self.sha256 = sha256 or tensors_digest(parameters)
        self.num_features = int(self(torch.zeros(1, *spec.shape)).shape[1])
        self.eval()

    @classmethod
    def fit(
        cls,
        data: EvaluationData,
        network: str = NETWORK,
        *,
        protocol: str | Protocol = "quick",
        seed: int = 0,
        device: torch.device | str = "cpu",
        on_epoch: ProgressCallback = lambda: None,
    ) -> FeatureNetwork:
        """Train a network on all real training images; pretrained weights of a local file are taken as they are.

        Args:
            data: Data module.
            network: Name of the network, or a name of `networks.resolve_networks` with weights.
            protocol: Training protocol, shortened by `Protocol.for_real_data`.
            seed: Seed of the training. No student and no teacher of an evaluation has the same weights.
            device: Device to train on.
            on_epoch: Function called after every epoch, see `feature_epochs`.

        Raises:
            ValueError: Network or protocol are unknown, or the trained network is not better than chance on val.
        """
        if is_pretrained(network):
            untrained = build_functional_network(network, data.spec, 0.0, torch.device(device), "off", ())
            with isolated_rng(0):
                parameters = untrained.init_params(device)
            on_epoch()
            return cls(network, data.spec, parameters, sha256=require_loaded(network).sha256, device=device)
        teachers = train_teachers(
            data, 1, network=network, protocol=protocol, seed=seed, device=device, on_epoch=on_epoch
        )
        return cls.of_teachers(teachers, device=device)

    @classmethod
    def of_teachers(cls, teachers: TeacherEnsemble, *, device: torch.device | str = "cpu") -> FeatureNetwork:
        """Return the first of several teachers, such as those of a file.

        Args:
            teachers: Networks trained on the real training split.
            device: Device of the network.
        """
        return cls(teachers.network, teachers.spec, teachers.parameters[0], device=device)

    def train(self, mode: bool = True) -> FeatureNetwork:
        """Keep the evaluation mode, see the class."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Return features ``(B, F)`` float32 on the CPU of images ``(B, C, H, W)`` in pixel units."""
        self._network.train(False)
        with torch.autocast(self.device.type, enabled=False):
            features = self._network.embed(self._parameters_by_name, self.spec.normalize(pixels.to(self.device)))
        return features.float().cpu()

    def embed(self, images: Array | Tensor) -> Features:
        """Return features ``(N, F)`` of images ``(N, C, H, W)`` in pixel units, read in chunks.

        Args:
            images: Images in memory or on disk.
        """
        parts = []
        for start in range(0, len(images), CHUNK):
            part = images[start : start + CHUNK]
            pixels = part if isinstance(part, Tensor) else torch.from_numpy(np.ascontiguousarray(part))
            parts.append(cast(Tensor, self(pixels)).numpy())
        return np.concatenate(parts) if parts else np.empty((0, self.num_features), np.float32)


def feature_epochs(data: EvaluationData, network: str, protocol: str | Protocol) -> int:
    """Return the number of calls of ``on_epoch`` in `FeatureNetwork.fit`.

    Args:
        data: Data module.
        network: Name of the network.
        protocol: Training protocol.
    """
    return 1 if is_pretrained(network) else teacher_epochs(data, 1, protocol)
