"""A loaded set: a data set of PyTorch with card, picture and exports."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import DataSpec, LoadedSet, load_set, save_set
from lightning_distill.sets.image_grid import GAP
from lightning_distill.sets.labeled_set import LabeledSet

SPEC = DataSpec("toy", (1, 8, 6), ("benign", "malignant"), (100.0,), (50.0,), task="binary", resize="stretch")


@pytest.fixture
def folder(tmp_path):
    pixels = torch.randint(0, 256, (5, 1, 8, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    save_set(
        tmp_path / "set", LabeledSet(pixels, torch.tensor([0, 0, 0, 1, 1]), SPEC), {"method": "DM", "start": "noise"}
    )
    return tmp_path / "set"


def test_it_is_a_data_set_with_card_and_classes(folder):
    loaded = load_set(folder)
    assert isinstance(loaded, LoadedSet)
    assert isinstance(loaded, TensorDataset)
    assert loaded.card["method"] == "DM"
    assert loaded.class_names == ("benign", "malignant")
    batch, labels = next(iter(DataLoader(loaded, batch_size=5, num_workers=1)))
    assert torch.equal(batch, loaded.tensors[0])
    assert labels.tolist() == [0, 0, 0, 1, 1]
    assert repr(loaded) == "LoadedSet(5 images, 2 classes: 3, 2, 1x8x6, DM, started from noise)"


def test_the_picture_shows_every_image_enlarged(folder):
    loaded = load_set(folder)
    shown = np.asarray(loaded.show())
    times = 16  # 96 / 6
    left = shown.shape[1] - 3 * (6 * times + GAP)
    for place, (row, column) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
        top, start = row * (8 * times + GAP) + GAP, left + column * (6 * times + GAP)
        tile = shown[top : top + 8 * times, start : start + 6 * times, 0]
        np.testing.assert_array_equal(tile[8::times, 8::times], loaded.stored.pixels[place, 0].numpy())
    notebook = Image.open(io.BytesIO(loaded._repr_png_()))
    np.testing.assert_array_equal(np.asarray(notebook), shown)


def test_sub_images_are_shown_decoded(tmp_path):
    pixels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    spec = DataSpec("toy", (1, 8, 8), ("a", "b"), (100.0,), (50.0,))
    save_set(tmp_path, LabeledSet(pixels, torch.tensor([0, 1]), spec, formation=2), {})
    loaded = load_set(tmp_path)
    assert len(loaded) == 8
    assert repr(loaded) == "LoadedSet(2 images of 2 x 2 sub-images, 2 classes x 1, 1x8x8)"
    assert loaded.show().size[0] > 4 * 96


def test_exports_are_those_of_export_set_and_come_back(folder, tmp_path):
    loaded = load_set(folder)
    assert loaded.to_folder(tmp_path / "png") == tmp_path / "png"
    loaded.to_npz(str(tmp_path / "npz"))
    for name in ("png", "npz"):
        back = load_set(tmp_path / name)
        assert torch.equal(back.tensors[0], loaded.tensors[0])
        assert back.card == loaded.card
    assert len(list((tmp_path / "png" / "images").rglob("*.png"))) == 5
    with pytest.raises(FileExistsError, match=r"png has files.*choose another folder"):
        loaded.to_folder(tmp_path / "png")


def test_bad_columns_are_refused(folder):
    with pytest.raises(ValueError, match="columns=0 for 5 images; at least one"):
        load_set(folder).show(columns=0)


def test_loading_needs_no_lightning(folder):
    code = (
        "import sys\nfrom lightning_distill import load_set\n"
        "loaded = load_set(sys.argv[1])\nloaded.transform, repr(loaded), len(loaded.show().tobytes())\n"
        "heavy = {'lightning', 'pytorch_lightning', 'torchvision', 'kornia', 'torchmetrics', 'matplotlib', 'sklearn',"
        " 'scipy', 'timm', 'wandb', 'jsonargparse', 'datasets', 'pandas', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
