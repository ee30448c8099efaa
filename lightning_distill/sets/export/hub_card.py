"""``README.md`` of a Hugging Face data set: YAML front matter, and the card of the set in words."""

from __future__ import annotations

import datetime
import html
import re
from collections.abc import Mapping
from typing import NamedTuple

import yaml

from lightning_distill.sets.card import GENERATED, REDUCED, UNCHANGED, current_warning
from lightning_distill.sets.export.record import PreparedSet

#: Licence identifiers of the Hub that a licence text is compared with, after spaces became dashes.
_LICENSES = re.compile(
    r"cc0-1\.0|cc-by(?:-nc)?(?:-(?:sa|nd))?-[1-4]\.[05]|apache-2\.0|mit|odbl|pddl|gpl-3\.0|bsd-3-clause"
)


class Kind(NamedTuple):
    """What the images of a set are, how they were made, and the tag for them."""

    images: str
    made: str
    tag: str


#: Kinds of sets that were not distilled, by the card key ``start``.
KINDS = {
    UNCHANGED: Kind("unchanged real", "selected", "real-images"),
    REDUCED: Kind("real", "selected and reduced", "real-images"),
    GENERATED: Kind("synthetic", "generated", "synthetic"),
}
_SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1 << 62, "100K<n<1M"))


def hub_license(text: str) -> tuple[str, str]:
    """Return the Hub's identifier of a licence, and the name that goes with ``other``.

    Args:
        text: Licence as the card has it.

    Example:
        >>> hub_license("CC BY 4.0"), hub_license("unknown"), hub_license("ask the hospital")
        (('cc-by-4.0', ''), ('unknown', ''), ('other', 'ask the hospital'))
    """
    identifier = re.sub(r"[\s_-]+", "-", text.strip().lower())
    identifier = {"cc0": "cc0-1.0", "public-domain": "pddl"}.get(identifier, identifier)
    if identifier in ("", "unknown"):
        return "unknown", ""
    return (identifier, "") if _LICENSES.fullmatch(identifier) else ("other", text)


def texts_of_card(prepared: PreparedSet) -> dict[str, str]:
    """Return method, date, warning, digest and creator of the card as text; missing entries are named so.

    Only these entries enter the README and Croissant metadata: hyperparameters may hold paths of a machine.
    """
    card = prepared.card
    date = str(card.get("date", ""))
    return {
        "method": str(card.get("method", "unknown method")),
        "date": date if re.fullmatch(r"\d{4}-\d\d-\d\d", date) else datetime.date(1970, 1, 1).isoformat(),
        "warning": str(current_warning(card) or "The card holds no warning."),
        "sha256": str(card.get("sha256")),
        "creator": str(card.get("creator", "unknown")),
        "use": str(card.get("use", "train on (images - mean) / std")),
    }


def description(prepared: PreparedSet) -> str:
    """Return one sentence on the set."""
    spec, count, kind = prepared.spec, len(prepared.codes), kind_of(prepared)
    return (
        f"{count} {kind.images} images of {spec.num_classes} classes, {kind.made} from {spec.name} ({spec.source}) by "
        f"{texts_of_card(prepared)['method']}."
    )


def kind_of(prepared: PreparedSet) -> Kind:
    """Return what the images of a set are."""
    return KINDS.get(str(prepared.card.get("start")), Kind("synthetic", "distilled", "synthetic"))


def hub_card(prepared: PreparedSet) -> bytes:
    """Return ``README.md`` of a data set folder.

    Args:
        prepared: Exported set.
    """
    spec, texts, record = prepared.spec, texts_of_card(prepared), prepared.record
    front = yaml.safe_dump(_front_matter(prepared), sort_keys=False, allow_unicode=True, width=10_000)
    mean, std = ([float(value) for value in values] for values in (spec.mean, spec.std))
    pixels = f"{record.pixels}." if record.pixels != "exact" else "8-bit PNG files with the exact pixels of the set."
    units = (
        "" if spec.storage_dtype == "uint8"
        else f" A pixel of the set is {spec.min_value:g} + code / 255 x {spec.max_value - spec.min_value:g}."
    )  # fmt: skip
    lines = [
        f"# {_escape(spec.name)}, {kind_of(prepared).made}", "", _escape(description(prepared)), "",
        f"> {_escape(texts['warning'])}", "",
        "## Use", "",
        "```python", "from datasets import load_dataset", "",
        'train = load_dataset("path/of/this/folder", split="train")', "```", "",
        f"- Pixels: {_escape(pixels)}{_escape(units)}",
        f"- Training: {_escape(texts['use'])}, with mean {mean} and std {std} in pixel units of the set.",
        *([f"- Each image holds {record.formation} x {record.formation} sub-images; `card.json` has the decoder."]
          if record.formation > 1 else []),
        *([f"- Learned learning rate of SGD: {record.lr:g}."] if record.lr is not None else []),
        "- `lightning_distill.load_set` verifies the digest and returns normalised tensors.",
        "- `lightning-distill inspect` shows the card and looks for defects.",
        "- `sha256sum -c SHA256SUMS` verifies the files.", "",
        "## Origin", "",
        f"- Data: {_escape(spec.name)}, {_escape(spec.source)}. Licence: {_escape(spec.license)}.",
        f"- Method: {_escape(texts['method'])}. Every setting and score is in `card.json`.",
        f"- sha256 of arrays and card: `{_escape(texts['sha256'])}`.", "",
    ]  # fmt: skip
    return f"---\n{front}---\n\n{chr(10).join(lines)}".encode()


def _front_matter(prepared: PreparedSet) -> Mapping[str, object]:
    spec, count = prepared.spec, len(prepared.codes)
    identifier, name = hub_license(spec.license)
    classes = {"class_label": {"names": {str(index): text for index, text in enumerate(spec.class_names)}}}
    label: dict[str, object] = {"name": "label", "dtype": classes}
    if spec.multi_label:
        label = {"name": "labels", "sequence": classes}
    soft = [{"name": "soft_labels", "sequence": "float32"}] if "soft_labels" in prepared.arrays else []
    return {
        "pretty_name": f"{spec.name}, {kind_of(prepared).made}",
        "license": identifier,
        **({"license_name": name} if name else {}),
        "task_categories": ["image-classification"],
        "size_categories": [next(text for most, text in _SIZES if count < most)],
        "tags": ["dataset-distillation", kind_of(prepared).tag, "croissant"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "train/**"}],
                "features": [{"name": "image", "dtype": "image"}, label, *soft],
            }
        ],
    }


def _escape(text: str) -> str:
    """Escape text of a card for Markdown: no links, no HTML, one line."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", html.escape(printable, quote=False))
