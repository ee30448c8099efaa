"""What a shared file says of itself."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from lightning_distill.sets.storage import Card

#: How the images of a selection began, and what they still are.
UNCHANGED = "unchanged"
PACKAGES = ("lightning_distill", "torch", "lightning", "kornia", "torchmetrics")


def make_card(
    method: str,
    hyper_parameters: Mapping[str, object],
    scores: Mapping[str, object],
    start: str,
    step: int,
    learned: Sequence[str] = (),
) -> Card:
    """A card as plain data.

    Args:
        method: class name of the distiller, or the name of a selection.
        hyper_parameters: plain data.
        scores: what was measured, with students and seeds.
        start: how the images began: ``noise``, `UNCHANGED` for real images as they are; all else is named as copies.
        step: steps taken.
        learned: what else the method has learned and the file holds: ``soft_labels``, ``lr``.
    """
    use = {"soft_labels": "instead of labels: soft_labels, probabilities", "lr": "with SGD at the learned rate lr"}
    card: Card = {
        "method": method,
        "hyper_parameters": dict(hyper_parameters),
        "steps": step,
        "scores": dict(scores),
        "start": start,
        "warning": privacy_warning(start),
        "versions": {**{name: version(name) for name in PACKAGES}, "python": platform.python_version()},
        "date": datetime.date.today().isoformat(),
        "use": "; ".join(["train on (images - mean) / std", *(use[name] for name in learned)]),
    }
    return card


def privacy_warning(start: str) -> str:
    """What a reader of the set must know about what it may show."""
    if start == "noise":
        return "The images began as noise; what they reveal of the training images has not been measured."
    if start == UNCHANGED:
        return (
            "This file contains real images of the training data, unchanged. Whoever has it has these images: treat it "
            "like the data it was made from."
        )
    return (
        "The images began as copies of real training images and may still show them; what they reveal of the training "
        "images has not been measured. Treat this file like the data it was made from."
    )


def strictest_warning(cards: Sequence[Card]) -> Card:
    """The card that warns most: of real images before copies of them, of copies before noise; the first of equals.

    A card that does not say how its images began counts as one of copies.
    """
    rank = {"noise": 0, UNCHANGED: 2}
    return max(cards, key=lambda card: rank.get(str(card.get("start")), 1))
