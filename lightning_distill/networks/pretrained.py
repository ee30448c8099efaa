"""Pretrained timm networks: weights from local files, and images of any size and normalisation as input."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.networks.weights_file import State, match_weights, read_weights_file

#: ``[timm/]MODEL[:SIDE][@DIGEST]``: timm model, side of its input in pixels, first digits of the sha256 of its weights.
NAME = re.compile(r"(?:timm/)?(?P<model>[^:@]+)(?::(?P<side>\d+))?(?:@(?P<digest>[0-9a-f]{12}))?")
DIGEST_DIGITS = 12
#: Value of a ``weights`` mapping that stands for a file of this digest, as recorded in checkpoints and commands.
RECORDED = "sha256:"
#: Smallest side of an encoder's input: the stride of nearly all timm models.
MIN_SIDE = 32


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights of a timm model in memory. The path of their file is not kept.

    Args:
        model: Name of the timm model.
        sha256: Digest of the file.
        state: Tensors of the model without its classifier, by name.
    """

    model: str
    sha256: str
    state: State


@dataclass(frozen=True)
class PixelStatistics:
    """Statistics that images were normalised by, and the range of their pixel values.

    Args:
        mean: Mean of each channel in pixel units.
        std: Standard deviation of each channel in pixel units.
        min_value: Smallest pixel value.
        max_value: Largest pixel value.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    min_value: float
    max_value: float


#: Images that are not normalised, with values between 0 and 1.
UNIT = PixelStatistics((0.0,), (1.0,), 0.0, 1.0)
#: Weights by model and first digits of the digest: equal names have equal weights.
_LOADED: dict[tuple[str, str], PretrainedWeights] = {}


class PretrainedNetwork(nn.Module):
    """Pretrained timm model as encoder, with a new linear layer.

    Images come normalised by the statistics of their data set. They are brought to pixel values between 0 and 1, grey
    ones are repeated to three channels, all are resized to the encoder's input size (bilinear, with antialiasing when
    reduced), and normalised by the encoder's mean and standard deviation. Batch norm and dropout stay in evaluation
    mode, also in training: an image's features do not depend on the others of its batch.

    Args:
        weights: Weights of the encoder.
        in_channels: Number of image channels C, 1 or 3.
        num_classes: Number of classes K.
        side: Side of the encoder's square input in pixels; ``None`` takes the size that it was trained with.
        statistics: Statistics that the images are normalised by.

    Raises:
        ValueError: Neither one nor three channels, or a side that the model does not take.
    """

    def __init__(
        self,
        weights: PretrainedWeights,
        in_channels: int,
        num_classes: int,
        side: int | None = None,
        statistics: PixelStatistics = UNIT,
    ) -> None:
        super().__init__()
        if in_channels not in (1, 3):
            raise ValueError(
                f"images have {in_channels} channels; {weights.model} with pretrained weights takes 1 (grey) or 3; "
                "use a network without weights"
            )
        config = _config(weights.model)
        self.encoder: Any = _encoder(weights.model)
        self.encoder.load_state_dict(weights.state, strict=False)  # complete, as `match_weights` has checked
        self.side = side or int(config.input_size[-1])
        if self.side < MIN_SIDE:
            raise ValueError(f"input size {self.side} is too small for {weights.model}; use {MIN_SIDE} or more")
        if self.side != int(config.input_size[-1]) and config.fixed_input_size:
            _set_input_size(self.encoder, weights.model, self.side)
        mean, std = torch.tensor(config.mean), torch.tensor(config.std)
        span = statistics.max_value - statistics.min_value
        scale = torch.tensor(statistics.std).expand(3) / span
        shift = (torch.tensor(statistics.mean).expand(3) - statistics.min_value) / span
        self.register_buffer("scale", (scale / std).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((shift - mean) / std).view(3, 1, 1), persistent=False)
        self.encoder.to(memory_format=torch.channels_last)  # a third less time on a CPU
        self.eval()
        try:
            with torch.no_grad():
                features = self.embed(torch.zeros(1, in_channels, self.side, self.side)).shape[1]
        except (AssertionError, RuntimeError) as error:
            raise ValueError(_unsuitable_size(weights.model, self.side)) from error
        self.head = nn.Linear(features, num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to the features ``(B, F)`` before the linear layer."""
        reduce = min(x.shape[-2:]) > self.side
        x = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False, antialias=reduce)
        x = x * cast(Tensor, self.scale) + cast(Tensor, self.shift)  # one grey channel becomes three
        features = self.encoder.forward_features(x.contiguous(memory_format=torch.channels_last))
        return cast(Tensor, self.encoder.forward_head(features, pre_logits=True)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, K)``."""
        return cast(Tensor, self.head(self.embed(x)))

    def train(self, mode: bool = True) -> PretrainedNetwork:
        """Keep the evaluation mode, see the class."""
        return super().train(False)

    def renew(self) -> PretrainedNetwork:
        """Return a copy with the pretrained encoder and a new linear layer, from torch's current random stream."""
        new = copy.deepcopy(self)
        new.head.reset_parameters()
        return new


def is_pretrained(name: str) -> bool:
    """Return whether a network name carries the digest of pretrained weights."""
    return (match := NAME.fullmatch(name)) is not None and match["digest"] is not None


def require_loaded(name: str) -> PretrainedWeights:
    """Return the weights of a name with a digest.

    Raises:
        ValueError: The weights have not been loaded in this process.
    """
    match = NAME.fullmatch(name)
    assert match is not None
    if (weights := _LOADED.get((match["model"], match["digest"]))) is None:
        raise ValueError(
            f"the weights of {name} are not loaded; give weights={{{match['model']!r}: path of the file with sha256 "
            f"{match['digest']}...}}"
        )
    return weights


def create_pretrained(
    name: str, in_channels: int, num_classes: int, statistics: PixelStatistics = UNIT
) -> PretrainedNetwork:
    """Build the network of a name with a digest.

    Args:
        name: Name that `resolve_networks` returned, such as ``tf_efficientnet_lite0:112@579344244a1b``.
        in_channels: Number of image channels C.
        num_classes: Number of classes K.
        statistics: Statistics that the images are normalised by.

    Raises:
        ValueError: The weights have not been loaded in this process, or the network does not take the images.
    """
    weights, match = require_loaded(name), NAME.fullmatch(name)
    assert match is not None
    return PretrainedNetwork(
        weights, in_channels, num_classes, int(match["side"]) if match["side"] else None, statistics
    )


def load_pretrained(model: str, path: Path) -> PretrainedWeights:
    """Read the weights of a timm model from a local file, and keep them for networks of this process.

    Args:
        model: Name of the timm model.
        path: Path of a safetensors file or a torch checkpoint.

    Raises:
        FileNotFoundError: No file at the path.
        ValueError: The file is not readable without pickle, or does not fit the model.
    """
    state, sha256 = read_weights_file(path)
    key = model, sha256[:DIGEST_DIGITS]
    if key not in _LOADED:
        classifier = _config(model).classifier or ()
        classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        matched = match_weights(state, _encoder(model).state_dict(), classifiers, model, path.name)
        _LOADED[key] = PretrainedWeights(model, sha256, matched)
    return _LOADED[key]


def weights_digests(names: Sequence[str], weights: Mapping[str, str]) -> dict[str, str]:
    """Return ``sha256:...`` for each key of a ``weights`` mapping, in place of the path.

    Args:
        names: Names that `resolve_networks` returned for this mapping.
        weights: Paths, or digests as recorded, by network name.
    """
    digests = {}
    for key, value in weights.items():
        loaded = [
            _LOADED[match["model"], match["digest"]].sha256
            for name in names
            if (match := NAME.fullmatch(name)) and match["digest"] and match["model"] == model_of(key)
            if (match["model"], match["digest"]) in _LOADED
        ]
        digests[key] = RECORDED + loaded[0] if loaded else value
    return digests


def model_of(name: str) -> str:
    """Return the timm name of a network name, without ``timm/``, input size and digest."""
    match = NAME.fullmatch(name)
    return match["model"] if match else name


@lru_cache(maxsize=8)
def _config(model: str) -> Any:
    import timm

    return timm.get_pretrained_cfg(model) or timm.models.PretrainedCfg()


def _encoder(model: str) -> nn.Module:
    """Return the timm model without classifier; global random numbers stay as they are."""
    import timm

    with torch.random.fork_rng(devices=[]):
        network: nn.Module = timm.create_model(model, pretrained=False, num_classes=0)
    return network


def _set_input_size(encoder: Any, model: str, side: int) -> None:
    """Resample the position embedding of a model with fixed input size."""
    try:
        encoder.set_input_size(img_size=(side, side))
    except (AttributeError, AssertionError, ValueError) as error:
        raise ValueError(_unsuitable_size(model, side)) from error


def _unsuitable_size(model: str, side: int) -> str:
    return f"{model} does not take images of {side} px; leave out ':{side}' for its {_config(model).input_size[-1]} px"
