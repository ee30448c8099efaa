"""What a person sees at a prompt: completion, one-line descriptions, and data without a ritual."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import blobs
from lightning import Trainer
from PIL import Image

import lightning_distill
from lightning_distill import (
    ArrayDataModule,
    DataSpec,
    DigitsDataModule,
    DMDistiller,
    MedMNISTDataModule,
    MTTDistiller,
    NpzDataModule,
    SyntheticSet,
)
from lightning_distill.sets.labeled_set import LabeledSet

NAMES = ("benign", "malignant")


@pytest.fixture
def data():
    return ArrayDataModule(blobs(2, 6, 8, 1, 0), blobs(2, 3, 8, 1, 1), class_names=NAMES, name="toy", real_per_class=4)


def test_completion_offers_the_public_names_and_no_helper():
    code = (
        "import rlcompleter, sys, lightning_distill\n"
        "completer, found = rlcompleter.Completer({'lightning_distill': lightning_distill}), []\n"
        "names = [name for name in dir(lightning_distill) if not name.startswith('_')]\n"
        "assert 'torch' not in sys.modules\n"
        "print(names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed = [name for name in lightning_distill.__all__ if not name.startswith("_")]
    assert done.stdout.strip() == str(sorted(listed))
    assert {"import_module", "sys", "annotations", "TYPE_CHECKING"}.isdisjoint(dir(lightning_distill))


def synthetic(init="real", **options):
    spec = DataSpec("toy", (1, 8, 8), NAMES, (100.0,), (50.0,))
    images, labels = np.zeros((40, 1, 8, 8), np.uint8), np.arange(40) % 2
    return SyntheticSet.from_real_data(images, labels, spec, init=init, seed=0, **{"ipc": 10, **options})


def test_a_synthetic_set_says_what_it_is():
    assert repr(synthetic()) == "SyntheticSet(20 images, 2 classes x 10, 1x8x8, started from real)"
    assert repr(synthetic("noise", ipc=[3, 1])) == "SyntheticSet(4 images, 2 classes: 3, 1, 1x8x8, started from noise)"
    learned = synthetic(ipc=2, formation=2).add_learnables(torch.zeros(16, 2), 0.1)
    assert repr(learned) == (
        "SyntheticSet(4 images of 2 x 2 sub-images, 2 classes x 2, 1x8x8, started from real, learned soft labels, "
        "learned lr)"
    )
    assert "started" not in repr(SyntheticSet(torch.tensor([0, 1]), learned.spec))


def test_a_notebook_gets_a_picture_of_the_exported_images():
    made = synthetic(ipc=2)
    made.images.data.normal_()
    picture = np.asarray(Image.open(io.BytesIO(made._repr_png_())))
    assert picture.shape[0] > 2 * 96
    assert len(np.unique(picture)) > 20


def test_a_labeled_set_prints_no_tensor():
    pixels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    data = LabeledSet(pixels, torch.tensor([0, 1]), synthetic().spec, torch.full((2, 2), 0.5))
    assert repr(data) == "LabeledSet(2 images, 2 classes x 1, 1x8x8, soft labels)"


def test_a_data_module_says_what_it_is_and_is_not_loaded_by_it(data, monkeypatch):
    monkeypatch.setattr(ArrayDataModule, "load_raw", lambda self: pytest.fail("loaded"))
    for show in (repr, str):
        assert show(data) == "ArrayDataModule(toy, not loaded yet: .splits or .spec loads it)"
    assert not data.is_loaded
    monkeypatch.undo()
    data.setup()
    assert data.is_loaded
    assert (
        repr(data)
        == str(data)
        == ("ArrayDataModule(toy, 1x8x8 uint8, 2 classes: benign, malignant; train 12, val 6; binary, user arrays)")
    )


def test_many_and_long_names_of_classes_are_cut():
    names = [f"class {number} " + "x" * 40 for number in range(12)]
    data = ArrayDataModule(blobs(12, 3, 8, 1, 0), blobs(12, 1, 8, 1, 1), class_names=names)
    data.setup()
    assert repr(data).count("xxx...") == 10
    assert ", ...; train 36" in repr(data)


def test_splits_need_no_ritual(data):
    assert {split: len(labels) for split, (_, labels) in data.splits.items()} == {"train": 12, "val": 6}
    assert len(DigitsDataModule().splits["train"][1]) == 1077


def test_splits_prepare_the_data_once_without_a_trainer_and_never_with_one():
    calls = []

    class Downloads(ArrayDataModule):
        def prepare_data(self):
            calls.append("prepare")

        def load_raw(self):
            calls.append("load")
            return super().load_raw()

    alone = Downloads(blobs(2, 6, 8, 1, 0), blobs(2, 3, 8, 1, 1))
    assert len(alone.splits) == len(alone.splits) == 2
    alone.spec, alone.setup()
    assert calls == ["prepare", "load"]
    beside = Downloads(blobs(2, 6, 8, 1, 0), blobs(2, 3, 8, 1, 1))
    beside.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    beside.spec  # noqa: B018
    assert calls == ["prepare", "load", "load"], "a trainer prepares the data on one process"


def test_missing_data_offline_are_named_in_one_line(tmp_path):
    for access in ("splits", "spec"):
        with pytest.raises(FileNotFoundError, match=r"breastmnist.npz is not in .*; set root= or") as error:
            getattr(MedMNISTDataModule("breastmnist", root=tmp_path, download=False), access)
        assert "\n" not in str(error.value)


def test_a_distiller_prints_its_arguments_and_then_its_set(data, tmp_path):
    model = DMDistiller(ipc=1, network="convnet_w16", preset="paper", seed=3)
    assert repr(model) == (
        "DMDistiller(ipc=1, preset='paper', lr=1.0, init='real', formation=1, network='convnet_w16', seed=3)"
    )
    trainer = Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(model, data)
    assert repr(model).endswith("seed=3, pool=0, SyntheticSet(2 images, 2 classes x 1, 1x8x8, started from real))"), (
        repr(model)
    )
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    again = DMDistiller.load_from_checkpoint(tmp_path / "model.ckpt")
    assert repr(again).startswith("DMDistiller(ipc=1, preset='paper'")


def test_settings_of_a_method_itself_are_printed_and_no_path():
    shown = repr(MTTDistiller(ipc=2, experts="/secret/place", syn_steps=5))
    assert "syn_steps=5" in shown
    assert "secret" not in shown


@pytest.fixture
def write(tmp_path):
    def write(names):
        images, labels = blobs(2, 6, 8, 1, 0)
        np.savez(tmp_path / "clinic.npz", train_images=images, train_labels=labels, class_names=names)
        return tmp_path / "clinic.npz"

    return write


@pytest.mark.parametrize("dtype", ["U", "S"])
def test_an_npz_file_names_its_classes(write, dtype):
    path = write(np.array(NAMES, dtype))
    assert NpzDataModule(path, val_fraction=0.34).spec.class_names == NAMES
    assert NpzDataModule(path, val_fraction=0.34, class_names=["x", "y"]).spec.class_names == ("x", "y")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (np.array([3, 4]), r"class_names of clinic.npz is int64 of the shape \(2,\); write one string for each class"),
        (np.array([["a", "b"]]), r"shape \(1, 2\); write one string"),
        (np.array(["a", "a"]), "class_names of clinic.npz has 'a' twice; every class needs a name of its own"),
        (np.array(["a", "b", "c"]), "c"),
        (np.array(["a"]), "a"),
        (np.array(["a", "b"], object), "it holds Python objects"),
    ],
)
def test_bad_names_in_an_npz_file_are_refused_in_one_line(write, names, message):
    with pytest.raises(ValueError, match=message) as error:
        NpzDataModule(write(names), val_fraction=0.34).splits  # noqa: B018
    assert "\n" not in str(error.value)
