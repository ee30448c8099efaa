"""Losses of the generators in numpy and plain loops, and the gradient penalty by finite differences."""

from __future__ import annotations

import numpy as np


def flow_loss(velocity, images, noise):
    """Mean over all entries of (v - (e - x))^2, one entry at a time."""
    total = 0.0
    for v, x, e in zip(velocity.ravel(), images.ravel(), noise.ravel(), strict=True):
        total += (v - (e - x)) ** 2
    return total / velocity.size


def critic_loss(real, fake):
    """-E log sigmoid(D(x) - D(G(z))), pair by pair."""
    return np.mean([-np.log(1 / (1 + np.exp(-(r - f)))) for r, f in zip(real, fake, strict=True)])


def gradient_penalty(critic, images, step=1e-5):
    """Mean squared norm of the gradient of critic(image) -> number, by central differences."""
    norms = []
    for image in images:
        squares = 0.0
        for index in np.ndindex(image.shape):
            up, down = image.copy(), image.copy()
            up[index] += step
            down[index] -= step
            squares += ((critic(up) - critic(down)) / (2 * step)) ** 2
        norms.append(squares)
    return np.mean(norms)
