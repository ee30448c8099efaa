"""``create_network(name, ...)``: the field's nets by the names in its tables, everything else from timm."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.networks.classic import MLP, VGG11, AlexNet, LeNet, ResNet18
from lightning_distill.networks.convnet import ConvNet

#: Every name of the field's pools. Each ConvNet varies one thing of the standard one (depth 3, width 128, instance
#: norm, ReLU, average pooling); ``convnet_w16`` is the small one for tests and first looks. Large images need depth: 4
#: for 64 px, 5 for 128 px, 6 for 224 px, 7 for 512 px bring them to 4x4 again (3x3 at 224 px).
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "convnet": ConvNet,
    **{f"convnet_d{depth}": partial(ConvNet, depth=depth) for depth in range(1, 8)},
    **{f"convnet_w{width}": partial(ConvNet, width=width) for width in (16, 32, 64, 128, 256)},
    **{f"convnet_{norm}": partial(ConvNet, norm=norm) for norm in ("none", "batch", "layer", "instance", "group")},
    **{f"convnet_{name}": partial(ConvNet, activation=name) for name in ("relu", "leaky", "sigmoid", "swish")},
    **{f"convnet_pool_{pool}": partial(ConvNet, pool=pool) for pool in ("avg", "max", "none")},
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
    """A timm model behind our two methods; images below ``size`` are enlarged to it, as its stem expects.

    Args:
        name: any name timm knows; ``timm/resnet18`` where ours has the same name.
        in_channels: C.
        num_classes: K.
        image_size: ``(H, W)``.
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
        """``(B, C, H, W)`` to the features before the head, ``(B, F)``."""
        features = self.model.forward_features(self._resize(x))
        return cast(Tensor, self.model.forward_head(features, pre_logits=True)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to logits ``(B, K)``."""
        return cast(Tensor, self.model(self._resize(x)))

    def _resize(self, x: Tensor) -> Tensor:
        if self.side is None:
            return x
        return F.interpolate(x, size=(self.side, self.side), mode="bilinear", align_corners=False)


def create_network(name: str, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    """Build an untrained network with ``embed(x)`` (features before the head) and ``forward(x)`` (logits).

    Args:
        name: one of `list_networks`, else a timm name; ``timm/NAME`` asks timm first.
        in_channels: C.
        num_classes: K.
        image_size: ``(H, W)`` in pixels.

    Raises:
        ValueError: the name is known neither here nor to timm; the message offers the closest ones.
    """
    if name in NETWORKS:
        return NETWORKS[name](in_channels, num_classes, image_size)
    check_network(name)
    return TimmNetwork(name.removeprefix("timm/"), in_channels, num_classes, image_size)


def check_network(name: str) -> None:
    """Raise a ValueError that offers the closest names unless ``name`` is ours or timm's. Builds nothing."""
    if name in NETWORKS:
        return
    import timm

    if timm.is_model(name.removeprefix("timm/")):
        return
    known = list(dict.fromkeys([*NETWORKS, *timm.list_models()]))
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or list(NETWORKS)[:5]
    raise ValueError(f"unknown network {name!r}; closest names: {', '.join(close)}")


def list_networks() -> list[str]:
    """Our names; any name of ``timm.list_models()`` works beside them."""
    return list(NETWORKS)
