"""Card of a set file: method, scores, versions and the disclosure warning, as plain data."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from lightning_distill.sets.storage import Card

#: Value of the card key ``start`` for real images that were selected and not changed.
UNCHANGED = "unchanged"
#: Value of the card key ``start`` for real images that were selected and reduced to sub-images.
REDUCED = "reduced"
PACKAGES = ("lightning_distill", "torch", "lightning", "kornia", "torchmetrics")


def make_card(
    method: str,
    hyper_parameters: Mapping[str, object],
    scores: Mapping[str, object],
    init: str,
    step: int,
    learned: Sequence[str] = (),
) -> Card:
    """Build the card of a set file as plain data.

    Args:
        method: Class name of the distiller, or name of the coreset method.
        hyper_parameters: Hyperparameters as plain data.
        scores: Measured scores with the number of students and their seeds.
        init: Initialisation of the images: ``noise``, or `UNCHANGED` or `REDUCED` for real images that were not
            distilled. Every other value counts as copies of real images.
        step: Number of distillation steps.
        learned: Names of further learned arrays in the file: ``soft_labels``, ``lr``.

    Returns:
        A dictionary for JSON. The key ``start`` holds ``init``.
    """
    use = {"soft_labels": "instead of labels: soft_labels, probabilities", "lr": "with SGD at the learned rate lr"}
    card: Card = {
        "method": method,
        "hyper_parameters": dict(hyper_parameters),
        "steps": step,
        "scores": dict(scores),
        "start": init,
        "warning": privacy_warning(init),
        "versions": {**{name: version(name) for name in PACKAGES}, "python": platform.python_version()},
        "date": datetime.date.today().isoformat(),
        "use": "; ".join(["train on (images - mean) / std", *(use[name] for name in learned)]),
    }
    return card


def privacy_warning(init: str) -> str:
    """Return the disclosure warning for an initialisation.

    Args:
        init: Initialisation of the images, see `make_card`.
    """
    if init == "noise":
        return "The images began as noise; what they reveal of the training images has not been measured."
    if init in (UNCHANGED, REDUCED):
        kind = "unchanged real images" if init == UNCHANGED else "real images, reduced in size,"
        return (
            f"This file contains {kind} of the training data. Handle it under the same rules as the data it was made "
            "from."
        )
    return (
        "The images began as copies of real training images and may still show them; what they reveal of "
        "the training images has not been measured. Handle this file under the same rules as the data it was made "
        "from."
    )


def strictest_warning(cards: Sequence[Card]) -> Card:
    """Return the card with the strictest warning: real images, reduced ones, copies of them, noise.

    A card without the key ``start`` counts as copies. The first card wins a tie.
    """
    rank = {"noise": 0, REDUCED: 2, UNCHANGED: 3}
    return max(cards, key=lambda card: rank.get(str(card.get("start")), 1))
