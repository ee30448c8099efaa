"""``SignalPool``: the networks of a run that come back, and the stored statistics of the real images in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.objectives.class_statistics import ClassStatistic
from lightning_distill.signals import SignalBank, SignalDraws
from lightning_distill.signals.sums import ClassChunk, chunk_sums, validate_network
from lightning_distill.spec import DataSpec

#: Bytes of parameters and random frequencies that are kept in memory; those of more draws are made anew.
KEPT_BYTES = 2**30
#: Keys of the sums ``(P, K, D)`` and counts ``(P, K)`` in the extra state of a distiller.
SUMS, COUNTS = "signals.sums", "signals.counts"


class SignalPool:
    """P draws that a run goes through again and again, with the class statistics of the real images.

    The statistics come from a bank, or are computed when a draw is used for the first time.

    Args:
        draws: Networks and augmentations.
        network: Network of the draws.
        augment: Augmentation of the draws.
        spec: Description of the data.
        bank: Complete bank; ``None`` lets the pool fill itself.

    Raises:
        ValueError: The network has batch norm, or is not that of the bank.
    """

    def __init__(
        self,
        draws: SignalDraws,
        network: FunctionalNetwork,
        augment: SiameseAugmentation,
        spec: DataSpec,
        bank: SignalBank | None = None,
    ) -> None:
        validate_network(network, draws.network)
        self.draws, self.network, self.augment, self.spec, self.bank = draws, network, augment, spec, bank
        self._kept: dict[int, tuple[Parameters, ClassStatistic]] = {}
        self._kept_bytes = 0

    def draw_at(self, step: int) -> int:
        """Return the number of the draw that a step uses."""
        return step % self.draws.count

    def members(self, draw: int, device: torch.device) -> tuple[Parameters, ClassStatistic]:
        """Return the parameters and the statistic of a draw.

        Raises:
            ValueError: The seed gives another network here than where the bank was computed.
        """
        if draw in self._kept:
            return self._kept[draw]
        parameters = self.draws.parameters(draw, self.network, device)
        if self.bank is not None:
            here = self.draws.fingerprint(draw, parameters, self.augment, self.spec)
            if here != self.bank.fingerprints[draw]:
                raise ValueError(
                    f"the seed of draw {draw} gives another network or augmentation here than where the bank was "
                    "computed; use the versions of PyTorch and Kornia of that site, or compute the bank again"
                )
            parameters |= {name: rows[draw].to(device) for name, rows in self.bank.weights.items()}
        statistic = self.draws.statistic(draw, self.network, parameters, self.spec)
        tensors = [*parameters.values(), *(value for value in vars(statistic).values() if isinstance(value, Tensor))]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if self._kept_bytes + size <= KEPT_BYTES:
            self._kept[draw], self._kept_bytes = (parameters, statistic), self._kept_bytes + size
        return parameters, statistic

    def known_means(self, draw: int, state: Mapping[str, Tensor], device: torch.device) -> Tensor | None:
        """Return the mean statistics of the real images, ``(K, D)``, or None where they are to be computed.

        Args:
            draw: Number of the draw.
            state: Extra state of the distiller.
            device: Device of the result.
        """
        if self.bank is not None:
            return self.bank.means(draw).to(device)
        if SUMS not in state or not bool((state[COUNTS][draw] > 0).all()):
            return None
        return state[SUMS][draw] / state[COUNTS][draw, :, None]

    def sum_chunks(
        self, draw: int, chunks: Iterable[ClassChunk], members: tuple[Parameters, ClassStatistic]
    ) -> tuple[Tensor, Tensor]:
        """Return the sums ``(K, D)`` and counts ``(K,)`` of the images of some chunks in a draw."""
        parameters, statistic = members
        seeds = self.draws.class_seeds(draw, range(len(self.spec.balance_groups)))
        sums, counts = torch.zeros(()), torch.zeros(())
        for chunk in chunks:
            part = chunk_sums(chunk, self.network, parameters, statistic, self.augment, seeds)[0]
            sums = sums.to(part) + part
            counts = counts.to(part) + torch.tensor(chunk.counts).to(part)
        return sums, counts

    def stored(self, draw: int, sums: Tensor, counts: Tensor, state: Mapping[str, Tensor]) -> Parameters:
        """Return the extra state with the sums of a draw added.

        Args:
            draw: Number of the draw.
            sums: Sums of all classes, ``(K, D)``.
            counts: Number of images of each class, ``(K,)``.
            state: Extra state of the distiller.
        """
        new = dict(state)
        if SUMS not in new:
            new[SUMS] = sums.new_zeros(self.draws.count, *sums.shape)
            new[COUNTS] = counts.new_zeros(self.draws.count, len(counts))
        new[SUMS][draw], new[COUNTS][draw] = sums, counts
        return new


def batch_chunks(parts: Iterator[Tensor], labels: Sequence[int], classes: int) -> Iterator[ClassChunk]:
    """Yield the chunks of a balanced batch, see `RealBatch.iter_chunks`, with the counts of all classes."""
    for images in parts:
        per_class = len(images) // len(labels)
        counts = [per_class if label in labels else 0 for label in range(classes)]
        yield ClassChunk(images, counts, np.arange(len(images)))
