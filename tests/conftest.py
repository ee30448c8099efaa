"""What all tests share: tiny data, tiny networks, and real data where it lies beside the project."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
REAL = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(TESTS))
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: one thread each, and in what they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")


@pytest.fixture
def real_medmnist() -> Path:
    """The folder of real MedMNIST files; the test is skipped where it is absent."""
    folder = REAL / "medmnist"
    if not folder.is_dir():
        pytest.skip("no real data: ../shared/data/medmnist is absent")
    return folder


def blobs(num_classes: int = 2, per_class: int = 12, size: int = 8, channels: int = 1, seed: int = 0):
    """Images ``(N, H, W[, C])`` uint8 whose classes differ in where they are bright, and labels ``(N, 1)``."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), per_class)
    images = random.integers(0, 90, (len(labels), size, size, channels))
    for row, label in enumerate(labels):
        start = label * size // num_classes
        images[row, start : start + size // num_classes] += 120
    images = images.astype(np.uint8)
    return (images[..., 0] if channels == 1 else images), labels[:, None].astype(np.uint8)


@pytest.fixture
def make_data():
    """A factory of small data modules: classes, channels and image size as you like."""
    from lightning_distill import ArrayDataModule

    def make(num_classes: int = 2, channels: int = 1, size: int = 8, per_class: int = 12, **options):
        options = {"real_per_class": 8, "batch_size": 16, **options}
        splits = [blobs(num_classes, count, size, channels, seed) for seed, count in enumerate((per_class, 6, 6))]
        return ArrayDataModule(*splits, name="blobs", augmentation="dsa", **options)

    return make


@pytest.fixture
def make_experts(tmp_path):
    """A factory of folders with one tiny expert of four epochs, made once for each data and network."""
    from lightning_distill.commands.experts import experts

    def make(data, network: str = "convnet_w16", **options) -> str:
        folder = str(tmp_path / f"experts-{data.spec.num_classes}-{data.spec.shape[0]}-{network}")
        experts(data, folder, **{"count": 1, "epochs": 4, "network": network, "accelerator": "cpu", **options})
        return folder

    return make


@pytest.fixture
def make_trainer(tmp_path):
    """A factory of quiet CPU trainers."""
    from lightning import Trainer

    def make(max_steps: int = 3, **options):
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "accelerator": "cpu"}
        return Trainer(max_steps=max_steps, default_root_dir=tmp_path, **(quiet | options))

    return make


@pytest.fixture(autouse=True)
def level_of_lightning():
    """Scripts lower the level of Lightning's logger; the next test finds it as it was."""
    import logging

    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def known_costs(monkeypatch):
    """Costs as on a slow machine, so that a minute holds few steps wherever the test runs."""

    from lightning_distill.portfolio.budget import Costs
    from lightning_distill.portfolio.search import Search

    def costs(self):
        names = list(self.candidates)
        return Costs(dict.fromkeys(names, 0.5), dict.fromkeys(names, 1.0), dict.fromkeys(names, 1.0), 1.0, 1.0)

    monkeypatch.setattr(Search, "costs", costs)


@pytest.fixture
def encoder_weights(tmp_path):
    """A weights file of an untrained timm model with drawn running statistics, in a folder with a telltale name."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet").eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    folder = tmp_path / "telltale_folder"
    folder.mkdir()
    save_file(model.state_dict(), folder / "telltale.safetensors")
    return {"test_efficientnet": str(folder / "telltale.safetensors")}
