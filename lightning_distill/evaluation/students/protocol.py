"""How a student is trained: the field's protocol, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

#: Called once for each student and epoch.
ProgressCallback = Callable[[], object]


@dataclass(frozen=True)
class Protocol:
    """SGD on the set for ``epochs + 1`` epochs; the last epoch counts, no best epoch is picked.

    Args:
        name: how tables call it.
        epochs: E; the learning rate falls tenfold once, after the epoch with the index ``E // 2 + 1``.
        lr: learning rate.
        momentum: of SGD.
        weight_decay: of SGD.
        batch_size: images in a step; a smaller set is one batch.
        augmentation: a preset of `presets.PRESETS`; ``None`` takes the data set's.
        decay: whether the learning rate falls at all; experts keep theirs.

    Reference:
        Zhao, Bilen: Dataset Condensation with Differentiable Siamese Augmentation, arXiv 2102.08259, and its code.
    """

    name: str
    epochs: int
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 256
    augmentation: str | None = None
    decay: bool = True

    def lr_at(self, epoch: int, lr: float | None = None) -> float:
        """The learning rate in the epoch with that index, where a set may have learned its own ``lr``."""
        rate = lr or self.lr
        return rate * 0.1 if self.decay and epoch > self.epochs // 2 + 1 else rate

    def for_real_data(self, images: int) -> Protocol:
        """The same for a whole training set: 20 epochs, or as many as make ``2 E`` steps; never more than the set's.

        A set of twice the batch size takes two steps an epoch; with fewer than that, all real data lost to a part of
        themselves.
        """
        steps = -(-images // self.batch_size)
        return replace(self, epochs=min(self.epochs, max(20, -(-2 * self.epochs // steps))))


#: ``reference`` is what published tables use; ``quick`` is for choosing a checkpoint on val and for first looks.
PROTOCOLS = {"reference": Protocol("reference", 1000), "quick": Protocol("quick", 300), "tiny": Protocol("tiny", 10)}


def get_protocol(protocol: str | Protocol) -> Protocol:
    """A preset by name, or the protocol itself.

    Raises:
        ValueError: unknown name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; use one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol]
