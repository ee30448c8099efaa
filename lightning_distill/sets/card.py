"""Card of a set file: method, scores, versions and the disclosure warning, as plain data."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from lightning_distill._version import __version__
from lightning_distill.sets.arrays import Card

#: Value of the card key ``start`` for real images that were selected and not changed.
UNCHANGED = "unchanged"
#: Value of the card key ``start`` for real images that were selected and reduced to sub-images.
REDUCED = "reduced"
#: Value of the card key ``start`` for images that a generator drew.
GENERATED = "generated"
#: Values of the card key ``start`` for images that were distilled in the latent space of a generator: of one that was
#: trained on the training images, and of one with random weights.
LATENT, LATENT_UNTRAINED = "latent", "latent-untrained"
#: Instructions for further arrays of the file.
USE = {
    "soft_labels": (
        "instead of labels: soft_labels, probabilities, with torch's cross_entropy (multi-label data: "
        "binary_cross_entropy_with_logits)"
    ),
    "lr": "with SGD at the learned rate lr",
}
#: Key of the audit in a card, see `leakage_record`.
AUDIT = "audit"
#: Part of the warning that no longer holds once an audit is attached, see `current_warning`.
NOT_MEASURED = "what they reveal of the training images has not been measured"
#: Start of the sentence on soft labels in a warning.
SOFT_LABELS = " The soft labels "
PACKAGES = ("torch", "lightning", "kornia", "torchmetrics")


def make_card(
    method: str,
    hyper_parameters: Mapping[str, object],
    scores: Mapping[str, object],
    init: str,
    step: int,
    learned: Sequence[str] = (),
    soft_labels: Mapping[str, object] | None = None,
) -> Card:
    """Build the card of a set file as plain data.

    Args:
        method: Class name of the distiller, or name of the coreset method.
        hyper_parameters: Hyperparameters as plain data.
        scores: Measured scores with the number of students and their seeds.
        init: Initialisation of the images: ``noise``, or `UNCHANGED` or `REDUCED` for real images that were not
            distilled, `GENERATED` for those of a generator, or `LATENT` or `LATENT_UNTRAINED`. Every other value
            counts as copies of real images.
        step: Number of distillation steps.
        learned: Names of further learned arrays in the file: ``soft_labels``, ``lr``.
        soft_labels: Record of the teachers of soft labels that were not learned, see `evaluation.relabel.relabel`.

    Returns:
        A dictionary for JSON. The key ``start`` holds ``init``.
    """
    card: Card = {
        "method": method,
        "hyper_parameters": dict(hyper_parameters),
        "steps": step,
        "scores": dict(scores),
        "start": init,
        "warning": privacy_warning(init),
        "versions": {
            "lightning_distill": __version__,  # also where the package runs from its folder, not installed
            **{name: version(name) for name in PACKAGES},
            "python": platform.python_version(),
        },
        "date": datetime.date.today().isoformat(),
        "use": "; ".join(["train on (images - mean) / std", *(USE[name] for name in learned)]),
    }
    if soft_labels is not None or "soft_labels" in learned:
        card["warning"] = f"{card['warning']}{soft_label_warning(soft_labels)}"
    return card if soft_labels is None else with_soft_labels(card, soft_labels)


def with_soft_labels(card: Card, record: Mapping[str, object]) -> Card:
    """Return the card of a set whose labels were replaced by those of teachers.

    The warning and the instructions for use name the soft labels. Call it again for other teachers.

    Args:
        card: Card of the set.
        record: Record of the teachers, see `evaluation.relabel.relabel`.
    """
    start = str(card.get("start", "unknown"))
    warning = str(card.get("warning") or privacy_warning(start)).partition(SOFT_LABELS)[0]
    use = [part for part in str(card.get("use", "train on (images - mean) / std")).split("; ") if part]
    use = [part for part in use if not part.startswith("instead of labels")]
    use.insert(1, USE["soft_labels"])
    return {
        **card,
        "warning": warning + soft_label_warning(record),
        "use": "; ".join(use),
        "soft_labels": dict(record),
    }


def relabelled_card(card: Card, record: Mapping[str, object]) -> Card:
    """Return the card of a relabelled set file: scores and hash of the source are kept under ``relabelled_from``.

    What was measured with the labels of the source is left out: its gain, its audit and the portfolio.

    Args:
        card: Card of the source.
        record: Record of the teachers, see `evaluation.relabel.relabel`.
    """
    source = card.get("relabelled_from") or {key: card[key] for key in ("scores", "sha256", "date") if key in card}
    card = {key: value for key, value in card.items() if key not in ("gain", AUDIT, "portfolio")}
    versions = {name: version(name) for name in PACKAGES}
    changes = {"scores": {}, "relabelled_from": source, "date": datetime.date.today().isoformat()}
    return {**with_soft_labels(card, record), **changes, "versions": {**versions, "python": platform.python_version()}}


def filtered_card(card: Card, record: Mapping[str, object]) -> Card:
    """Return the card of a set without its near copies of training images.

    Scores and hash of the source are kept under ``filtered_from``; what was measured on its images is left out.

    Args:
        card: Card of the source.
        record: Record of the removal, see `evaluation.copies.removal.remove_copies`.
    """
    gone = ("gain", "resemblance", AUDIT, "formation", "decode")
    kept = {key: value for key, value in card.items() if key not in gone}
    warning = str(card.get("warning") or privacy_warning(str(card.get("start", "unknown"))))
    before, mark, soft = warning.partition(SOFT_LABELS)
    sentence = (
        f" Of {record['images']} images, {record['removed']} that resembled a training image were removed (correlation "
        f"above {record['tau']:.3f}; the rule also calls {record['null_rate']:.1%} of unrelated real images copies). "
        "This is no evidence that the others show no patient."
    )
    return {
        **kept,
        "scores": {},
        "warning": before + sentence + mark + soft,
        "filter": dict(record),
        "filtered_from": {key: card[key] for key in ("scores", "sha256", "date") if key in card},
        "date": datetime.date.today().isoformat(),
    }


def soft_label_warning(record: Mapping[str, object] | None = None) -> str:
    """Return the sentence that is added to the warning of a set with soft labels.

    Args:
        record: Record of the teachers; ``None`` for labels that were learned by a distillation.
    """
    origin = "were learned from the real data"
    if record is not None:
        origin = (
            f"come from {record['teachers']} networks trained on the real data ({record['network']}, "
            f"{record['protocol']} protocol, temperature {record['temperature']}, prior {record['prior']})"
        )
    return f"{SOFT_LABELS}{origin}; they tell more of the real data than the images do, which has not been measured."


def privacy_warning(init: str) -> str:
    """Return the disclosure warning for an initialisation.

    Args:
        init: Initialisation of the images, see `make_card`.
    """
    if init == "noise":
        return f"The images began as noise; {NOT_MEASURED}."
    if init in (UNCHANGED, REDUCED):
        kind = "unchanged real images" if init == UNCHANGED else "real images, reduced in size,"
        return (
            f"This file contains {kind} of the training data. Handle it under the same rules as the data it was made "
            "from."
        )
    if init == LATENT_UNTRAINED:
        return f"The images began in a generator with random weights, which saw no training image; {NOT_MEASURED}."
    if init == LATENT:
        return (
            "The images were distilled in a generator that was trained on training images, and may show them; "
            f"{NOT_MEASURED}. Handle this file under the same rules as the data it was made from."
        )
    if init == GENERATED:
        return (
            "The images were drawn by a generator that was trained on the training images, and may show them; "
            f"{NOT_MEASURED}. Handle this file under the same rules as the data it was made from."
        )
    return (
        f"The images began as copies of real training images and may still show them; {NOT_MEASURED}. Handle this file "
        "under the same rules as the data it was made from."
    )


def is_bound(audit: object) -> bool:
    """Return whether an entry of a card claims to be an audit of `bind_audit`, and not another maker's text.

    Args:
        audit: Entry ``audit`` of a card.
    """
    return isinstance(audit, Mapping) and bool({"result", "set_sha256", "sha256"} & set(audit))


def current_warning(card: Mapping[str, object]) -> str:
    """Return the warning of a card, which names the audit where there is one; empty for a card without a warning.

    The stored text keeps the state of the export, so that a set made from this one does not claim its audit.

    Args:
        card: Card of a set.
    """
    warning = str(card.get("warning") or "")
    if not is_bound(card.get(AUDIT)):
        return warning
    return warning.replace(NOT_MEASURED, "an audit, attached, measured what they reveal of the training images")


def strictest_warning(cards: Sequence[Card]) -> Card:
    """Return the card with the strictest warning: real images, reduced ones, copies of them, noise.

    A card without the key ``start`` counts as copies. The first card wins a tie.
    """
    rank = {"noise": 0, LATENT_UNTRAINED: 0, REDUCED: 2, UNCHANGED: 3}
    return max(cards, key=lambda card: rank.get(str(card.get("start")), 1))
