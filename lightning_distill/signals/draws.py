"""``SignalDraws``: the random networks and augmentations of a bank, from seeds alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.objectives.class_statistics import CLASS_STATISTICS, ClassStatistic, ClippedStatistic
from lightning_distill.spec import DataSpec
from lightning_distill.utils.arguments import check_number
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Noise images whose embeddings set the unit of kernel widths.
UNIT_IMAGES = 32


@dataclass(frozen=True)
class SignalDraws:
    """P draws of a random network and of one random augmentation of each class, made again anywhere from a seed.

    Args:
        count: Number P of draws.
        network: Name of the network, from `networks.list_networks`; without batch norm.
        augmentation: Preset of `augmentation.presets.PRESETS`.
        objective: Statistic of the embeddings, from `objectives.class_statistics.CLASS_STATISTICS`.
        seed: Seed of all draws.
        clip: Largest L2 norm of the statistic of an image; ``None`` does not clip.

    Raises:
        ValueError: A name is unknown, or a number is out of range.

    Example:
        >>> draws = SignalDraws(count=2, network="convnet_w16", augmentation="dsa", objective="mean", seed=0)
        >>> draws.class_seeds(1, [0, 1]) == draws.class_seeds(1, [0, 1]), draws.class_seeds(0, [0]) == [0]
        (True, False)
    """

    count: int
    network: str
    augmentation: str
    objective: str = "mean"
    seed: int = 0
    clip: float | None = None

    def __post_init__(self) -> None:
        check_number("draws", self.count, 1, integer=True)
        check_number("seed", self.seed, 0, integer=True)
        if self.clip is not None:
            check_number("clip", self.clip, 0, open_low=True)
        for name, value, known in (
            ("augmentation", self.augmentation, PRESETS),
            ("objective", self.objective, CLASS_STATISTICS),
        ):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; use one of {', '.join(known)}")

    def parameters(self, draw: int, network: FunctionalNetwork, device: torch.device | str = "cpu") -> Parameters:
        """Return the initial parameters of the network of a draw."""
        with isolated_rng(derive_seed(self.seed, "signal network", draw)):
            return network.init_params(device)

    def class_seeds(self, draw: int, labels: Sequence[int]) -> list[int]:
        """Return the seeds of the augmentation of some classes in a draw."""
        return [derive_seed(self.seed, "signal augmentation", draw, label) for label in labels]

    def statistic(
        self, draw: int, network: FunctionalNetwork, parameters: Parameters, spec: DataSpec
    ) -> ClassStatistic:
        """Return the statistic of a draw; its random numbers come from the seed and from noise images.

        Args:
            draw: Number of the draw.
            network: Network of the draw.
            parameters: Parameters of the draw.
            spec: Description of the data: the size of the noise images.
        """
        seed = derive_seed(self.seed, "signal statistic", draw)
        noise = torch.randn(UNIT_IMAGES, *spec.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            rows = network.embed(parameters, noise.to(next(iter(parameters.values())).device)).float()
            unit = 2 * (rows - rows.mean(0)).square().sum().item() / (UNIT_IMAGES - 1)  # mean squared distance of rows
            statistic = CLASS_STATISTICS[self.objective](rows.shape[1], seed, unit)
            if self.clip is None:
                return statistic
            return ClippedStatistic(statistic, self.clip, statistic.features(rows).norm(dim=1).mean().item())

    def fingerprint(self, draw: int, parameters: Parameters, augment: SiameseAugmentation, spec: DataSpec) -> str:
        """Return a digest of the initial weights and of the augmentation parameters of a draw.

        Two versions of PyTorch or Kornia that draw other numbers from a seed have other digests.
        """
        sha = hashlib.sha256()
        for name, tensor in sorted(parameters.items()):
            sha.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        for seed in self.class_seeds(draw, range(len(spec.balance_groups))):
            sha.update(augment.describe_draw(seed, spec.shape).encode())
        return sha.hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)
