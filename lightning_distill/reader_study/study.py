"""Study: the data of the page and its key, and both as files."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_distill.reader_study.key import FORMAT, KEY, PAGE, Design, digest
from lightning_distill.reader_study.page import render_page
from lightning_distill.reader_study.pictures import png_uri
from lightning_distill.reader_study.selection import Pair, ShownImage, select_images
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.atomic_files import write_files_atomically


@dataclass(frozen=True)
class Study:
    """Data of a page and its key.

    Args:
        page: What the page shows, with the truth of the practice block alone.
        key: Truth of the trials; its sha256 names the study.
        items: Number of synthetic images of each set.
    """

    page: dict[str, Any]
    key: dict[str, Any]
    items: int


def build_study(
    sets: Mapping[str, LabeledSet],
    real: tuple[NDArray[np.generic], NDArray[np.generic]],
    spec: DataSpec,
    *,
    split: str,
    design: Design = "yes_no",
    items: int | None = None,
    repeats: int | None = None,
    readers: int = 3,
    practice: int = 6,
    seed: int = 0,
) -> Study:
    """Select the images of a study and write its page and key as plain data.

    Identifiers come from the system's random source, not from the seed: who knows the seed cannot derive the truth.

    Args:
        sets: Sets by name.
        real: Real images ``(N, C, H, W)`` and their labels.
        spec: Description of the real data.
        split: Split of the real images.
        design: ``yes_no`` or ``pairs``.
        items: Number of synthetic images of each set, each with a real partner. ``None``: at most 50.
        repeats: Number of trials that are shown twice. ``None``: 10, or all where there are fewer.
        readers: Number of readers, who choose their code R1, R2, ... on the page.
        practice: Number of practice trials with feedback, fewer where images are short.
        seed: Seed of the selection.

    Raises:
        ValueError: An option is out of range, a set does not fit the data, or images are missing.
    """
    _check_options(sets, items, repeats, readers, practice)
    practice_pairs = practice if design == "pairs" else -(-practice // 2)
    chosen = select_images(sets, real, spec, items, practice_pairs, seed)
    random = np.random.default_rng([seed, 1])
    images: dict[str, ShownImage] = {}
    trials = {new_identifier(): ids for ids in _trials(chosen.study, design, images)}
    truths = {name: _facts(image) for name, image in images.items()}
    practised = _trials(chosen.practice, design, images)[:practice]
    repeats = min(10, len(trials)) if repeats is None else repeats
    if repeats > len(trials):
        raise ValueError(f"--repeats {repeats} of {len(trials)} trials; at most every trial can be shown twice")
    twice = [list(trials)[place] for place in random.permutation(len(trials))[:repeats].tolist()]
    page: dict[str, Any] = {
        "format": FORMAT,
        "design": design,
        "data": spec.name,
        "size": list(spec.shape[1:]),
        "stated": len(trials),
        "trials": [{"id": name, "images": list(trials[name])} for name in sorted(trials)],
        "repeats": sorted(twice),
        "practice": [{"images": list(ids), "answer": _right_answer(ids, design, images)} for ids in practised],
        "readers": [f"R{number}" for number in range(1, readers + 1)],
        "images": {name: png_uri(images[name].picture) for name in sorted(images)},
    }
    key: dict[str, Any] = {
        "format": FORMAT,
        "content": digest(page),
        "salt": secrets.token_hex(16),
        "design": design,
        "data": spec.name,
        "split": split,
        "sets": list(sets),
        "readers": page["readers"],
        "images": truths,
        "trials": {name: list(ids) for name, ids in trials.items()},
        "repeats": page["repeats"],
        "seed": seed,
        "warning": "Names the real images of patients by their row: keep it away from readers, under the data's rules.",
    }
    study = digest(key)
    return Study({**page, "study": study}, {**key, "study": study}, len(chosen.study) // len(sets))


def write_study(folder: str | Path, study: Study) -> tuple[Path, Path]:
    """Write ``study.html`` and ``key.json``.

    Args:
        folder: Folder to write; created if missing.
        study: Study.

    Returns:
        Paths of the page and of the key.

    Raises:
        OSError: The folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page, key = folder / PAGE, folder / KEY
    text = json.dumps(study.key, indent=1, ensure_ascii=False)
    write_files_atomically({page: render_page(study.page).encode(), key: text.encode()})
    return page, key


def _check_options(
    sets: Mapping[str, LabeledSet], items: int | None, repeats: int | None, readers: int, practice: int
) -> None:
    if not sets:
        raise ValueError("a reader study needs a set; give one or more with --sets A B")
    for option, value, least in (("items", items, 1), ("repeats", repeats, 0), ("readers", readers, 1)):
        if value is not None and value < least:
            raise ValueError(f"--{option} {value}; at least {least} is needed")
    if not 0 <= practice <= 100:
        raise ValueError(f"--practice {practice}; use 0 to 100")


def new_identifier() -> str:
    """Return a random identifier that a spreadsheet does not take for a number, as it does ``12345678e123``."""
    return f"t{secrets.token_hex(6)}"


def _trials(pairs: list[Pair], design: Design, images: dict[str, ShownImage]) -> list[tuple[str, ...]]:
    """Give every image an identifier, and return the images of each trial in the order of their identifiers."""
    trials: list[tuple[str, ...]] = []
    for pair in pairs:
        own = {new_identifier(): image for image in (pair.synthetic, pair.real)}
        images.update(own)
        trials += [tuple(sorted(own))] if design == "pairs" else [(name,) for name in own]
    return trials


def _right_answer(ids: tuple[str, ...], design: Design, images: Mapping[str, ShownImage]) -> str:
    if design == "yes_no":
        return images[ids[0]].truth
    return next(name for name in ids if images[name].truth == "synthetic")


def _facts(image: ShownImage) -> dict[str, Any]:
    return {"truth": image.truth, "set": image.set_name, "class": image.class_name, "row": image.row}
