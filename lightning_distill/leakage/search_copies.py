"""Copy detection on shadow sets and on a finished set."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.evaluation.copies.detection import CopyCounts, detect_copies, mean_counts
from lightning_distill.evaluation.copies.embedding import ContrastiveEmbedding
from lightning_distill.leakage.members import Members
from lightning_distill.leakage.shadows import ShadowRun, read_made
from lightning_distill.sets.formation import reduced
from lightning_distill.sets.labeled_set import LabeledSet

#: Shadow sets searched for copies, and most real images that are searched.
SETS, SAMPLE = 8, 10_000


def copies_of_shadows(run: ShadowRun, members: Members, embedding: ContrastiveEmbedding) -> CopyCounts:
    """Search the first shadow sets for copies of their half; the other half is held out.

    Args:
        run: Finished shadow sets.
        members: Candidates.
        embedding: Embedding of real and synthetic images.
    """
    parts, random = [], np.random.default_rng(0)
    embedded: dict[int, NDArray[np.float32]] = {}
    rows = np.sort(random.permutation(len(members))[:SAMPLE])
    for shadow in range(min(SETS, len(run.halves))):
        made = read_made(run.path(shadow), members.spec, np.flatnonzero(run.halves[shadow])).data
        if made.formation not in embedded:
            embedded[made.formation] = _embed(embedding, members, rows, made.formation)
        inside, real = run.halves[shadow][rows], embedded[made.formation]
        parts.append(detect_copies(real[inside], real[~inside], embedding(made.decode().pixels.float())))
    return mean_counts(parts)


def copies_of_set(finished: LabeledSet, members: Members, embedding: ContrastiveEmbedding) -> CopyCounts:
    """Search a finished set for copies of the training images; the validation images are held out.

    Args:
        finished: The set.
        members: Candidates and held-out images.
        embedding: Embedding of real and synthetic images.
    """
    rows = np.sort(np.random.default_rng(0).permutation(len(members))[:SAMPLE])
    train = _embed(embedding, members, rows, finished.formation)
    held = torch.from_numpy(np.ascontiguousarray(members.held_images[:SAMPLE]))
    return detect_copies(
        train, embedding(reduced(held, finished.formation)), embedding(finished.decode().pixels.float())
    )


def _embed(
    embedding: ContrastiveEmbedding, members: Members, rows: NDArray[np.int64], formation: int
) -> NDArray[np.float32]:
    """Embed training images as the sub-images of a set would show them."""
    images = torch.from_numpy(np.ascontiguousarray(members.images[rows]))
    return embedding(reduced(images, formation))
