"""``create_network(name, ...)``: the networks of dataset distillation by name, all others from timm."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.networks.classic import MLP, VGG11, AlexNet, LeNet, ResNet18
from lightning_distill.networks.convnet import ConvNet
from lightning_distill.networks.pretrained import create_pretrained, is_pretrained, model_of

#: Words in a ConvNet's name and the option they set. Default: depth 3, width 128, instance norm, ReLU, average pooling.
_WORDS: dict[str, tuple[str, Any]] = {
    **{f"d{depth}": ("depth", depth) for depth in (1, 2, 3, 4)},
    **{f"w{width}": ("width", width) for width in (16, 32, 64, 128, 256)},
    **{norm: ("norm", norm) for norm in ("none", "batch", "layer", "instance", "group")},
    **{name: ("activation", name) for name in ("relu", "leaky", "sigmoid", "swish")},
    **{f"pool_{pool}": ("pool", pool) for pool in ("avg", "max", "none")},
}
#: Depths for larger images: d4 at 64 px, d5 at 128 px, d6 at 256 px and d7 at 512 px end at 4x4 features.
_DEEP: dict[str, tuple[str, Any]] = {f"d{depth}": ("depth", depth) for depth in (5, 6, 7, 8)}
#: Networks by name; a ConvNet name sets one option. ``convnet_w16`` is small, for tests. Names with several options are
#: parsed by `create_network`.
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "convnet": ConvNet,
    **{f"convnet_{word}": partial(ConvNet, **{key: value}) for word, (key, value) in _WORDS.items()},
    "mlp": MLP,
    "lenet": LeNet,
    "alexnet": AlexNet,
    "alexnet_batch": partial(AlexNet, norm="batch"),
    "vgg11": VGG11,
    "vgg11_batch": partial(VGG11, norm="batch"),
    "resnet18": ResNet18,
    "resnet18_batch": partial(ResNet18, norm="batch"),
}


class TimmNetwork(nn.Module):
    """Timm model with the methods ``embed`` and ``forward``. Images below 32 px are enlarged for the model's stem.

    Args:
        name: Name of the timm model.
        in_channels: Number of image channels C.
        num_classes: Number of classes K.
        image_size: Image size ``(H, W)`` in pixels.
    """

    def __init__(self, name: str, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        import timm

        fixed = bool((timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()).fixed_input_size)
        side = max(32, 32 * -(-max(image_size) // 32))
        options: dict[str, Any] = {"img_size": side} if fixed else {}
        self.side = side if fixed or min(image_size) < 32 else None
        self.model: Any = timm.create_model(name, in_chans=in_channels, num_classes=num_classes, **options)

    def embed(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to the features ``(B, F)`` before the head."""
        features = self.model.forward_features(self._resize(x))
        return cast(Tensor, self.model.forward_head(features, pre_logits=True)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, K)``."""
        return cast(Tensor, self.model(self._resize(x)))

    def _resize(self, x: Tensor) -> Tensor:
        if self.side is None:
            return x
        return F.interpolate(x, size=(self.side, self.side), mode="bilinear", align_corners=False)


def create_network(name: str, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    """Build an untrained network with ``embed(x)`` (features before the head) and ``forward(x)`` (logits).

    Args:
        name: Name from `list_networks`, a ConvNet with several options such as ``convnet_w64_d5_batch``, or a timm
            name. ``timm/NAME`` takes the timm model of a name that exists in both. A name with the digest of pretrained
            weights, see `resolve_networks`, takes images between 0 and 1.
        in_channels: Number of image channels C.
        num_classes: Number of classes K.
        image_size: Image size ``(H, W)`` in pixels.

    Raises:
        ValueError: The name is unknown; the message offers the closest names.

    Example:
        >>> network = create_network("convnet_w16", in_channels=1, num_classes=2, image_size=(28, 28))
    """
    if is_pretrained(name):
        return create_pretrained(name, in_channels, num_classes)
    if (ours := _ours(name)) is not None:
        return ours(in_channels, num_classes, image_size)
    check_network(name)
    return TimmNetwork(name.removeprefix("timm/"), in_channels, num_classes, image_size)


def check_network(name: str) -> None:
    """Raise ValueError with the closest names if ``name`` is unknown. The network is not built."""
    if _ours(name) is not None:
        return
    import timm

    if timm.is_model(model_of(name) if is_pretrained(name) else name.removeprefix("timm/")):
        return
    known = list(dict.fromkeys([*NETWORKS, *timm.list_models()]))
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or list(NETWORKS)[:5]
    raise ValueError(f"unknown network {name!r}; closest names: {', '.join(close)}")


def list_networks() -> list[str]:
    """Return the names of this package's networks; any name of ``timm.list_models()`` works too."""
    return list(NETWORKS)


def _ours(name: str) -> Callable[..., nn.Module] | None:
    """Return the builder of a network of this package; ``None`` for another name or a repeated option."""
    if name in NETWORKS or not name.startswith("convnet_"):
        return NETWORKS.get(name)
    parsed = [(_WORDS | _DEEP).get(word) for word in re.findall(r"_((?:pool_)?[^_]*)", name)]
    options = dict(option for option in parsed if option is not None)
    return partial(ConvNet, **options) if len(options) == len(parsed) else None
