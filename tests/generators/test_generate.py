"""Generated set files: written in parts, read by everything that reads sets."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_distill import load_generator
from lightning_distill.cli import main
from lightning_distill.commands.generate import generate
from lightning_distill.generators.generate import generate_set
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import read_set, save_set
from lightning_distill.sets.streaming import save_set_in_parts
from lightning_distill.spec import DataSpec


@pytest.fixture
def checkpoint(make_generator, make_data, fit, tmp_path):
    """Checkpoint of a generator after two steps."""
    _, trainer = fit(make_generator(), make_data(), 2)
    trainer.save_checkpoint(tmp_path / "g.ckpt")
    return str(tmp_path / "g.ckpt")


SPEC = DataSpec("toy", (1, 4, 4), ("a", "b"), (100.0,), (50.0,), task="binary")


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        replace(SPEC, storage_dtype="float16", max_value=1.0, mean=(0.5,), std=(0.2,)),
        replace(SPEC, task="multi-label", combinations=((0, 0), (1, 1), (0, 1))),
    ],
)
def test_a_set_written_in_parts_is_that_written_at_once(spec, tmp_path):
    labels = torch.tensor([0, 0, 1, 1, 1])
    images = torch.rand(5, 1, 4, 4) * spec.max_value * 1.2
    card = {"method": "x", "note": "é ünïcode", "start": "generated"}
    parts = save_set_in_parts(tmp_path / "parts", images.split(2), labels, spec, card)
    pixels = images.clamp(0, spec.max_value)
    pixels = pixels.round().to(torch.uint8) if spec.storage_dtype == "uint8" else pixels.half()
    whole = save_set(tmp_path / "whole", LabeledSet(pixels, labels, spec), card)
    (left, left_card), (right, right_card) = read_set(parts), read_set(whole)
    assert left_card == right_card == json.loads((tmp_path / "parts" / "card.json").read_text())
    assert torch.equal(left.pixels, right.pixels)
    assert torch.equal(left.labels, right.labels)
    assert left.spec == right.spec


def test_a_write_that_fails_keeps_the_older_set(tmp_path):
    save_set_in_parts(tmp_path, [torch.zeros(2, 1, 4, 4)], torch.tensor([0, 1]), SPEC, {"method": "old"})

    def parts():
        yield torch.zeros(1, 1, 4, 4)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_set_in_parts(tmp_path, parts(), torch.tensor([0, 1]), SPEC, {"method": "new"})
    for images, message in (
        (torch.zeros(1, 1, 4, 4), "1 images for 2 labels"),
        (torch.zeros(3, 1, 4, 4), "3 images of"),
    ):
        with pytest.raises(ValueError, match=message):
            save_set_in_parts(tmp_path, [images], torch.tensor([0, 1]), SPEC, {})
    assert read_set(tmp_path)[1]["method"] == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"set.safetensors", "card.json"}


def test_memory_holds_one_part_at_a_time(checkpoint, tmp_path, monkeypatch):
    generator, sizes = load_generator(checkpoint), []
    original = type(generator).sample

    def sample(self, targets, **options):
        sizes.append(len(targets))
        return original(self, targets, **options)

    monkeypatch.setattr(type(generator), "sample", sample)
    generate_set(generator, tmp_path / "set", ipc=15, chunk=4)
    assert max(sizes) == 4
    assert sum(sizes) == 30
    assert len(read_set(tmp_path / "set")[0].labels) == 30
    assert (tmp_path / "set" / "grid.png").is_file()


def test_the_card_says_what_drew_the_images(checkpoint, tmp_path):
    path = generate(checkpoint, ipc=3, out=str(tmp_path / "set"), seed=5, accelerator="cpu")
    data, card = read_set(path)
    record = card["generated"]
    assert card["start"] == "generated"
    assert card["method"] == record["generator"]
    assert card["steps"] == record["training_steps"] == 2
    assert record["seed"] == 5
    assert record["labels"] == "balanced"
    assert record["generator_saw_real_images"] is True
    assert len(record["checkpoint_sha256"]) == 64
    assert "trained on the training images, and may show them" in card["warning"]
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.pixels.dtype == torch.uint8
    assert str(tmp_path) not in json.dumps(card)


def test_the_card_refuses_a_score_on_the_training_images(tiny, make_data, fit, tmp_path):
    from lightning_distill import ArrayDataModule, evaluate

    data = make_data()
    generator, trainer = fit(tiny["gan"](), data, 1)
    trainer.save_checkpoint(tmp_path / "g.ckpt")
    path = generate_set(load_generator(tmp_path / "g.ckpt"), tmp_path / "set", ipc=2)
    assert generator.training_images == read_set(path)[1]["training_images"]
    seen = ArrayDataModule(
        data.splits["val"], data.splits["val"], data.splits["train"], name="blobs", augmentation="dsa"
    )
    with pytest.raises(ValueError, match="trained on"):
        evaluate(str(path), seen, protocol="tiny", students=2, architectures=["convnet_w16"], accelerator="cpu")
    unmarked = generate_set(generator, tmp_path / "unmarked", ipc=2, training_hashes=False)
    assert "training_images" not in read_set(unmarked)[1]


def test_an_untrained_generator_saw_no_real_images(make_generator, make_data, tmp_path):
    generator = make_generator()
    generator.build(make_data().spec)
    _, card = read_set(generate_set(generator, tmp_path, ipc=1))
    assert card["generated"]["generator_saw_real_images"] is False
    assert "saw no training image" in card["warning"]


def test_natural_labels_follow_the_real_ones(tiny, fit, tmp_path):
    from lightning_distill import ArrayDataModule

    images = np.arange(40 * 64).reshape(40, 8, 8).astype(np.uint8)
    data = ArrayDataModule((images, (np.arange(40) < 8).astype(int)), (images, np.arange(40) % 2))
    generator, _ = fit(tiny["gan"](), data, 1)
    labels = read_set(generate_set(generator, tmp_path, ipc=10, labels="natural"))[0].labels
    assert labels.bincount().tolist() == [16, 4]


def test_options_reach_the_flow_and_are_refused_by_a_gan(checkpoint, tmp_path, capsys):
    flow = "Flow" in str(load_generator(checkpoint))
    words = ["generate", "--ckpt", checkpoint, "--ipc", "1", "--out", str(tmp_path / "set"), "--accelerator", "cpu"]
    if flow:
        main([*words, "--guidance", "2", "--steps", "3"])
        record = read_set(tmp_path / "set")[1]["generated"]
        assert (record["guidance"], record["sampling_steps"]) == (2.0, 3)
        said = " ".join(capsys.readouterr().out.split())
        assert "2 images of blobs, drawn by FlowGenerator after 2 training steps" in said
        return
    with pytest.raises(SystemExit):
        main([*words, "--guidance", "2"])
    assert "GANGenerator has no guidance; leave it out" in capsys.readouterr().err


def test_bad_input_is_one_line(checkpoint, tmp_path, capsys):
    for words, message in (
        (["--ckpt", str(tmp_path / "no.ckpt")], "no checkpoint 'no.ckpt'"),
        (["--ckpt", checkpoint, "--ipc", "0"], "ipc=0"),
        (["--ckpt", checkpoint, "--ipc", "1", "2", "3"], "3 numbers but blobs has 2 classes"),
        (["--ckpt", checkpoint, "--labels", "odd"], "odd"),
        (["--ckpt", checkpoint, "--chunk", "0"], "chunk=0"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["generate", *words, "--out", str(tmp_path / "set")])
        error = capsys.readouterr().err.strip()
        assert stop.value.code == 2
        assert message in error
        assert len(error.splitlines()) == 1


def test_a_generated_set_goes_through_every_command(tiny, make_data, fit, tmp_path):
    from lightning_distill import evaluate, inspect_set, load_set, relabel, train_teachers
    from lightning_distill.commands.concat import concat
    from lightning_distill.commands.mix import mix
    from lightning_distill.commands.report import report

    data = make_data(per_class=30)
    generator, _ = fit(tiny["flow"](), data, 2)
    path = generate_set(generator, tmp_path / "set", ipc=4)
    quick = {"protocol": "tiny", "students": 2, "accelerator": "cpu"}
    rows = evaluate(str(path), data, architectures=["convnet_w16"], **quick)
    assert any(row.trained_on == "FlowGenerator" for row in rows)
    assert load_set(path).card["start"] == "generated"
    inspect_set(path)
    teachers = train_teachers(data, 1, network="convnet_w16", protocol="quick")
    soft, _ = relabel(read_set(path)[0], teachers=teachers)
    assert soft.soft_labels is not None
    joined = concat(
        [str(path), str(generate_set(generator, tmp_path / "more", ipc=2, seed=9))], out=str(tmp_path / "both")
    )
    assert len(read_set(joined)[0].labels) == 12
    assert read_set(joined)[1]["start"] == "generated"
    mix(data=data, synthetic_set=str(path), real=[4], out=str(tmp_path / "mix.csv"), network="convnet_w16", **quick)
    text = report([str(path.parent)], out=str(tmp_path / "report.html")).read_text()
    assert "generated" in text
    assert "may show them" in text


def test_multi_label_data_go_the_whole_way(tiny, chest_data, fit, tmp_path):
    from lightning_distill import evaluate

    for name in ("flow", "gan", "modulated"):
        _, trainer = fit(tiny[name](), chest_data, 2)
        trainer.save_checkpoint(tmp_path / f"{name}.ckpt")
        loaded = load_generator(tmp_path / f"{name}.ckpt")
        for labels in ("balanced", "natural"):
            path = generate_set(loaded, tmp_path / name / labels, ipc=2, labels=labels)
            data, card = read_set(path)
            assert data.targets.shape == (2 * len(chest_data.spec.combinations), 14)
            assert (data.targets.sum(1) == 0).any()
            assert data.spec.shape == (1, 28, 28)
            assert card["generated"]["labels"] == labels
    rows = evaluate(str(path), chest_data, architectures=["convnet_w16"], protocol="tiny",
                    students=2, accelerator="cpu")  # fmt: skip
    assert any(row.trained_on == "GANGenerator" for row in rows)
