"""A set is not scored on images that it was trained on, unless that is wanted or the data themselves hold copies."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.demos.boring_classes import BoringModel

from lightning_distill import ArrayDataModule, DMDistiller, StudentEvaluation, SyntheticSetExport, evaluate
from lightning_distill.cli import main
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.mixing.measure import measure_mixtures
from lightning_distill.evaluation.overlap import check_overlap
from lightning_distill.sets.storage import read_set
from lightning_distill.sets.training_images import ENTRY

SMALL = {"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"], "accelerator": "cpu", "compile": "off"}
OVERLAP = r"4 of the 12 test images of \w+ are among the 24 images that the set was trained on"


@pytest.fixture
def trained(make_data, make_trainer, tmp_path):
    """A set of blobs, and their training images and labels."""
    data = make_data()
    distiller = DMDistiller(ipc=1, network="convnet_w16", formation=1)
    make_trainer(max_steps=1, callbacks=[SyntheticSetExport(tmp_path / "run", yardsticks=())]).fit(distiller, data)
    return tmp_path / "run" / "last", data.splits["train"]


def with_test_images(make_data, images, keep_train=False):
    """Data whose first four test images are the given ones, with other training images unless they are kept."""
    data = make_data()
    data.prepare_data()
    data.setup()
    test, labels = data.splits["test"]
    test = np.concatenate([images[:4], test[4:]])
    train = data.splits["train"] if keep_train else data.splits["val"]
    splits = [(np.asarray(x)[:, 0], np.asarray(y)) for x, y in (train, data.splits["val"], (test, labels))]
    return ArrayDataModule(*splits, name="blobs", augmentation="dsa", real_per_class=4, batch_size=16)


def test_a_set_is_not_scored_on_its_training_images(trained, make_data):
    path, (images, _) = trained
    data = with_test_images(make_data, images)
    with pytest.raises(ValueError, match=OVERLAP + ".*on_overlap='warn'"):
        evaluate(path, data, **SMALL)
    with pytest.warns(UserWarning, match=OVERLAP + ": the scores say nothing about new images"):
        evaluate(path, data, on_overlap="warn", **SMALL)
    with pytest.raises(ValueError, match=OVERLAP):
        measure_mixtures(
            data, path, real=[8], ratio=[0.0], split="test", protocol="tiny", students=2, network="convnet_w16",
            accelerator="cpu",
        )  # fmt: skip


def test_copies_within_the_data_themselves_are_a_warning(trained, make_data):
    path, (images, _) = trained
    with pytest.warns(UserWarning, match=OVERLAP + ".*in the training split of these data too; audit-data"):
        evaluate(path, with_test_images(make_data, images, keep_train=True), **SMALL)


def test_other_images_are_scored_without_a_word(trained, make_data):
    path, _ = trained
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*are among the")
        evaluate(path, make_data(), **SMALL)


def test_the_hashes_can_be_left_out(make_data, make_trainer, tmp_path):
    export = SyntheticSetExport(tmp_path, yardsticks=(), training_hashes=False)
    make_trainer(max_steps=1, callbacks=[export]).fit(DMDistiller(ipc=1, network="convnet_w16"), make_data())
    card = read_set(tmp_path / "last")[1]
    assert ENTRY not in card
    assert check_overlap(card, make_data(), "test") == 0


def test_picks_and_joined_sets_carry_the_hashes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["coreset", "--data=DigitsDataModule", "--method=random", "--ipc=1", "--out=a"])
    main(["concat", "a", "a", "--out=b"])
    one, two = read_set("a")[1][ENTRY], read_set("b")[1][ENTRY]
    assert two == one, "the same images count once"
    assert one[0]["count"] == one[0]["kept"] > 1000
    main(["coreset", "--data=DigitsDataModule", "--method=random", "--ipc=1", "--training_hashes=false", "--out=c"])
    assert ENTRY not in read_set("c")[1]


def test_strangers_entries_stop_no_score(trained, make_data):
    path, (images, _) = trained
    (record,), data = read_set(path)[1][ENTRY], with_test_images(make_data, images)
    data.setup()
    uncounted = {key: value for key, value in record.items() if key != "count"}
    broken = ({}, 3, None, {**record, "hashes": 1}, {**record, "key": [1]}, {**record, "bytes": float("inf")})
    for entry in ([record, *broken], [uncounted], [{**record, "count": "many"}], [{**record, "count": -1}]):
        with pytest.raises(ValueError, match=OVERLAP):
            check_overlap({ENTRY: entry}, data, "test")
    for entry in (*broken, list(broken), "text"):
        assert check_overlap({ENTRY: entry}, data, "test") == 0


def test_the_shell_refuses_with_status_2(trained, make_data, tmp_path, monkeypatch, capsys):
    path, (images, labels) = trained
    splits = {f"{split}_{kind}": value for split in ("val", "test")
              for kind, value in (("images", images[:, 0]), ("labels", labels[:, None]))}  # fmt: skip
    other = np.random.default_rng(0).integers(0, 255, images[:, 0].shape, np.uint8)
    np.savez(tmp_path / "x.npz", train_images=other, train_labels=labels[:, None], **splits)
    words = ["evaluate", f"--set={path}", "--data=NpzDataModule", f"--data.path={tmp_path / 'x.npz'}",
             "--protocol=tiny", "--students=2", "--architectures=[convnet_w16]"]  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "24 of the 24 test images" in message
    assert "--on_overlap warn" in message
    main([*words, "--on_overlap=warn"])


def test_compare_and_report_warn_of_scores_on_training_images(trained, make_data, tmp_path, monkeypatch, capsys):
    path, (images, labels) = trained
    monkeypatch.chdir(tmp_path)
    splits = {f"{split}_{kind}": value for split in ("val", "test")
              for kind, value in (("images", images[:, 0]), ("labels", labels[:, None]))}  # fmt: skip
    other = np.random.default_rng(0).integers(0, 255, images[:, 0].shape, np.uint8)
    np.savez("x.npz", train_images=other, train_labels=labels[:, None], **splits)
    main([
        "evaluate", f"--set={path}", "--data=NpzDataModule", "--data.path=x.npz", "--protocol=tiny", "--students=2",
        "--architectures=[convnet_w16]", "--baselines=[random]", "--on_overlap=warn", "--predictions=run/predictions",
    ])  # fmt: skip
    random, distilled = "run/predictions/random.safetensors", "run/predictions/DMDistiller.safetensors"
    assert (Predictions.read(random).trained_on, Predictions.read(distilled).trained_on) == (0, 24)
    capsys.readouterr()
    main(["compare", random, distilled, "--resamples=20"])
    said = " ".join(capsys.readouterr().out.split())
    assert "DMDistiller was trained on 24 of the 24 images: its scores say nothing about new images" in said
    assert "random was trained" not in said
    main(["report", "run", "--out=r.html"])
    page = Path("r.html").read_text()
    assert page.count("24 of the images are among those that the set was trained on") == 1


class Idle(BoringModel):
    """A module that does nothing with its batches."""

    def validation_step(self, batch, batch_idx):
        pass

    test_step = validation_step


def test_a_given_set_is_compared_with_the_scored_images(trained, make_data, make_trainer, tmp_path):
    path, (images, _) = trained
    data = with_test_images(make_data, images)
    callback = StudentEvaluation("tiny", 2, architectures=["convnet_w16"], synthetic_set=path, random_baseline=False)
    trainer = make_trainer(max_steps=1, callbacks=[callback])
    with pytest.warns(UserWarning, match=OVERLAP + ": the scores say nothing about new images"):
        trainer.test(Idle(), data)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*are among the")
        trainer.validate(Idle(), data)
