"""What the tests of reader studies share: a small study, and simulated readers."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from reader_study.helpers import SPEC, images_of, real_of

from lightning_distill.reader_study import build_study, read_key, write_study


@pytest.fixture
def make_study(tmp_path):
    """A factory of studies in a folder: the folder, and the key that was read from it."""

    def make(name="study", sets=("A",), images=60, real=200, **options):
        held = {label: images_of(images, seed=number) for number, label in enumerate(sets)}
        options = {"items": 10, "repeats": 4, "readers": 3, "practice": 4, "split": "test", **options}
        study = build_study(held, real_of(real), SPEC, **options)
        write_study(tmp_path / name, study)
        return tmp_path / name, read_key(tmp_path / name / "key.json")

    return make


@pytest.fixture
def answer():
    """A function that writes the CSV of a simulated reader, who is right with a given probability."""

    def answer(folder, key, reader="R1", right=0.8, seed=0, skip=(), name=None, confident=False):
        random = np.random.default_rng(seed)
        showings = [(trial, 1) for trial in key.trials] + [(trial, 2) for trial in key.repeats]
        rows = []
        for trial, showing in showings:
            is_right = random.random() < right
            truth = key.right_answer(trial)
            given = truth if is_right else next(one for one in key.possible_answers(trial) if one != truth)
            level = int(random.integers(1, 6)) if not confident else 2 + 3 * is_right
            confidence = level if key.design == "yes_no" else ""
            if (trial, showing) not in skip:
                rows.append(
                    [key.study, len(key.trials), reader, len(rows) + 1, trial, showing, given, confidence, 1.5, 9]
                )
        path = folder / (name or f"{reader}.csv")
        with path.open("w", newline="") as file:
            header = [
                "study",
                "trials",
                "reader",
                "position",
                "trial",
                "showing",
                "answer",
                "confidence",
                "seconds",
                "zoom",
            ]
            csv.writer(file).writerows([header, *rows])
        return path

    return answer
