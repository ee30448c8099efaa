"""Files that the newcomers of the walks bring along: images with patients, and small scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

#: Project of a Lightning user with a timm network; the walk adds one import and one line to it.
PROJECT = """\
import timm
import torch
from lightning import LightningModule, Trainer
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2


class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = timm.create_model("resnet18", num_classes=2, in_chans=1)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-3)


to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])])
prepare = v2.Compose([v2.Grayscale(), v2.Resize((28, 28)), to_float])
train, val = ImageFolder("train", prepare), ImageFolder("val", prepare)
trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False)
trainer.fit(Classifier(), DataLoader(train, 32, shuffle=True), DataLoader(val, 64))
print(trainer.callback_metrics)
"""
#: Method of an author: everything that is typed for it.
METHOD = '''\
from lightning_distill import Distiller


class MomentDistiller(Distiller):
    """Match mean and mean square of each feature, class by class, in a new random network every step."""

    def losses(self, real):
        parameters = self.network.init_params(self.device)
        for label in self.classes():
            x, s = self.augment(real.of_class(label), self.synthetic.of_class(label))
            a = self.network.embed(parameters, x).detach().float()
            b = self.network.embed(parameters, s).float()
            yield (a.mean(0) - b.mean(0)).square().sum() + (a.square().mean(0) - b.square().mean(0)).square().sum()
'''
#: Grid over rates and seeds, as a W&B sweep file.
SWEEP = """\
program: lightning-distill
method: grid
metric: {name: val/acc, goal: maximize}
parameters:
  model.init_args.lr: {values: [0.1, 1.0]}
command: [lightning-distill, fit, --model=moments.MomentDistiller, --data=DigitsDataModule, "${args}"]
"""


def images_of_two_classes(count: int, medmnist: Path, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Return images ``(count, 28, 28)`` uint8 and labels ``(count,)``: chest X-rays, or digits without the file.

    The split ``test`` has other images than ``train``.
    """
    file = medmnist / "pneumoniamnist.npz"
    if file.is_file():
        with np.load(file) as arrays:
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"].reshape(-1)
    else:
        digits = load_digits()
        rows = np.flatnonzero(np.isin(digits.target, (3, 8)))
        images = np.kron(digits.images[rows] * 15, np.ones((1, 4, 4)))[:, 2:30, 2:30].astype(np.uint8)
        labels = (digits.target[rows] == 8).astype(int)
        images, labels = (images[::-1], labels[::-1]) if split == "test" else (images, labels)
    picked = np.concatenate([np.flatnonzero(labels == label)[: count // 2] for label in (0, 1)])
    return images[picked], labels[picked]


def write_scans(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write PNG files and a table of file, diagnosis and patient; two images in a row are of one patient."""
    folder.mkdir()
    lines = ["file,diagnosis,patient"]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / f"scan{number:03d}.png")
        lines.append(f"scan{number:03d}.png,{('normal', 'pneumonia')[label]},P{number // 2:03d}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def write_class_folders(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write PNG files into a folder for each class."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / ("normal", "pneumonia")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03d}.png")
