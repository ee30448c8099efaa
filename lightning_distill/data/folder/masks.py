"""Find the masks among image files, and volumes that exist in several sequences for each case."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from lightning_distill.data.folder.names import is_mask_folder, words
from lightning_distill.data.readers import is_volume
from lightning_distill.data.readers.dispatch import READERS

_STRONG = r"masks?|segmentations?|superpixels|ground[ _-]?truth"
_WORDS = rf"{_STRONG}|seg|segm|gt|labels?|annotations?|annotated|contours?"
_BEHIND = re.compile(rf"(?P<base>.+?)[ _.-]+(?P<word>{_WORDS})(?:[ _.-]*\(?\d+\)?)*", re.IGNORECASE)
_BEFORE = re.compile(rf"(?P<word>{_WORDS})(?:[ _.-]+(?P<base>.+))?", re.IGNORECASE)
_JOINED = re.compile(r"(?P<base>.+)masks?|masks?(?P<after>.+)", re.IGNORECASE)
_SEQUENCE = re.compile(
    r"(?P<base>.+)(?P<mark>[_-])(?P<word>flair|t1(?:w|ce|c|n|gd)?|t2(?:w|f)?|dwi|adc|pd|swi|bold)", re.IGNORECASE
)


def asks_for_masks(pattern: str | None) -> bool:
    """Return whether a file name pattern contains a word for masks, as ``*_mask*`` does."""
    return pattern is not None and any(re.fullmatch(_WORDS, word) for word in words(pattern))


def image_name(mask: str) -> str:
    """Return the name of the image that a mask name belongs to: ``benign`` for ``benign_mask``; empty if none."""
    match = _BEHIND.fullmatch(mask) or _BEFORE.fullmatch(mask)
    return "" if match is None else match["base"] or ""


def find_masks(paths: Sequence[str], depth: int) -> set[str]:
    """Return the paths that are masks, by their folder or by their name and the image that they belong to.

    A name such as ``x_mask_1.png``, ``x_seg.nii.gz`` or ``mask_x.png`` is a mask if there is an image ``x`` or, beside
    it, an image with a name that begins like ``x_``. A file ``mask.png`` needs any image beside it. Names with
    ``mask``, ``segmentation``, ``superpixels`` or ``ground truth`` need no image, unless the folder of the class has
    such a word, too (``with_mask``).

    Args:
        paths: Paths of image files.
        depth: Number of the leading parts of a path that belong to the split and the class.
    """
    likely: dict[str, tuple[str, str]] = {}
    stems, beside = set[str](), defaultdict[str, list[str]](list)
    masks = {path for path in paths if any(map(is_mask_folder, PurePosixPath(path).parts[depth:-1]))}
    for path in paths:
        stem = stem_of(path)
        if path not in masks and (match := _BEHIND.fullmatch(stem) or _BEFORE.fullmatch(stem)):
            likely[path] = match["base"] or "", match["word"]
        elif path not in masks:
            stems.add(stem)
            beside[str(PurePosixPath(path).parent)].append(stem)
    for path in paths:  # names without a separator, as ``7mask.png``, need their image
        if (
            path not in likely
            and (match := _JOINED.fullmatch(stem_of(path)))
            and (match["base"] or match["after"]) in stems
        ):
            masks.add(path)
    for path, (base, word) in likely.items():
        folder = PurePosixPath(path).parent
        named = any(re.fullmatch(_WORDS, part) for name in folder.parts for part in words(name))
        begins = tuple(base + mark for mark in " _.-") if base else ""
        if (
            base in stems
            or (re.fullmatch(_STRONG, word, re.IGNORECASE) and not named)
            or any(stem.startswith(begins) for stem in beside[str(folder)])
        ):
            masks.add(path)
    return masks


def check_sequences(paths: Sequence[str]) -> None:
    """Refuse volumes of one case in several sequences, which would become separate images of one class.

    Raises:
        ValueError: Two files of one folder differ in the name of the sequence only, e.g. ``flair`` and ``t1``.
    """
    cases: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for path in filter(is_volume, paths):
        if match := _SEQUENCE.fullmatch(stem_of(path)):
            cases[str(PurePosixPath(path).parent), match["base"]][match["word"]] = match["mark"]
    found = {word: mark for case in cases.values() if len(case) > 1 for word, mark in case.items()}
    if found:
        word, mark = next(iter(sorted(found.items())))
        raise ValueError(
            f"cases have several volumes each ({', '.join(sorted(found))}); choose one of them with "
            f"pattern='*{mark}{word}.nii*'"
        )


def stem_of(path: str) -> str:
    """Return the file name without the suffix of a supported format."""
    name = PurePosixPath(path).name
    suffixes = [suffix for reader in READERS for suffix in reader.suffixes if name.lower().endswith(suffix)]
    return name[: len(name) - max(map(len, suffixes), default=0)]
