"""Generators by name, and from their checkpoints."""

from __future__ import annotations

import os

from lightning_distill.checkpoints.verified_io import VerifiedCheckpointIO
from lightning_distill.generators.base import Generator
from lightning_distill.generators.flow import FlowGenerator as FlowGenerator
from lightning_distill.generators.gan import GANGenerator as GANGenerator

ENDING = "Generator"


def generators_by_name() -> dict[str, type[Generator]]:
    """Return all imported generators by short name: the name of the class in lower case, without ``Generator``.

    Example:
        >>> sorted(generators_by_name())[:2]
        ['flow', 'gan']
    """
    return {kind.__name__.removesuffix(ENDING).lower(): kind for kind in _below(Generator)}  # type: ignore[type-abstract]


def load_generator(path: str | os.PathLike[str]) -> Generator:
    """Load a generator from a checkpoint of its training, on the CPU, to draw images from it.

    Args:
        path: Checkpoint of Lightning. Nothing is unpickled, and only imported classes are made.

    Returns:
        The generator in evaluation mode; ``trained_steps`` are those of the checkpoint.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, holds Python objects, or is no checkpoint of an imported generator.
    """
    content = VerifiedCheckpointIO().load_checkpoint(path, weights_only=True)
    name = content.get("generator")
    kinds = {kind.__name__: kind for kind in generators_by_name().values()}
    if name not in kinds:
        made = f"of {content['method']}" if "method" in content else "of no generator"
        what = f"of {name!r}, which is not imported" if name is not None else made
        raise ValueError(f"{os.fspath(path)} is a checkpoint {what}; give one of {', '.join(sorted(kinds))}")
    settings = {key: value for key, value in content["hyper_parameters"].items() if not key.startswith("_")}
    generator = kinds[name](**settings)
    generator.on_load_checkpoint(content)
    generator.load_state_dict(content["state_dict"])
    return generator.eval()


def _below(kind: type[Generator]) -> list[type[Generator]]:
    children = [child for child in kind.__subclasses__() if not child.__name__.startswith("_")]
    return [each for child in children for each in (child, *_below(child))]
