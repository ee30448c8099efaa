"""Reference implementations of the methods as in the papers and public code, for timing and accuracy comparisons.

They loop over classes in eager float32, hold all real images normalised on the device, permute a class for every draw,
build one graph for all classes, and train students one after another. They use plain modules and ``torch.optim`` and
none of this package's code except the network definition. Every class has one method, ``step``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

Build = Callable[[], nn.Module]


class Real:
    """Normalised training images ``(N, C, H, W)`` float32 with the row indices of each class."""

    def __init__(self, images: Tensor, labels: Tensor, classes: int) -> None:
        self.images, self.classes = images, classes
        self.members = [torch.nonzero(labels.cpu() == label).flatten() for label in range(classes)]

    def draw(self, label: int, count: int) -> Tensor:
        """Draw random images of one class."""
        members = self.members[label]
        return self.images[members[torch.randperm(len(members))[:count]]]


class DM:
    """Distribution matching: a fresh network every step.

    Reference:
        Zhao, Bilen: Dataset Condensation with Distribution Matching, arXiv 2110.04181.
    """

    def __init__(self, real: Real, images: Tensor, build: Build, groups: Sequence[str] = (), batch: int = 256) -> None:
        self.real, self.build, self.groups, self.batch = real, build, groups, batch
        self.images = images.detach().clone().requires_grad_()
        self.sgd = torch.optim.SGD([self.images], lr=1.0, momentum=0.5)

    def step(self) -> None:
        """Run one image step."""
        network, ipc = self.build().to(self.images.device), len(self.images) // self.real.classes
        loss = torch.zeros((), device=self.images.device)
        for label in range(self.real.classes):
            synthetic = self.images[label * ipc : (label + 1) * ipc]
            real, synthetic = siamese(self.real.draw(label, self.batch), synthetic, self.groups)
            target = network.embed(real).detach()  # type: ignore[operator]
            loss = loss + (target.mean(0) - network.embed(synthetic).mean(0)).square().sum()  # type: ignore[operator]
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()


class GradientMatching:
    """DC, and with ``groups`` DSA: one image step on a network, then its training on the images.

    References:
        Zhao, Mopuri, Bilen: Dataset Condensation with Gradient Matching, arXiv 2006.05929.
        Zhao, Bilen: Dataset Condensation with Differentiable Siamese Augmentation, arXiv 2102.08259.
    """

    def __init__(
        self,
        real: Real,
        images: Tensor,
        build: Build,
        groups: Sequence[str] = (),
        batch: int = 256,
        outer: int = 10,
        inner: int = 50,
    ) -> None:
        self.real, self.build, self.groups, self.batch = real, build, groups, batch
        self.images = images.detach().clone().requires_grad_()
        self.labels = torch.arange(real.classes, device=images.device).repeat_interleave(len(images) // real.classes)
        self.sgd = torch.optim.SGD([self.images], lr=0.1, momentum=0.5)
        self.outer, self.inner, self.taken = outer, inner, 0
        self.network = build().to(images.device)

    def step(self) -> None:
        """Run one image step, then the inner epochs unless a fresh network follows."""
        if self.taken % self.outer == 0:
            self.network = self.build().to(self.images.device)
        weights, ipc = list(self.network.parameters()), len(self.images) // self.real.classes
        loss = torch.zeros((), device=self.images.device)
        for label in range(self.real.classes):
            synthetic = self.images[label * ipc : (label + 1) * ipc]
            real, synthetic = siamese(self.real.draw(label, self.batch), synthetic, self.groups)
            a, b = (F.cross_entropy(self.network(x), self.labels.new_full((len(x),), label)) for x in (real, synthetic))
            of_real = [g.detach() for g in torch.autograd.grad(a, weights)]
            loss = loss + distance(of_real, torch.autograd.grad(b, weights, create_graph=True))
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()
        self.taken += 1
        if self.taken % self.outer:
            train(self.network, self.images.detach(), self.labels, self.groups, self.inner, 0.01, 0.0, 0.0)


class MTT:
    """Trajectory matching with the full graph of ``steps`` student steps.

    Args:
        images: Initial images ``(N, C, H, W)``.
        labels: Labels ``(N,)``.
        build: Function that creates a network.
        ends: Function that draws the expert weights at both ends of a trajectory segment.
        groups: Augmentation groups.
        steps: Student steps per image step.
        lr: Learning rate of the images.

    Reference:
        Cazenavette et al.: Dataset Distillation by Matching Training Trajectories, arXiv 2203.11932.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        build: Build,
        ends: Callable[[], tuple[Sequence[Tensor], Sequence[Tensor]]],
        groups: Sequence[str] = (),
        steps: int = 20,
        lr: float = 1000.0,
    ) -> None:
        self.labels, self.ends, self.groups, self.steps = labels, ends, groups, steps
        self.images, self.rate = images.detach().clone().requires_grad_(), torch.tensor(0.01, requires_grad=True)
        self.network = build().to(images.device)
        groups_of_rates: list[dict[str, Any]] = [{"params": [self.images], "lr": lr}, {"params": [self.rate]}]
        self.sgd = torch.optim.SGD(groups_of_rates, 1e-5, momentum=0.5)

    def step(self) -> None:
        """Run one image step."""
        start, target = self.ends()
        names = [name for name, _ in self.network.named_parameters()]
        weights = [w.detach().clone().requires_grad_() for w in start]
        for _ in range(self.steps):
            order = torch.randperm(len(self.labels), device=self.labels.device)
            x = plain(self.images[order], self.groups)
            logits = functional_call(self.network, dict(zip(names, weights, strict=True)), (x,))
            gradients = torch.autograd.grad(F.cross_entropy(logits, self.labels[order]), weights, create_graph=True)
            weights = [w - self.rate * g for w, g in zip(weights, gradients, strict=True)]
        left = torch.stack([(w - t).square().sum() for w, t in zip(weights, target, strict=True)]).sum()
        expert_distance = torch.stack([(s - t).square().sum() for s, t in zip(start, target, strict=True)]).sum()
        self.sgd.zero_grad()
        (left / expert_distance).backward()
        self.sgd.step()


class Student:
    """Student with the standard training protocol of the field; a step is one epoch.

    Reference:
        Zhao, Bilen: Dataset Condensation with Differentiable Siamese Augmentation, arXiv 2102.08259.
    """

    def __init__(self, images: Tensor, labels: Tensor, build: Build, groups: Sequence[str], epochs: int = 1000) -> None:
        self.images, self.labels, self.groups = images, labels, groups
        self.network = build().to(images.device)
        self.sgd = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.epochs, self.epoch = epochs, 0

    def step(self) -> None:
        """Train for one epoch."""
        train_epoch(self.network, self.sgd, self.images, self.labels, self.groups)
        if self.epoch == self.epochs // 2 + 1:
            self.sgd.param_groups[0]["lr"] *= 0.1
        self.epoch += 1


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    groups: Sequence[str],
    epochs: int,
    lr: float,
    momentum: float,
    decay: float,
) -> None:
    """Train with plain SGD on all images."""
    sgd = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, weight_decay=decay)
    for _ in range(epochs):
        train_epoch(network, sgd, images, labels, groups)


def train_epoch(
    network: nn.Module, sgd: torch.optim.Optimizer, images: Tensor, labels: Tensor, groups: Sequence[str]
) -> None:
    """Train one epoch in random order with batches of 256."""
    for rows in torch.randperm(len(labels), device=labels.device).split(256):
        sgd.zero_grad()
        F.cross_entropy(network(plain(images[rows], groups)), labels[rows]).backward()
        sgd.step()


def distance(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Compute the paper's gradient distance: one minus the cosine per output unit; vectors are ignored."""
    total = torch.zeros((), device=real[0].device)
    for a, b in zip(real, synthetic, strict=True):
        if a.ndim > 1:
            u, v = a.reshape(len(a), -1), b.reshape(len(b), -1)
            total = total + (1 - (u * v).sum(-1) / (u.norm(dim=-1) * v.norm(dim=-1) + 1e-6)).sum()
    return total


def siamese(real: Tensor, synthetic: Tensor, groups: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Apply one augmentation group with one parameter draw to both batches."""
    if not groups:
        return real, synthetic
    group, u = groups[int(torch.randint(len(groups), ()))], torch.rand(1, 3)
    return transform(real, group, u.expand(len(real), 3)), transform(synthetic, group, u.expand(len(synthetic), 3))


def plain(images: Tensor, groups: Sequence[str]) -> Tensor:
    """Apply one augmentation group with parameters drawn per image."""
    if not groups:
        return images
    return transform(images, groups[int(torch.randint(len(groups), ()))], torch.rand(len(images), 3))


def transform(x: Tensor, group: str, u: Tensor) -> Tensor:
    """Apply one of the six augmentation groups with uniform numbers ``u`` ``(B, 3)``."""
    height, width = x.shape[2:]
    first, second, third = u.to(x)[:, :, None, None, None].unbind(1)  # (B, 1, 1, 1) each
    if group == "color":
        x = x + (first - 0.5)
        grey = x.mean(1, keepdim=True)
        x = (x - grey) * 2 * second + grey
        mean = x.mean((1, 2, 3), keepdim=True)
        return (x - mean) * (third + 0.5) + mean
    if group == "flip":
        return torch.where(first < 0.5, x.flip(3), x)
    rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
    if group == "cutout":
        high, wide = int(height * 0.5 + 0.5), int(width * 0.5 + 0.5)
        top = (first * (height + 1 - high % 2)).floor() - high // 2
        left = (second * (width + 1 - wide % 2)).floor() - wide // 2
        row, column = rows[None, None, :, None], columns[None, None, None, :]
        return x * ~((row >= top) & (row < top + high) & (column >= left) & (column < left + wide))
    if group == "crop":
        down, across = (int(side * 0.125 + 0.5) for side in (height, width))
        y = rows + down + (first.flatten() * (2 * down + 1)).floor().sub(down).long()[:, None]  # (B, H)
        z = columns + across + (second.flatten() * (2 * across + 1)).floor().sub(across).long()[:, None]  # (B, W)
        padded, image = F.pad(x, (across, across, down, down)), torch.arange(len(x), device=x.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[image, y[:, :, None], z[:, None, :]].permute(0, 3, 1, 2)
    first, second = first.flatten(), second.flatten()
    zero, theta = torch.zeros_like(first), None
    if group == "scale":
        low, high_ = 1 / 1.2, 1.2
        theta = [[low + (high_ - low) * first, zero, zero], [zero, low + (high_ - low) * second, zero]]
    else:
        angle = (first - 0.5) * 2 * 15 * math.pi / 180
        theta = [[angle.cos(), -angle.sin(), zero], [angle.sin(), angle.cos(), zero]]
    matrix = torch.stack([torch.stack(row, 1) for row in theta], 1)  # (B, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, align_corners=True)
