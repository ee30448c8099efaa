"""Training protocols of students, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lightning_distill.utils.arguments import check_number


@dataclass(frozen=True)
class Protocol:
    """Hyper-parameters of a student's training: SGD for ``epochs + 1`` epochs. The last epoch is scored, not the best.

    With ``head_only`` the network is a frozen pretrained encoder, and its linear layer is fitted to the optimum on
    features of images without augmentation, see `probe.fit_linear`; the other hyper-parameters then play no part.

    Args:
        name: Name in tables.
        epochs: Index E of the last epoch, counted from 0: training takes E + 1 epochs. The learning rate is divided by
            10 once, after the epoch of index ``E // 2 + 1``.
        lr: Learning rate of SGD.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        batch_size: Number of images in a step; a smaller set is one batch.
        augmentation: Name of a preset in `presets.PRESETS`; default: the preset of the data set.
        decay: Whether the learning rate is divided by 10; for experts it is not.
        head_only: Whether only a linear layer on a frozen pretrained network is fitted.

    Example:
        >>> Protocol("short", epochs=20).lr_at(epoch=12)
        0.001

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
    head_only: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a number that is out of range."""
        check_number("epochs", self.epochs, 0, integer=True)
        check_number("batch_size", self.batch_size, 1, integer=True)
        for name in ("lr", "momentum", "weight_decay"):
            check_number(name, getattr(self, name), 0)

    def lr_at(self, epoch: int, lr: float | None = None) -> float:
        """Return the learning rate in an epoch.

        Args:
            epoch: Index of the epoch.
            lr: Learning rate that the set has learned; default: the protocol's.
        """
        rate = lr or self.lr
        return rate * 0.1 if self.decay and epoch > self.epochs // 2 + 1 else rate

    def for_real_data(self, images: int) -> Protocol:
        """Return the protocol for a whole training set: ``2 E`` steps, but at least 20 and at most E epochs.

        A set of twice the batch size takes two steps in an epoch. With fewer than ``2 E`` steps, students of all real
        data scored below students of a part of them.

        Args:
            images: Number of training images.
        """
        steps = -(-images // self.batch_size)
        return replace(self, epochs=min(self.epochs, max(20, -(-2 * self.epochs // steps))))


#: ``reference``: published tables. ``quick``: selection of a checkpoint on val, and first results. ``tiny``: tests and
#: trials; its scores are not comparable. For pretrained networks: ``probe`` fits a linear layer on the frozen encoder,
#: ``finetune`` trains all weights with a small learning rate.
PROTOCOLS = {
    "reference": Protocol("reference", 1000),
    "quick": Protocol("quick", 300),
    "tiny": Protocol("tiny", 10),
    "probe": Protocol("probe", 0, head_only=True),
    "finetune": Protocol("finetune", 30, lr=0.003),
}


def get_protocol(protocol: str | Protocol) -> Protocol:
    """Return a preset by its name, or the protocol itself.

    Args:
        protocol: Name of a preset in `PROTOCOLS`, or a `Protocol`.

    Raises:
        ValueError: Unknown name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; use one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol]
