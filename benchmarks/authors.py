"""Run the authors' own code as a third implementation, from a checkout of VICO-UoE/DatasetCondensation.

Nothing of it is copied here. Its ``utils.py`` and ``networks.py`` provide networks, augmentation, distance and the
epoch of a student. The order of the calls is that of its ``main_DM.py`` and ``main_DSA.py``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from lightning_distill.bench.cases import IMAGE_LR, BenchmarkCase, keep_resident
from lightning_distill.distillers.dc import default_loops

FILES = ("networks.py", "utils.py")
PATHS = ("dm", "dsa", "student")


def load(folder: str) -> ModuleType:
    """Import the ``utils`` module of the authors.

    Raises:
        FileNotFoundError: A file of the checkout is missing.
    """
    for name in FILES:
        if not (Path(folder) / name).is_file():
            raise FileNotFoundError(f"{name} is not in {folder}; give a checkout of VICO-UoE/DatasetCondensation")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("utils")
    finally:
        sys.path.remove(folder)


class Authors:
    """One path with the authors' functions. ``step`` is one image step, or one epoch of a student."""

    def __init__(self, theirs: ModuleType, job: BenchmarkCase) -> None:
        spec, self.job, self.theirs = job.data.spec, job, theirs
        begun = job.init_synthetic()
        self.images, self.labels = begun.images.detach().to(job.device).requires_grad_(), begun.labels.to(job.device)
        self.sgd = torch.optim.SGD([self.images], lr=IMAGE_LR.get(job.path, 1.0), momentum=0.5)
        self.args = SimpleNamespace(
            device=job.device, dis_metric="ours", dsa=True, dsa_param=theirs.ParamDiffAug(),
            dsa_strategy="color_crop_cutout_flip_scale_rotate",
        )  # fmt: skip
        self.criterion = torch.nn.CrossEntropyLoss().to(job.device)
        self.model = job.size.network.replace("convnet", "ConvNet").replace("_w", "W")
        self.shape, self.taken, self.rounds = spec.shape, 0, default_loops(job.size.ipc, job.size.outer, job.size.inner)
        self.step = {"dm": self._dm, "dsa": self._dsa, "student": self._epoch}[job.path]
        if job.path == "student":
            self._begin_network(0.9, 5e-4)
        else:
            self.real = keep_resident(job)

    def _network(self) -> Any:
        network = self.theirs.get_network(self.model, self.shape[0], self.job.data.spec.num_classes, self.shape[1:])
        return network.to(self.job.device).train()

    def _begin_network(self, momentum: float, decay: float) -> None:
        self.network = self._network()
        self.network_sgd = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=momentum, weight_decay=decay)

    def _pair(self, label: int) -> list[torch.Tensor]:
        """Apply one random augmentation to the real and the synthetic images of a class."""
        ipc = self.job.size.ipc
        rows = np.random.permutation(self.real.members[label].numpy())[: self.job.data.real_per_class]
        pair, seed = (self.real.images[rows], self.images[label * ipc : (label + 1) * ipc]), np.random.randint(100_000)
        return [self.theirs.DiffAugment(x, self.args.dsa_strategy, seed=seed, param=self.args.dsa_param) for x in pair]

    def _dm(self) -> None:
        network, loss = self._network().requires_grad_(False), torch.tensor(0.0).to(self.job.device)
        for label in range(self.real.classes):
            real, synthetic = (network.embed(x) for x in self._pair(label))
            loss += (real.detach().mean(0) - synthetic.mean(0)).square().sum()
        self._descend(loss)

    def _dsa(self) -> None:
        outer, inner = self.rounds
        if self.taken % outer == 0:
            self._begin_network(0.0, 0.0)
        weights, loss = list(self.network.parameters()), torch.tensor(0.0).to(self.job.device)
        for label in range(self.real.classes):
            gradients = []
            for x, twice in zip(self._pair(label), (False, True), strict=True):
                loss_of = self.criterion(self.network(x), self.labels.new_full((len(x),), label))
                gradients.append(torch.autograd.grad(loss_of, weights, create_graph=twice))
            loss += self.theirs.match_loss(gradients[1], [g.detach().clone() for g in gradients[0]], self.args)
        self._descend(loss)
        self.taken += 1
        for _ in range(inner if self.taken % outer else 0):
            self._epoch()

    def _descend(self, loss: torch.Tensor) -> None:
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()

    def _epoch(self) -> None:
        images = self.theirs.TensorDataset(self.images.detach().clone(), self.labels)
        loader = torch.utils.data.DataLoader(images, batch_size=256, shuffle=True, num_workers=0)
        self.theirs.epoch("train", loader, self.network, self.network_sgd, self.criterion, self.args, aug=True)
