"""Names of networks with the weights that a user gives for them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_distill.networks.factory import check_network
from lightning_distill.networks.pretrained import (
    DIGEST_DIGITS,
    NAME,
    RECORDED,
    is_pretrained,
    load_pretrained,
    model_of,
)

#: Path of a weights file by network name.
Weights = Mapping[str, "str | os.PathLike[str]"]


def resolve_networks(names: Sequence[str], weights: Weights | None = None) -> list[str]:
    """Load the weights of networks from local files, and return names that identify them by content.

    The name of a network with weights becomes ``MODEL[:SIDE]@DIGEST`` with the first twelve digits of the file's
    sha256. It stands for the network in tables, cards and checkpoints; the path is not kept. Nothing is downloaded.

    Args:
        names: Names of networks. ``MODEL:SIDE`` resizes images to ``SIDE`` pixels for a model with weights; without it
            they are resized to the size that the model was trained with.
        weights: Path of a weights file for each timm model among the names: safetensors, or a torch checkpoint that is
            readable with ``weights_only=True``.

    Returns:
        Names in the same order, those without weights unchanged.

    Raises:
        FileNotFoundError: A weights file does not exist.
        ValueError: A name is unknown, a file does not fit its model, or a key of ``weights`` names no network.

    Example:
        >>> resolve_networks(["convnet_w16"])
        ['convnet_w16']
    """
    paths = {model_of(key): os.fspath(path) for key, path in (weights or {}).items()}
    if unused := [key for key in weights or {} if model_of(key) not in map(model_of, names)]:
        raise ValueError(f"weights are given for {unused[0]!r}, which is none of the networks {', '.join(names)}")
    resolved = []
    for name in names:
        match, path = NAME.fullmatch(name), paths.get(model_of(name))
        if path is None and match is not None and match["side"] and not is_pretrained(name):
            raise ValueError(f"an input size ({name}) needs weights: weights={{{match['model']!r}: path of the file}}")
        if path is None or match is None:
            check_network(name)
            resolved.append(name)
            continue
        check_network(f"timm/{match['model']}")
        digest = path.removeprefix(RECORDED) if path.startswith(RECORDED) else None
        digest = digest or load_pretrained(match["model"], Path(path)).sha256
        side = f":{match['side']}" if match["side"] else ""
        if match["digest"] and not digest.startswith(match["digest"]):
            raise ValueError(
                f"the weights file of {name} has the sha256 {digest[:DIGEST_DIGITS]}...; give the other file"
            )
        resolved.append(f"{match['model']}{side}@{digest[:DIGEST_DIGITS]}")
    return resolved
