"""``lightning-distill fidelity`` and ``filter``: tables, CSV, cards, and bad input in one line."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from lightning_distill import DigitsDataModule, save_set
from lightning_distill.cli import main
from lightning_distill.evaluation.copies import embedding
from lightning_distill.sets.card import make_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import read_set

DIGITS = "--data=DigitsDataModule"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A set of ten copies of training images and ten noise images, one each a class, and a set of copies alone."""
    folder, data = tmp_path_factory.mktemp("sets"), DigitsDataModule()
    images, labels = data.splits["train"]
    rows = np.array([np.flatnonzero(labels == label)[0] for label in range(10)])
    copies = torch.from_numpy(np.ascontiguousarray(images[rows]))
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 17, copies.shape).astype(images.dtype))
    numbers = torch.arange(10)
    card = make_card("FlowGenerator", {}, {}, "noise", 1)
    for name, pixels, classes in (
        ("mixed", torch.cat([copies, noise]), torch.cat([numbers, numbers])), ("copies", copies, numbers),
    ):  # fmt: skip
        order = torch.argsort(classes, stable=True)
        save_set(folder / name, LabeledSet(pixels[order], classes[order], data.spec), card)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedding, "EMBEDDING_STEPS", 4)


def test_filter_removes_the_copies_and_says_how_many(sets, tmp_path, capsys):
    main(["filter", str(sets / "mixed"), DIGITS, "--out=clean"])
    shown = " ".join(capsys.readouterr().out.split())
    kept, card = read_set(tmp_path / "clean")
    before, _ = read_set(sets / "mixed")
    record = card["filter"]
    assert record["images"] == 20
    assert record["removed"] == 20 - len(kept.labels) >= 10
    assert f"{record['removed']} of 20 images removed as near copies of training images" in shown
    assert "images, which no set was made from, the rule calls" in shown
    assert 0 <= record["null_low"] <= record["null_rate"] <= record["null_high"] <= 1
    train = {image.tobytes() for image in DigitsDataModule().splits["train"][0]}
    assert not {image.tobytes() for image in kept.pixels.numpy()} & train
    assert {image.tobytes() for image in kept.pixels.numpy()} <= {image.tobytes() for image in before.pixels.numpy()}


def test_fidelity_prints_and_saves_a_row_for_each_set(sets, tmp_path, capsys):
    words = ["fidelity", str(sets / "mixed"), str(sets / "copies"), DIGITS, "--metrics", "kid", "copies"]
    main([*words, "--protocol=tiny", "--network=convnet_w16", "--draws=2", "--out=f.csv"])
    shown = capsys.readouterr().out
    assert "mixed" in shown
    rows = list(csv.DictReader((tmp_path / "f.csv").open()))
    assert [row["set_name"] for row in rows] == ["mixed", "copies"]
    assert [row["images"] for row in rows] == ["20", "10"]
    assert float(rows[0]["kid"]) > float(rows[1]["kid"])
    assert float(rows[1]["copies"]) == 1
    assert str(sets) not in (tmp_path / "f.csv").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["filter", "copies", DIGITS, "--out=clean"], "images of class '0' (and of 9 further classes) are near copies"),
        (["filter", "mixed", DIGITS, "--out=SETS/mixed"], "holds the set itself; choose another folder"),
        (["filter", "absent", DIGITS], "no set file"),
        (["fidelity", "absent", DIGITS], "no set file"),
        (["fidelity", "mixed", DIGITS, "--metrics=[fid]"], "unknown metric 'fid'; use one of kid, fd"),
        (["fidelity", "mixed", DIGITS, "--draws=0"], "draws=0"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(words, message, sets, tmp_path, capsys):
    words = [words[0], str(sets / words[1]), *(word.replace("SETS", str(sets)) for word in words[2:])]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(tmp_path.rglob("set.safetensors"))
