"""``lightning-distill inspect``: verify a received set, show its card, and look for defects."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console

from lightning_distill.commands._console import plain_console, printable
from lightning_distill.commands.evaluate import evaluate
from lightning_distill.data import ArrayDataModule
from lightning_distill.networks.factory import check_network
from lightning_distill.report.guard import gain_facts, resemblance_facts
from lightning_distill.report.redact import plain
from lightning_distill.sets.card import current_warning
from lightning_distill.sets.image_grid import image_grid, png_bytes
from lightning_distill.sets.inspection.run import Inspection, inspect_set
from lightning_distill.sets.storage import Card, check_file_writable
from lightning_distill.sets.training_images import ENTRY, count_training_images
from lightning_distill.utils.atomic_files import write_files_atomically

#: Entries of the card that are shown, and their labels.
FACTS = {
    "method": "method", "start": "initial images", "steps": "steps", "date": "date", "exported": "exported",
    "soft_labels": "soft labels", "preparation": "preparation", "augmentation": "valid augmentation", "use": "use",
}  # fmt: skip
#: Lines of an audit that are shown.
AUDIT_LINES = 20


def inspect(
    synthetic_set: str,
    *,
    verify: str | None = None,
    picture: str | None = "inspection.png",
    train: str | None = None,
    data: ArrayDataModule | None = None,
    split: Literal["val", "test"] = "test",
    protocol: str = "quick",
    students: int = 3,
    map_classes: dict[str, str] | None = None,
    resize: bool = False,
) -> Inspection:
    """Verify a received set, show its card, and look for defects: ``lightning-distill inspect SET --verify KEY``.

    Exit status 1: the set is damaged or was changed, or its signature is missing or wrong. Findings are warnings, each
    with its certainty.

    Args:
        synthetic_set: Path of ``set.safetensors``, of its folder, or of an export, given before all options.
        verify: Public ed25519 key of the sender, a PEM file. The signature ``set.sig`` must be beside the set.
        picture: PNG file for a picture with a row of images for each class; ``null`` writes none.
        train: Network to train on the set and to score on ``data``: ``timm:resnet18``, or a name of this package.
        data: Real data that score the network: ``--data MedMNISTDataModule --data.name breastmnist``. All images of
            class folders without splits score it.
        split: Real images that score the network: ``val`` or ``test``.
        protocol: Training protocol: ``reference``, ``quick`` or ``tiny`` (for tests).
        students: Number of networks to train.
        map_classes: Class of the data for each class of the set, where names or order differ.
        resize: Resize the set's images to the size and channels of the data.

    Returns:
        Card, counts and findings.

    Raises:
        UntrustedSetError: The set is damaged or was changed, or its signature is missing or wrong.
        FileNotFoundError: Set or key does not exist.
        ValueError: The key is no public ed25519 key, only one of ``train`` and ``data`` is given, or the set does not
            fit the data.
    """
    if (train is None) != (data is None):
        given, missing = ("--train", "--data MODULE") if data is None else ("--data", "--train timm:resnet18")
        raise ValueError(f"{given} needs {missing}: networks are trained on the set and scored on the data")
    network = None if train is None else network_name(train)
    if network is not None:
        check_network(network)
    if picture is not None:
        check_file_writable(picture)
    console = plain_console()
    inspection = inspect_set(synthetic_set, verify=verify)
    show(inspection, Path(synthetic_set), console)
    if picture is not None:
        write_picture(inspection, Path(picture))
        _print(console, "picture", picture)
    show_findings(inspection, console)
    if network is not None:
        assert data is not None
        # the receiver needs no training images
        alone = split == "test" and not inspection.data.spec.multi_label
        evaluate(
            synthetic_set, None if alone else data, test_data=data if alone else None, split=split, protocol=protocol,
            students=students, architectures=[network], map_classes=map_classes, resize=resize,
        )  # fmt: skip
    return inspection


def network_name(train: str) -> str:
    """Return the name of a network of ``evaluate``: ``timm:NAME`` is written ``timm/NAME`` there.

    Example:
        >>> network_name("timm:resnet18")
        'timm/resnet18'
    """
    return f"timm/{train.removeprefix('timm:')}" if train.startswith("timm:") else train


def write_picture(inspection: Inspection, path: Path) -> None:
    """Write a PNG file with a row of stored images for each class."""
    data = inspection.data
    write_files_atomically({path: png_bytes(image_grid(data.pixels, data.labels, data.spec))})


def show(inspection: Inspection, path: Path, console: Console) -> None:
    """Print what was verified, and the card. Every text of the card is made harmless for a terminal."""
    data, card, spec = inspection.data, inspection.card, inspection.data.spec
    inside = f" of {data.formation} x {data.formation} sub-images" if data.formation > 1 else ""
    shape = " x ".join(map(str, spec.shape))
    _print(console, "set", f"{path.name}: {len(data.labels)} images{inside}, {shape} {spec.storage_dtype}")
    _print(console, "digest", f"valid, sha256 {card.get('sha256')}")
    key = inspection.signature
    signed = "not checked; --verify KEY checks it" if key is None else f"valid for {key.signed_file}, public key "
    _print(console, "signature", signed + (f"sha256 {key.fingerprint}" if key else ""))
    _print(console, "data", f"{spec.name} ({spec.source}), licence: {spec.license}")
    for name, label in FACTS.items():
        if text := plain(card.get(name)):
            _print(console, label, text)
    for label, text in {**_training_images(card), **gain_facts(card), **resemblance_facts(card)}.items():
        _print(console, label, text)
    _print(console, "warning", plain(current_warning(card)) or "the card holds none")
    counts = [f"{name} {count}" for name, count in inspection.counts.items()]
    _print(console, "images of classes", "; ".join(counts))
    show_audit(inspection, console)


def show_audit(inspection: Inspection, console: Console) -> None:
    """Print the findings of an audit that is bound to the set, or the entries of another one."""
    audit, words = inspection.audit, "what the maker measured, not repeated here"
    if inspection.audit_bound:
        verdict = audit.get("verdict")
        lines = [plain(text) for text in verdict] if isinstance(verdict, list) else []
        _print(console, "audit", f"{words}; it is of this set")
    else:
        lines = [f"{key}: {text}" for key, value in audit.items() if (text := plain(value))]
        refused = any(finding.text.startswith("the audit is refused") for finding in inspection.findings)
        none = "refused, see below" if refused else "the card holds none"
        _print(console, "audit", f"{words}; not bound to this set" if lines else none)
    for line in lines[:AUDIT_LINES]:
        console.print(f"  {printable(line)}", highlight=False, soft_wrap=True)
    if len(lines) > AUDIT_LINES:
        console.print(f"  {len(lines) - AUDIT_LINES} more entries in the card", highlight=False)


def show_findings(inspection: Inspection, console: Console) -> None:
    """Print one line for each check and for each finding."""
    for name, result in inspection.results.items():
        _print(console, name, result.note)
        for finding in result.findings:
            console.print(f"  WARNING {printable(finding.text)} [{finding.certainty}]", highlight=False, soft_wrap=True)
    count = len(inspection.findings)
    summary = "no findings" if not count else "1 finding" if count == 1 else f"{count} findings"
    console.print(f"{summary}; absence of findings is no proof that a set is harmless", highlight=False)


def _print(console: Console, label: str, text: object) -> None:
    console.print(f"{label}: {printable(text)}", highlight=False, soft_wrap=True)


def _training_images(card: Card) -> dict[str, str]:
    """Return how many images the set was made from, by the hashes in its card."""
    count, kept = count_training_images(card.get(ENTRY))
    return {"training images": f"{count:,}, hashes of {kept:,} of them"} if kept else {}
