"""Key of a study: the truth of every trial, bound to the page and to the answers by one sha256."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Design = Literal["yes_no", "pairs"]
FORMAT = 1
PAGE, KEY = "study.html", "key.json"
_DATA_BLOCK = re.compile(r'<script id="study" type="application/json">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class Key:
    """Truth of the trials of a study.

    Args:
        study: sha256 that page, key and answers share.
        design: ``yes_no``: one image a trial; ``pairs``: a synthetic and a real image.
        content: sha256 of the data of the page.
        data: Name of the real data.
        split: Split of the real images.
        sets: Names of the sets.
        readers: Codes of the readers.
        images: Facts of each image by its identifier: ``truth``, ``set``, ``class`` and ``row``.
        trials: Identifiers of the images of each trial, by the identifier of the trial.
        repeats: Trials that are shown twice.
    """

    study: str
    design: Design
    content: str
    data: str
    split: str
    sets: tuple[str, ...]
    readers: tuple[str, ...]
    images: Mapping[str, Mapping[str, Any]]
    trials: Mapping[str, tuple[str, ...]]
    repeats: tuple[str, ...]

    def set_of(self, trial: str) -> str:
        """Name of the set that a trial belongs to."""
        return str(self.images[self.trials[trial][0]]["set"])

    def right_answer(self, trial: str) -> str:
        """Right answer of a trial: ``real`` or ``synthetic``, or the identifier of the synthetic image of a pair."""
        images = self.trials[trial]
        if self.design == "yes_no":
            return str(self.images[images[0]]["truth"])
        return next(image for image in images if self.images[image]["truth"] == "synthetic")

    def possible_answers(self, trial: str) -> tuple[str, ...]:
        """Answers that a reader can give to a trial, in an order that does not depend on the truth."""
        return ("real", "synthetic") if self.design == "yes_no" else self.trials[trial]


def digest(content: object) -> str:
    """Return the sha256 of plain data, independent of the order of keys and of spaces."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_key(path: str | os.PathLike[str]) -> Key:
    """Read a key and verify that it was not changed.

    Args:
        path: File ``key.json`` that was written beside the page.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is no key, or it was changed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no key {path.name!r} in {path.parent}; give the key.json of the study by --key")
    try:
        state: dict[str, Any] = json.loads(path.read_text("utf-8"))
        study = state.pop("study")
        changed = digest(state) != study
        key = Key(
            study, state["design"], state["content"], state["data"], state["split"], tuple(state["sets"]),
            tuple(state["readers"]), state["images"], {name: tuple(ids) for name, ids in state["trials"].items()},
            tuple(state["repeats"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} is no key of a reader study; give the key.json of the study by --key") from error
    if changed:
        raise ValueError(f"{path.name} was changed after it was written; use the key as reader-study wrote it")
    if state.get("format") != FORMAT or key.design not in get_args(Design):
        raise ValueError(f"{path.name} was written by another version; score it with that version")
    return key


def check_page(path: str | os.PathLike[str], key: Key) -> bool:
    """Check that a page shows what its key states.

    Args:
        path: Page ``study.html``.
        key: Key of the study.

    Returns:
        False if there is no page to check.

    Raises:
        ValueError: The page is of another study, shows other trials than stated, or was changed.
    """
    path = Path(path)
    if not path.is_file():
        return False
    block = _DATA_BLOCK.search(path.read_text("utf-8", errors="replace"))
    try:
        state: dict[str, Any] = json.loads(block[1] if block else "")
        study, shown = state.pop("study"), len(state["trials"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} is no page of a reader study, or is damaged; write the study again") from error
    if study != key.study:
        raise ValueError(f"{path.name} is the page of another study than the key; put the right page beside the key")
    if shown != len(key.trials):
        raise ValueError(f"{path.name} shows {shown} trials, the study states {len(key.trials)}: answers do not count")
    if digest(state) != key.content:
        raise ValueError(f"{path.name} was changed after it was written: its answers do not count")
    return True
