"""``reader-study`` and ``reader-study score`` from the shell: what is written and printed, and what is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from conftest import blobs

from lightning_distill import save_set
from lightning_distill.cli import main
from lightning_distill.reader_study import read_key
from lightning_distill.reader_study.answers import COLUMNS
from lightning_distill.sets.card import make_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.names import short_names
from lightning_distill.spec import DataSpec

DATA = ["--data", "scans.npz"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with data and two sets, one of them of selected real images."""
    arrays = {}
    for seed, split in enumerate(("train", "val", "test")):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = blobs(2, 20, 8, 1, seed)
    np.savez(tmp_path / "scans.npz", **arrays)
    spec = DataSpec("scans", (1, 8, 8), ("0", "1"), (100.0,), (50.0,), task="binary")
    for name, start in (("gan/best", "noise"), ("picked", "unchanged")):
        pixels = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8)
        data = LabeledSet(pixels, torch.arange(20) % 2, spec)
        save_set(tmp_path / name, data, make_card("DMDistiller", {}, {}, start, 1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, *words):
    """Standard error of a refused command, which is one line."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def write_answers(key, reader, right):
    with open(f"study/{reader}.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for place, trial in enumerate(key.trials):
            truth = key.right_answer(trial)
            wrong = next(answer for answer in key.possible_answers(trial) if answer != truth)
            answer = truth if place % 10 < right else wrong
            rows.writerow([key.study, len(key.trials), reader, trial, 1, answer, 3])


def test_from_two_sets_to_scores(folder, capsys):
    main(["reader-study", "--sets", "gan/best", "picked", *DATA, "--items", "10", "--readers", "2", "--practice", "4"])
    shown = capsys.readouterr().out
    assert "40 images (10 synthetic images of each set: gan/best, picked), 10 of them twice, 4 for practice" in shown
    assert "picked holds selected real images: a control" in shown
    assert "for each set: 40 answers, taken as independent" in shown
    last = shown.strip().splitlines()[-1]
    assert "The page shows real images of npz" in last
    assert "patients" in last
    assert "the key away from the readers" in last
    key = read_key("study/key.json")
    assert key.readers == ("R1", "R2")
    write_answers(key, "R1", 9)
    write_answers(key, "R2", 5)
    main(["reader-study", "score", "study/R1.csv", "study/R2.csv", "--key", "study/key.json", "--resamples", "200"])
    shown = capsys.readouterr().out
    for text in ("gan/best, npz (test)", "picked, npz (test)", "all, npz (test)", "R1: 10 of 50 answers missing"):
        assert text in shown
    assert "were right in 70.0 % of 80 answers" in " ".join(shown.split())
    result = json.loads((folder / "study/scores/scores.json").read_text())
    assert (result["design"], result["page_checked"]) == ("yes_no", True)
    assert result["counts"]["R2"] == {"missing": 10, "duplicates": 0, "contradictions": 0}
    assert result["scores"][0]["self_kappa"] is None
    assert len(result["sentences"]) == 3
    with (folder / "study/scores/scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = {(row["set"], row["reader"]): int(row["right"]) for row in rows}
    assert right == {
        (name, reader): count * (2 if name == "all" else 1)
        for name in ("gan/best", "picked", "all")
        for reader, count in (("R1", 18), ("R2", 10), ("all", 28))
    }
    main(["reader-study-score", "study/R1.csv"])  # the same command in one word, with the default key
    assert "one reader" in capsys.readouterr().out


def test_a_study_is_not_overwritten_and_bad_input_is_one_line(folder, capsys):
    words = ["reader-study", "--sets", "gan/best", *DATA]
    assert "no set file" in refused(capsys, "reader-study", "--sets", "none", *DATA)
    assert "is given twice" in refused(capsys, "reader-study", "--sets", "gan/best", "gan/best", *DATA)
    assert "gives 20 images with a real partner" in refused(capsys, *words, "--items", "30")
    assert "--split" in refused(capsys, *words, "--split", "train")
    assert "--design" in refused(capsys, *words, "--design", "triples")
    main([*words, "--design", "pairs", "--split", "val"])
    assert "of them twice" in capsys.readouterr().out
    assert "holds study.html of a study" in refused(capsys, *words)


def test_the_scorer_refuses_in_one_line(folder, capsys):
    main(["reader-study", "--sets", "gan/best", *DATA, "--items", "5"])
    key = read_key("study/key.json")
    write_answers(key, "R1", 8)
    score = ["reader-study", "score", "study/R1.csv"]
    capsys.readouterr()
    assert "no key 'none.json'" in refused(capsys, *score, "--key", "none.json")
    assert "no file 'R7.csv'" in refused(capsys, "reader-study", "score", "study/R7.csv")
    assert "--resamples 5" in refused(capsys, *score, "--resamples", "5")
    page = (folder / "study/study.html").read_text()
    first = json.dumps(next(iter(sorted(key.trials))))
    (folder / "study/study.html").write_text(page.replace(f'"id": {first}', '"id": "000000000000"'))
    assert "study.html was changed after it was written" in refused(capsys, *score)
    (folder / "study/study.html").unlink()
    main(score)
    assert "no study.html beside the key: what the readers saw was not checked" in capsys.readouterr().out
    text = (folder / "study/key.json").read_text()
    (folder / "study/key.json").write_text(text.replace('"real"', '"synthetic"', 1))
    assert "key.json was changed after it was written" in refused(capsys, *score)


def test_names_of_sets_are_the_shortest_that_differ():
    assert short_names(["runs/a/best"]) == ["a/best"]
    assert short_names(["runs/a/set.safetensors", "runs/b"]) == ["a", "b"]
    assert short_names(["x/y/best", "z/y/best"]) == ["x/y/best", "z/y/best"]
