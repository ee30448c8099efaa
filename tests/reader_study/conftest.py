"""What the tests of reader studies share: a small study, and simulated readers."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from reader_study.helpers import SPEC, images_of, real_of

from lightning_distill.reader_study import build_study, read_key, write_study
from lightning_distill.reader_study.answers import COLUMNS


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

    def answer(folder, key, reader="R1", right=0.8, seed=0, skip=(), name=None):
        random = np.random.default_rng(seed)
        showings = [(trial, 1) for trial in key.trials] + [(trial, 2) for trial in key.repeats]
        rows = []
        for trial, showing in showings:
            truth = key.right_answer(trial)
            wrong = next(one for one in key.possible_answers(trial) if one != truth)
            given = truth if random.random() < right else wrong
            confidence = int(random.integers(1, 6)) if key.design == "yes_no" else ""
            if (trial, showing) not in skip:
                rows.append([key.study, len(key.trials), reader, trial, showing, given, confidence, 1.5])
        path = folder / (name or f"{reader}.csv")
        with path.open("w", newline="") as file:
            header = [*COLUMNS, "seconds"]
            csv.writer(file).writerows([header, *rows])
        return path

    return answer
