"""Removal of near copies from sets, in Python and by the commands ``filter`` and ``fidelity``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import blobs

from lightning_distill import DigitsDataModule, save_set
from lightning_distill.cli import main
from lightning_distill.evaluation.copies import embedding
from lightning_distill.evaluation.copies.embedding import ContrastiveEmbedding
from lightning_distill.evaluation.copies.removal import remove_copies
from lightning_distill.sets.card import SOFT_LABELS, filtered_card, make_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import read_set


@pytest.fixture(autouse=True)
def short_embedding(monkeypatch):
    monkeypatch.setattr(embedding, "EMBEDDING_STEPS", 20)


@pytest.fixture
def data():
    return DigitsDataModule()


def half_copied(data, formation=1):
    """Six images a class: training images and noise by turns, with soft labels that name their row."""
    images, labels = data.splits["train"]
    rows = np.concatenate([np.flatnonzero(labels == name)[:6] for name in range(10)])
    noise = np.random.default_rng(0).integers(0, 256, images[rows].shape).astype(np.uint8)
    pixels = torch.from_numpy(np.where((np.arange(60) % 2 == 0)[:, None, None, None], images[rows], noise))
    soft = torch.full((60 * formation**2, 10), 0.1)
    return LabeledSet(pixels, torch.from_numpy(labels[rows]), data.spec, soft, 0.02, formation)


def test_exactly_the_images_above_tau_are_removed(data):
    made = half_copied(data)
    kept, record = remove_copies(made, data, seed=3)
    net = ContrastiveEmbedding.fit(data.splits["train"][0], data.spec, steps=20, seed=3)
    train, held, own = (net(x) for x in (data.splits["train"][0], data.splits["val"][0], made.pixels))
    order = np.random.default_rng(3).permutation(len(held))
    first, second = np.split(order, [len(held) // 2])
    tau = np.percentile((train @ held[first].T).max(1), 95)
    copies = (own @ train.T).max(1) > tau
    assert copies[::2].all()
    assert torch.equal(kept.pixels, made.pixels[torch.from_numpy(~copies)])
    assert (len(kept.soft_labels), kept.lr) == (len(kept.labels), 0.02)
    assert record["removed"] == copies.sum()
    assert record["tau"] == pytest.approx(tau, abs=1e-5)
    assert record["null_rate"] == pytest.approx(((held[second] @ train.T).max(1) > tau).mean())
    assert sum(record["removed_by_class"].values()) == record["removed"]


def test_the_card_states_the_removal_before_the_soft_labels(data):
    _, record = remove_copies(half_copied(data), data)
    old = {
        **make_card("flow", {}, {"val": 1}, "noise", 5, ["soft_labels"]),
        "audit": {"x": 1},
        "gain": {},
        "sha256": "a",
    }
    card = filtered_card(old, record)
    assert f"Of 60 images, {record['removed']} that resembled a training image were removed" in card["warning"]
    assert card["warning"].index("Of 60 images") < card["warning"].index(SOFT_LABELS)
    assert card["scores"] == {}
    assert card["filtered_from"] == {"scores": {"val": 1}, "sha256": "a", "date": old["date"]}
    assert not {"audit", "gain"} & set(card)


def test_sub_images_are_decoded(data):
    made = half_copied(data, 2)
    kept, record = remove_copies(made, data)
    assert (record["images"], record["decoded_formation"], kept.formation) == (240, 2, 1)
    assert kept.pixels.dtype == torch.uint8
    assert len(kept.labels) == len(kept.soft_labels) == 240 - record["removed"]


def refused(words, capsys):
    with pytest.raises(SystemExit) as done:
        main(words)
    assert done.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("lightning-distill: ")
    return error


def test_the_commands_write_a_set_and_a_table(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_set("made", half_copied(data), make_card("flow", {}, {}, "noise", 5))
    main(["filter", "--set", "made", "--data", "DigitsDataModule", "--out", "kept"])
    printed = " ".join(capsys.readouterr().out.split())
    kept, card = read_set("kept")
    assert f"{60 - len(kept.labels)} of 60 images removed as near copies" in printed
    assert "180 val images, which no set was made from, the rule calls" in printed
    assert card["filter"]["removed"] == 60 - len(kept.labels)
    options = ["--data", "DigitsDataModule", "--network", "convnet_w16", "--protocol", "tiny", "--draws", "2"]
    main(["fidelity", "--set", "made", "kept", *options, "--metrics", "kid", "copies", "--out", "fidelity.csv"])
    lines = (tmp_path / "fidelity.csv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("made,")
    assert lines[2].startswith("kept,")
    assert "KID" in capsys.readouterr().out
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert "holds other rows" in refused(["fidelity", "made", *options, "--out", "other.csv"], capsys)
    assert "unknown metric" in refused(["fidelity", "made", *options, "--metrics", "x"], capsys)


def test_bad_input_of_the_filter_is_refused(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made, card = half_copied(data), make_card("flow", {}, {}, "noise", 5)
    save_set("made", made, card)
    picks = torch.arange(0, 60, 2)
    save_set("picks", LabeledSet(made.pixels[picks], made.labels[picks], made.spec), card)
    where = ["--data", "DigitsDataModule"]
    error = refused(["filter", "picks", *where, "--out", "x"], capsys)
    assert "all 3 images of class '0' (and of 9 further classes) are near copies of training images" in error
    assert not (tmp_path / "x" / "set.safetensors").exists()
    assert "holds the set itself" in refused(["filter", "made", *where, "--out", "made"], capsys)
    images, labels = blobs(2, 12, 8)
    np.savez("two.npz", train_images=images, train_labels=labels, val_images=images[::8], val_labels=labels[::8])
    other = ["--data", "NpzDataModule", "--data.path", "two.npz"]
    assert "differ in classes" in refused(["filter", "made", *other, "--out", "x"], capsys)
    tiny = LabeledSet(torch.zeros(2, 1, 8, 8).byte(), torch.tensor([0, 1]), npz_spec())
    save_set("tiny", tiny, card)
    assert "the tau rule needs 2 and 4" in refused(["filter", "tiny", *other, "--out", "x"], capsys)
    assert "has no test images" in refused(["filter", "tiny", *other, "--split", "test", "--out", "x"], capsys)


def npz_spec():
    from lightning_distill import NpzDataModule

    return NpzDataModule("two.npz").spec
