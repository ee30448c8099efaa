from __future__ import annotations

import json
import os
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from lightning_distill import DMDistiller, StudentEvaluation, SyntheticSetExport, load_set
from lightning_distill.callbacks._set_folder import SetFolder
from lightning_distill.sets.storage import read_set


def run(make_data, make_trainer, folder, students=True, steps=10, **options):
    callbacks = [SyntheticSetExport(str(folder / "set"), yardsticks=())]
    if students:
        callbacks.insert(0, StudentEvaluation("tiny", 2, architectures=["convnet_w16"]))
        callbacks.append(ModelCheckpoint(folder / "ckpt", monitor="val/acc", mode="max"))
    trainer = make_trainer(max_steps=steps, callbacks=callbacks, enable_checkpointing=students)
    distiller = DMDistiller(**{"ipc": 2, "network": "convnet_w16", "lr": 50.0, **options})
    trainer.fit(distiller, datamodule=make_data(num_classes=3))
    return trainer, distiller


def test_best_is_the_best_checkpoints_set_and_last_the_last(make_data, make_trainer, tmp_path):
    trainer, distiller = run(make_data, make_trainer, tmp_path)
    best = DMDistiller.load_from_checkpoint(trainer.checkpoint_callback.best_model_path, weights_only=True)
    data, card = read_set(tmp_path / "set" / "best")
    assert torch.equal(data.pixels, best.synthetic.pixels())
    assert card["scores"]["val"]["acc"] == pytest.approx(trainer.checkpoint_callback.best_model_score.item())
    last, _ = read_set(tmp_path / "set" / "last")
    assert torch.equal(last.pixels, distiller.synthetic.pixels())


def test_card_says_what_a_reader_must_know(make_data, make_trainer, tmp_path):
    run(make_data, make_trainer, tmp_path, steps=1)
    text = (tmp_path / "set" / "last" / "card.json").read_text()
    card = json.loads(text)
    assert card["method"] == "DMDistiller"
    assert card["hyper_parameters"]["ipc"] == 2
    assert card["data"]["class_names"] == ["0", "1", "2"]
    assert {"name", "license", "source", "mean", "std", "low", "high", "pixel"} <= set(card["data"])
    assert card["scores"]["val"]["seeds"] == [0, 1]
    assert "copies of real training images" in card["warning"]
    assert {"lightning_distill", "torch", "lightning", "kornia", "python"} <= set(card["versions"])
    assert len(card["sha256"]) == 64
    assert str(tmp_path) not in text
    assert os.path.expanduser("~") not in text
    for word in ("private", "anonym", "privacy"):
        assert word not in text.lower()


def test_noise_start_carries_another_warning(make_data, make_trainer, tmp_path):
    run(make_data, make_trainer, tmp_path, students=False, steps=1, init="noise")
    _, card = read_set(tmp_path / "set" / "last")
    assert card["warning"].startswith("The images began as noise")
    assert not (tmp_path / "set" / "best").exists()


def test_best_score_survives_a_resume(make_data, make_trainer, tmp_path):
    trainer, _ = run(make_data, make_trainer, tmp_path)
    export = next(c for c in trainer.callbacks if isinstance(c, SyntheticSetExport))
    other = SyntheticSetExport(str(tmp_path / "other"))
    other.load_state_dict(export.state_dict())
    assert other.best_score == export.best_score == pytest.approx(trainer.checkpoint_callback.best_model_score.item())
    assert not other._better(export.best_score)


def test_a_run_into_the_folder_of_another_says_that_its_sets_go(tmp_path):
    export = SyntheticSetExport(str(tmp_path))
    for name in ("best", "last"):
        (tmp_path / name).mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export.on_fit_start(SimpleNamespace(ckpt_path=None), None)  # nothing there yet
        (tmp_path / "best" / "set.safetensors").touch()
        export.on_fit_start(SimpleNamespace(ckpt_path="last.ckpt"), None)  # the same run goes on
    with pytest.warns(UserWarning, match="holds best of an earlier run, which will be replaced; use another dirpath"):
        export.on_fit_start(SimpleNamespace(ckpt_path=None), None)


def test_unwritable_folder_is_refused_before_the_run(make_data, make_trainer, tmp_path):
    (tmp_path / "set").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cannot write to .*set.*choose another folder"):
        run(make_data, make_trainer, tmp_path, students=False)


def test_full_disk_during_export_keeps_the_previous_file(make_data, make_trainer, tmp_path, monkeypatch):
    run(make_data, make_trainer, tmp_path, students=False, steps=1)
    before = (tmp_path / "set" / "last" / "set.safetensors").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_distill.sets.storage.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        run(make_data, make_trainer, tmp_path, students=False, steps=2)
    assert (tmp_path / "set" / "last" / "set.safetensors").read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "set" / "last").iterdir()) == [
        "card.json", "grid.png", "set.safetensors"
    ]  # fmt: skip


def test_float_data_are_shipped_as_float16(make_trainer, tmp_path):
    from conftest import blobs

    from lightning_distill import ArrayDataModule

    images, labels = blobs()
    data = ArrayDataModule((images.astype(np.float32) / 7 - 3, labels), real_per_class=8)
    trainer = make_trainer(max_steps=1, callbacks=[SyntheticSetExport(str(tmp_path))])
    distiller = DMDistiller(ipc=1, network="convnet_w16")
    trainer.fit(distiller, datamodule=data)
    shipped, _ = read_set(tmp_path / "last")
    assert shipped.pixels.dtype == torch.float16
    assert shipped.pixels.min() >= np.float16(data.spec.min_value)
    torch.testing.assert_close(load_set(tmp_path / "last").tensors[0], distiller.synthetic.exported_images())


def test_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown mode 'most'"):
        SyntheticSetExport(str(tmp_path), mode="most")


def test_a_renamed_log_key_is_refused_with_its_new_name(tmp_path):
    with pytest.raises(ValueError, match="monitor='val/gain_random' was renamed to 'val/acc_gain_over_random'"):
        SyntheticSetExport(str(tmp_path), monitor="val/gain_random")


def test_a_picture_of_the_set_lies_beside_it(make_data, make_trainer, tmp_path):
    run(make_data, make_trainer, tmp_path, steps=2)
    for name in ("best", "last"):
        loaded = load_set(tmp_path / "set" / name)
        with Image.open(tmp_path / "set" / name / "grid.png") as picture:
            assert picture.info["set sha256"] == loaded.card["sha256"]
            assert np.array_equal(np.asarray(picture), np.asarray(loaded.show()))
        assert min(loaded.show().size) > 2 * 96


@pytest.mark.parametrize("damage", ["missing", "of another set", "cut off", "a text"])
def test_a_picture_that_is_missing_or_wrong_is_drawn_again(make_data, make_trainer, tmp_path, damage):
    run(make_data, make_trainer, tmp_path, students=False, steps=1)
    path = tmp_path / "set" / "last" / "grid.png"
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "of another set":
        Image.new("RGB", (9, 9)).save(path)
    else:
        path.write_bytes(whole[:60] if damage == "cut off" else b"text")
    folder = SetFolder(tmp_path / "set")
    folder.open()
    folder.close()
    assert path.read_bytes() == whole
