"""A set scored on test images alone, as a receiver without training images does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import blobs
from PIL import Image

from lightning_distill import ArrayDataModule, FolderDataModule, evaluate
from lightning_distill.cli import main
from lightning_distill.evaluation import LabeledSet
from lightning_distill.sets.storage import save_set

QUICK = {"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"], "accelerator": "cpu"}


@pytest.fixture
def images():
    """Twelve pictures of every of two classes, as uint8."""
    pictures, labels = blobs(2, 12, 8, 1, 3)
    pictures = np.asarray(pictures)
    if pictures.dtype != np.uint8:
        pictures = np.clip(pictures * 255 if pictures.max() <= 1 else pictures, 0, 255).astype(np.uint8)
    return pictures.reshape(len(pictures), 8, 8), np.asarray(labels).astype(np.int64).ravel()


@pytest.fixture
def synthetic(images, tmp_path):
    pictures, labels = images
    data = ArrayDataModule(images, class_names=["healthy", "ill"], channels="first")
    rows = np.concatenate([np.flatnonzero(labels == label)[:3] for label in (0, 1)])
    pixels = torch.from_numpy(pictures[rows][:, None])
    made = LabeledSet(pixels, torch.from_numpy(labels[rows]), data.spec)
    return str(save_set(tmp_path / "set", made, {"method": "DMDistiller", "warning": "w"}))


def write(root, images, *, inside=""):
    for number, (picture, label) in enumerate(zip(*images, strict=True)):
        path = root / inside / ("healthy", "ill")[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return root


def test_a_folder_with_only_test_scores_as_the_whole_data_do(images, synthetic, tmp_path):
    root = write(tmp_path / "mine", images, inside="test")
    (row,) = evaluate(synthetic, test_data=FolderDataModule(root), **QUICK)
    # class folders are listed by name, which changes the order of the images and not the score
    (expected,) = evaluate(
        synthetic, ArrayDataModule(images, test=images, class_names=["healthy", "ill"], channels="first"), **QUICK
    )
    assert row.acc == pytest.approx(expected.acc, abs=1e-6)
    assert row.split == "test"
    assert math.isnan(row.nll_scaled), "nothing is calibrated without validation images"
    assert math.isnan(row.bytes_ratio)


def test_class_folders_alone_are_test_images_with_a_warning(images, synthetic, tmp_path):
    root = write(tmp_path / "mine", images)
    with pytest.warns(UserWarning, match="all 24 images are scored as test images"):
        (row,) = evaluate(synthetic, test_data=FolderDataModule(root), **QUICK)
    assert 0 <= row.acc <= 1


def test_a_folder_with_only_test_does_not_train(images, tmp_path):
    data = FolderDataModule(write(tmp_path / "mine", images, inside="test"))
    data.test_images()
    with pytest.raises(ValueError, match="no folder train; add it"):
        data.setup()


@pytest.mark.parametrize(
    ("options", "named"),
    [({"baselines": ["random"]}, "baselines"), ({"split": "val"}, "split=val"), ({"prior_correction": True}, "prior")],
)
def test_options_that_need_training_data_are_refused_before_any_file_is_read(synthetic, options, named):
    with pytest.raises(ValueError, match=f"{named}.* needs real data beside test_data: give --data"):
        evaluate(synthetic, test_data=FolderDataModule("nowhere"), **options, **QUICK)


def test_the_shell_needs_no_data(images, synthetic, tmp_path, capsys):
    root = write(tmp_path / "mine", images, inside="test")
    quick = ["--protocol=tiny", "--students=2", "--architectures=[convnet_w16]", "--accelerator=cpu"]
    main(["evaluate", f"--set={synthetic}", "--test_data=FolderDataModule", f"--test_data.root={root}", *quick])
    assert "test split, tiny protocol" in " ".join(capsys.readouterr().out.split())


def test_multi_label_data_and_a_val_split_without_test_are_refused(images):
    pictures, labels = images
    targets = np.stack([labels, 1 - labels], 1)
    with pytest.raises(ValueError, match="is multi-label, which test images alone cannot score; give --data"):
        ArrayDataModule(test=(pictures, targets), channels="first").test_images()
    with pytest.raises(ValueError, match="has no test split; pass test="):
        ArrayDataModule(images, val=images, channels="first").test_images()
