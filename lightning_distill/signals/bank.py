"""``SignalBank``: sums of the class statistics of real images over many draws, and their merging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_distill.data import ArrayDataModule
from lightning_distill.functional.build import build_functional_network
from lightning_distill.functional.compile import CompileMode
from lightning_distill.functional.network import Parameters
from lightning_distill.signals.draws import SignalDraws
from lightning_distill.signals.pixel_sums import with_statistics
from lightning_distill.signals.sums import OnProgress, sum_statistics, validate_network
from lightning_distill.signals.training import train_networks
from lightning_distill.spec import DataSpec

#: Fields of `DataSpec` that banks must share to be added.
SHARED_FIELDS = ("shape", "class_names", "mean", "std", "task", "combinations")


@dataclass(frozen=True)
class SignalBank:
    """Sums of the statistics of the real images of K classes in P draws, and the numbers of images.

    Args:
        draws: Networks and augmentations.
        spec: Description of the data; its mean and std normalised the images.
        sums: Sums of the statistics, ``(P, K, D)`` float32.
        counts: Number of images in each sum, ``(P, K)`` float32; 0 where a sum is not known yet.
        fingerprints: Digest of each draw, see `SignalDraws.fingerprint`.
        weights: Trained weights by name, ``(P, ...)`` each; empty for networks that a seed makes. Trained networks have
            seen the data.
        about: Facts for cards: training of the networks, guarantee, number of merged banks.

    Raises:
        ValueError: The shapes do not fit each other.
    """

    draws: SignalDraws
    spec: DataSpec
    sums: Tensor
    counts: Tensor
    fingerprints: tuple[str, ...]
    weights: Parameters = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = (self.draws.count, len(self.spec.balance_groups))
        if self.sums.ndim != 3 or self.sums.shape[:2] != expected or self.counts.shape != expected:
            raise ValueError(
                f"a bank of {expected[0]} draws and {expected[1]} classes needs sums (P, K, D) and counts (P, K), "
                f"but they are {tuple(self.sums.shape)} and {tuple(self.counts.shape)}"
            )
        if len(self.fingerprints) != expected[0] or any(len(rows) != expected[0] for rows in self.weights.values()):
            raise ValueError(f"a bank of {expected[0]} draws needs as many fingerprints and weights")

    @classmethod
    def compute(
        cls,
        datamodule: ArrayDataModule,
        *,
        draws: int = 100,
        network: str = "convnet",
        augmentation: str | None = None,
        objective: str = "mean",
        seed: int = 0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        train_steps: int = 0,
        masks: Tensor | None = None,
        device: torch.device | str = "cpu",
        bf16: bool = False,
        compile: CompileMode = "auto",
        on_progress: OnProgress | None = None,
    ) -> list[Self]:
        """Compute the banks of S subsets of the training images, or one bank of all, in one pass over the data.

        Args:
            datamodule: Real data.
            draws: Number P of random networks, each with one augmentation of each class.
            network: Name of the networks, from `networks.list_networks`; without batch norm.
            augmentation: Preset of `augmentation.presets.PRESETS`; ``None`` takes the data set's.
            objective: Statistic of the embeddings: ``mean``, ``moments``, ``characteristic`` or ``mmd``.
            seed: Seed of the draws; banks that are to be merged need the same.
            mean: Mean of each channel in pixel units; ``None`` takes that of the training split.
            std: Standard deviation of each channel in pixel units; ``None`` takes that of the training split.
            train_steps: SGD steps on the real images for each network; 0 keeps the networks random. Trained weights
                are stored in the bank.
            masks: Members of S subsets, ``(S, N)`` bool over the training images; ``None`` takes all images.
            device: Device to compute on.
            bf16: Whether the forward passes are in bf16.
            compile: Mode of compilation: ``auto``, ``off`` or ``max``.
            on_progress: Function that is told the finished and the total number of images times draws.

        Returns:
            S banks; one without masks.

        Raises:
            ValueError: A name is unknown, the network has batch norm, or masks, mean or std do not fit the data.
        """
        spec = with_statistics(datamodule.spec, mean, std)
        plan = SignalDraws(draws, network, augmentation or spec.augmentation, objective, seed)
        images, labels = datamodule.train_arrays()
        place, passes = torch.device(device), len(labels) * draws
        net = build_functional_network(network, spec, passes, place, compile, sizes=[])
        validate_network(net, network)
        weights, about = Parameters(), {"networks": "random"}
        if train_steps:
            weights = train_networks(datamodule, spec, plan, net, train_steps, device=place)
            about = {"networks": f"trained on the real images for {train_steps} steps: they have seen the data"}
        sums, counts, fingerprints = sum_statistics(
            images,
            labels,
            spec,
            plan,
            net,
            weights=weights,
            masks=masks,
            device=place,
            bf16=bf16,
            on_progress=on_progress,
        )
        return [
            cls(plan, spec, part, count.expand(draws, -1).contiguous(), fingerprints, weights, about)
            for part, count in zip(sums, counts, strict=True)
        ]

    def means(self, draw: int) -> Tensor:
        """Return the mean statistics of all classes in a draw, ``(K, D)`` float32."""
        return self.sums[draw] / self.counts[draw, :, None]

    def validate_complete(self) -> None:
        """Raise a ValueError that names a class without images or a sum that is not finite."""
        groups = self.spec.balance_groups
        empty = [name for name, count in zip(groups, self.counts.amin(0).tolist(), strict=True) if count <= 0]
        if empty:
            raise ValueError(
                f"the bank has no images of the class {empty[0]!r}; merge it with a bank that has some "
                "(`lightning-distill signals-merge`)"
            )
        if not bool(self.sums.isfinite().all()):
            raise ValueError("the bank has sums that are not finite; compute it again")

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        tensors = (self.sums, self.counts, *self.weights.values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def merge_banks(banks: Sequence[SignalBank]) -> SignalBank:
    """Add the sums of banks of equal draws: the bank of their data together.

    Args:
        banks: Banks of several sites, at least one.

    Returns:
        The merged bank; its ``about`` holds that of every part.

    Raises:
        ValueError: There is no bank, or two differ in draws, statistic, image size, classes, or mean and std.
    """
    if not banks:
        raise ValueError("there is no bank to merge; give at least one")
    first = banks[0]
    for other in banks[1:]:
        _check_equal(first, other)
    if len(banks) == 1:
        return first
    names = dict.fromkeys(bank.spec.name for bank in banks)
    sources = dict.fromkeys(bank.spec.source for bank in banks)
    licenses = dict.fromkeys(bank.spec.license for bank in banks)
    spec = replace(
        first.spec,
        name=" + ".join(names),
        source=" + ".join(sources),
        license=" + ".join(licenses),
        min_value=min(bank.spec.min_value for bank in banks),
        max_value=max(bank.spec.max_value for bank in banks),
    )
    sums, counts = (sum(getattr(bank, name).double() for bank in banks).float() for name in ("sums", "counts"))
    parts = [part for bank in banks for part in bank.about.get("parts", [dict(bank.about)])]
    return replace(first, spec=spec, sums=sums, counts=counts, about={"parts": parts})


def _check_equal(first: SignalBank, other: SignalBank) -> None:
    """Raise a ValueError that names the first difference of two banks."""
    ours, theirs = first.draws.to_dict(), other.draws.to_dict()
    ours |= {name: getattr(first.spec, name) for name in SHARED_FIELDS}
    theirs |= {name: getattr(other.spec, name) for name in SHARED_FIELDS}
    for name, value in ours.items():
        if value != theirs[name]:
            hint = (
                "agree on one before the banks are computed: `lightning-distill signals --mean --std`, or --statistics"
                if name in ("mean", "std")
                else "compute both with the same options"
            )
            label = {"count": "draws", "class_names": "classes"}.get(name, name)
            raise ValueError(f"the banks differ in {label}: {value} and {theirs[name]}; {hint}")
    if first.fingerprints != other.fingerprints:
        draw = next(
            i for i, pair in enumerate(zip(first.fingerprints, other.fingerprints, strict=True)) if len({*pair}) > 1
        )
        raise ValueError(
            f"the banks differ in the network or augmentation of draw {draw}, though their seeds are equal: they were "
            "computed with other versions of PyTorch or Kornia; compute both with the same versions"
        )
    if first.weights.keys() != other.weights.keys() or any(
        not torch.equal(tensor, other.weights[name]) for name, tensor in first.weights.items()
    ):
        raise ValueError(
            "the banks differ in the trained weights of their networks; compute all with --networks FILE of one bank, "
            "or with random networks (train_steps=0)"
        )
