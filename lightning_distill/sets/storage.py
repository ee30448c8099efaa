"""Set file: one safetensors file with images, labels and a card, and the card again as JSON.

``set.safetensors`` holds ``images`` (N, C, H, W) uint8 or float16, ``labels`` (N,) int64 (0/1 rows (N, K) for
multi-label data), ``mean`` and ``std`` (C,) float32 in pixel units, and the card in its metadata. Optional arrays are
``soft_labels`` (M, K) float32, probabilities that replace the labels, ``lr`` () float32, the learning rate to train
with, and ``formation`` () int64, the number f of sub-images along each side of an image (M = N f f sub-images; the card
holds the decoder in numpy). Reading needs only safetensors and numpy; networks are trained on the decoded
``(images - mean) / std``. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lightning_distill.augmentation.presets import describe
from lightning_distill.sets.arrays import Arrays as Arrays
from lightning_distill.sets.arrays import Card as Card
from lightning_distill.sets.arrays import arrays_to_set, set_to_arrays, unreadable
from lightning_distill.sets.arrays import digest as digest
from lightning_distill.sets.export.registry import find_export
from lightning_distill.sets.formation import NUMPY_DECODER
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.preparation import describe_preparation
from lightning_distill.sets.schema import check_card
from lightning_distill.spec import DataSpec
from lightning_distill.utils.atomic_files import remove_stale_temporaries
from lightning_distill.utils.atomic_files import write_files_atomically as write_files_atomically
from lightning_distill.utils.json_values import without_nan

SET, CARD = "set.safetensors", "card.json"
#: Version of the files that are written. The sha256 of version 1 does not cover the card.
FORMAT = 2


def save_set(folder: str | os.PathLike[str], data: LabeledSet, card: Card) -> Path:
    """Write ``set.safetensors`` and ``card.json``; on failure an older pair is kept.

    Args:
        folder: Target folder. Created if missing.
        data: Pixels ``(N, C, H, W)`` in their storage dtype, labels, spec, and optional soft labels and learning rate.
        card: JSON-compatible card, see `card.make_card`. The spec and the hash are added here.

    Returns:
        The path of ``set.safetensors``.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = set_to_arrays(data)
    if data.formation > 1:
        card = {**card, "formation": data.formation, "decode": NUMPY_DECODER}
    card = complete_card(card, data.spec)
    card["sha256"] = digest(arrays, card)
    text = card_text(card)
    write_files_atomically({folder / SET: save(arrays, metadata={"card": text}), folder / CARD: text.encode()})
    return folder / SET


def complete_card(card: Card, spec: DataSpec) -> Card:
    """Return a card with the entries that every set file has: format, specification, augmentation and preparation.

    Args:
        card: JSON-compatible card.
        spec: Specification of the set.
    """
    augmentation = describe(spec.augmentation, spec.shape[0])
    card = {**without_nan(card), "format": FORMAT, "data": spec.to_dict(), "augmentation": augmentation}
    return {**card, "preparation": describe_preparation(spec)}


def card_text(card: Card) -> str:
    """Return a card as it is written.

    Args:
        card: JSON-compatible card.
    """
    return json.dumps(card, indent=2, ensure_ascii=False)


def read_set(path: str | os.PathLike[str]) -> tuple[LabeledSet, Card]:
    """Read a set and its card, and verify their hash and that they are those of a set.

    Args:
        path: File ``set.safetensors``, the folder that contains it, or an export of a set: the folder or ``set.npz``,
            see `exporting.export_set`.

    Returns:
        The set with pixels in their storage dtype, and the card.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a set file, tensors or card do not match the hash, or a tensor is not finite, out of
            range or of another shape than the card says.
    """
    path = Path(path)
    export = find_export(path)
    if export is not None:
        arrays, decoded = export.read()
        return arrays_to_set(arrays, decoded, export.name), decoded
    path = path / SET if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no set file {path.name!r} in {path.parent}; give set.safetensors or its folder")
    try:
        with safe_open(path, framework="np") as file:
            card: Card = json.loads((file.metadata() or {})["card"])
            check_card(card)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise unreadable(path.name, error) from error
    return arrays_to_set(arrays, card, path.name), card


def set_file(path: str | os.PathLike[str]) -> Path | None:
    """Return the one file of a set, or None for an export of many files.

    Args:
        path: Path that `read_set` reads.
    """
    path = Path(path)
    export = find_export(path)
    file = (path / SET if path.is_dir() else path) if export is None else export.path
    return file if file.is_file() else None


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Create the folder and test that it is writable, before a long run starts.

    Raises:
        OSError: The folder cannot be written; the message names it.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"cannot write to {folder}: {error.strerror}; choose another folder") from error


def check_file_writable(path: str | os.PathLike[str]) -> None:
    """Test that a file can be written, before a long run starts.

    Raises:
        OSError: The path is a folder, or its folder cannot be written; the message names it.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"cannot write to {path}: it is a folder; name a file in it")
    check_writable(Path(path).parent)


def mend_set(folder: str | os.PathLike[str]) -> None:
    """Make a folder whole after a kill: write ``card.json`` from the set again, and remove temporary files.

    The card inside of the set is the one that counts.

    Args:
        folder: Folder of a set; may be missing.
    """
    path = Path(folder)
    for name in (SET, CARD):
        remove_stale_temporaries(path / name)
    if not (path / SET).is_file():
        return
    try:
        with safe_open(path / SET, framework="np") as file:
            text = (file.metadata() or {})["card"].encode()
    except (SafetensorError, KeyError):
        return  # no set file; its reader refuses it
    if not (path / CARD).is_file() or (path / CARD).read_bytes() != text:
        write_files_atomically({path / CARD: text})
