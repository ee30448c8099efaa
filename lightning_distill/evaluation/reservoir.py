"""``ClassReservoirs``: random subsets of a stream of labelled images, one for each student, drawn in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed

_METHOD = "reservoir"


class ClassReservoirs:
    r"""Uniform random subsets with ``counts[c]`` images of every class c, without replacement, one for each student.

    Of the first n images of a class each is in a subset with the same probability: image n replaces a random one with
    the probability ``counts[c] / n`` (algorithm R). A subset depends on seed, student, class and the order of the
    images of that class, not on batches. Memory holds the images that are in a subset, at most
    ``students * sum(counts)``, and none of the others.

    Args:
        counts: Number of images of each class.
        seed: Seed of the selection.
        students: Number of subsets.

    Reference:
        Vitter: Random Sampling with a Reservoir, ACM TOMS 11, 1985.

    Example:
        >>> reservoirs = ClassReservoirs([2, 1], seed=0, students=3)
        >>> for start in (0, 4):
        ...     reservoirs.add(np.full((4, 1, 8, 8), start, np.uint8), np.array([0, 1, 0, 1]))
        >>> reservoirs.seen, reservoirs.held <= 9
        ([4, 4], True)
    """

    def __init__(self, counts: Sequence[int], seed: int, students: int) -> None:
        self.counts, self.seed = list(counts), seed
        #: Number of images of each class that were added.
        self.seen = [0] * len(self.counts)
        self._added = 0
        self._images: dict[int, NDArray[np.generic]] = {}
        self._users: dict[int, int] = {}
        self._slots: list[list[list[int]]] = [[[] for _ in self.counts] for _ in range(students)]
        self._random = [
            [np.random.default_rng(derive_seed(_METHOD, seed, student, label)) for label in range(len(self.counts))]
            for student in range(students)
        ]

    @property
    def held(self) -> int:
        """Number of images in memory."""
        return len(self._images)

    def add(self, images: NDArray[np.generic], labels: NDArray[np.int64]) -> None:
        """Offer images to every subset; the images that are kept are copied.

        Args:
            images: Images ``(n, C, H, W)``.
            labels: Classes ``(n,)``; images of a class without a count are passed over.
        """
        for image, label in zip(images, labels.tolist(), strict=True):
            if not 0 <= label < len(self.counts):
                continue
            number, place = self._added, self.seen[label]
            self._added += 1
            self.seen[label] += 1
            for slots, random in zip(self._slots, self._random, strict=True):
                self._offer(slots[label], self.counts[label], place, number, random[label])
            if number in self._users:
                self._images[number] = np.array(image)

    def sample(self, spec: DataSpec, student: int) -> LabeledSet:
        """Return the subset of a student, ordered by class. A class with too few images repeats them evenly.

        Args:
            spec: Specification of the images.
            student: Number of the student.

        Raises:
            ValueError: A class has a count and no images.
        """
        numbers: list[int] = []
        for label, (count, members) in enumerate(zip(self.counts, self._slots[student], strict=True)):
            if count and not members:
                raise ValueError(f"no training images of {spec.balance_groups[label]!r}")
            whole, rest = divmod(count, max(1, len(members)))
            order = np.random.default_rng(derive_seed(_METHOD, self.seed, student, label, "rest"))
            extra = order.permutation(len(members))[:rest].tolist()
            numbers += members * whole + [members[place] for place in extra]
        pixels = torch.from_numpy(np.stack([self._images[number] for number in numbers]))
        return LabeledSet(pixels, torch.arange(len(self.counts)).repeat_interleave(torch.tensor(self.counts)), spec)

    def _offer(self, slots: list[int], count: int, place: int, number: int, random: np.random.Generator) -> None:
        if place < count:
            slots.append(number)
        elif count and (chosen := int(random.integers(place + 1))) < count:
            self._release(slots[chosen])
            slots[chosen] = number
        else:
            return
        self._users[number] = self._users.get(number, 0) + 1

    def _release(self, number: int) -> None:
        self._users[number] -= 1
        if not self._users[number]:
            del self._users[number]
            self._images.pop(number, None)
