"""Methods by short name."""

from __future__ import annotations

from lightning_distill.distillers.base import Distiller

ENDING = "Distiller"


def list_distillers() -> list[str]:
    """Return the short names of all imported methods: ``dm`` is `DMDistiller`.

    Example:
        >>> from lightning_distill import list_distillers
        >>> "dm" in list_distillers()
        True
    """
    return sorted(distillers_by_name())


def distillers_by_name() -> dict[str, type[Distiller]]:
    """Return all imported methods by short name: the name of the class in lower case, without ``Distiller``."""
    return {method.__name__.removesuffix(ENDING).lower(): method for method in _below(Distiller)}  # type: ignore[type-abstract]


def _below(method: type[Distiller]) -> list[type[Distiller]]:
    children = [child for child in method.__subclasses__() if not child.__name__.startswith("_")]
    return [each for child in children for each in (child, *_below(child))]
