"""Read the data set behind a data loader: every image once, without iterating the loader or changing its state."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Subset, WeightedRandomSampler

from lightning_distill.data.loaders import ClassBalancedLoader, SequentialLoader
from lightning_distill.utils.private_apis import sampler_of_distributed_wrapper
from lightning_distill.utils.rng import isolated_rng
from lightning_distill.utils.state_copy import copy_state

#: Function that returns images and labels of a batch; the second argument is the name of the split.
ToPair = Callable[[object, str], tuple[Tensor, Tensor]]
#: Function of images and labels of a batch.
Visit = Callable[[Tensor, Tensor], None]
Rows = NDArray[np.int64]
#: Images that are read together.
CHUNK = 64
#: Classes that are never copied with a data set or data module.
SHARED = (Trainer, LightningModule)


def read_loader(loader: object, split: str, to_pair: ToPair, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images and labels of the data set behind a loader, on the CPU and in the order of the data set.

    Samplers, ``shuffle``, ``drop_last`` and worker processes are not used, except for samplers of a part of the data
    set: rows of ``SubsetRandomSampler`` and rows with a positive weight. The collate function is. Random transforms run
    once, on a copy of the data set and in random streams of their own.

    Args:
        loader: ``DataLoader``, loader of this package, or list of batches.
        split: Name of the split in error messages.
        to_pair: Function that returns images and labels of a batch.
        seed: Seed of random transforms.

    Returns:
        Images ``(N, C, H, W)`` in the dtype of the batches, and labels.

    Raises:
        TypeError: A loader of an unknown kind, several loaders, or a data set that can only be iterated and has no
            length, which may be endless.
        ValueError: No images, or images of several shapes.
    """
    loader = single_loader(loader, split)
    if isinstance(loader, SequentialLoader):
        return torch.from_numpy(np.asarray(loader.images[:])), torch.from_numpy(loader.labels)
    if isinstance(loader, ClassBalancedLoader):
        return torch.from_numpy(np.asarray(loader.images[:])), torch.from_numpy(class_numbers(loader))
    pairs: list[tuple[Tensor, Tensor]] = []
    scan_loader(loader, split, to_pair, lambda images, labels: pairs.append((images, labels)), seed=seed)
    return torch.cat([images for images, _ in pairs]), torch.cat([labels for _, labels in pairs])


def scan_loader(
    loader: object, split: str, to_pair: ToPair, visit: Visit, *, seed: int = 0, max_bytes: int | None = None
) -> None:
    """Show the images of the data set behind a loader to a function, batch by batch; one batch is in memory.

    The rows, their order and the random streams are those of `read_loader`.

    Args:
        loader: ``DataLoader``, or list of batches.
        split: Name of the split in error messages.
        to_pair: Function that returns images and labels of a batch.
        visit: Function of images ``(n, C, H, W)`` and labels on the CPU.
        seed: Seed of random transforms and of the selection for ``max_bytes``.
        max_bytes: Largest total size of the images that are read. Of a larger data set, images are selected at random.

    Raises:
        TypeError: A loader of an unknown kind, several loaders, or a data set that can only be iterated and has no
            length, which may be endless.
        ValueError: No images, or images of several shapes.
    """
    shapes: set[tuple[int, ...]] = set()
    with isolated_streams(seed):
        for batch in _batches(single_loader(loader, split), split, seed, max_bytes):
            images, labels = (item.cpu() for item in to_pair(batch, split))
            shapes.add(tuple(images.shape[1:]))
            if len(shapes) > 1:
                raise ValueError(
                    f"the {split} loader yields images of several shapes, {sorted(shapes)[:2]}; resize them"
                )
            visit(images, labels)
    if not shapes:
        raise ValueError(f"the {split} loader yields no batches; check its data set")


def class_numbers(loader: ClassBalancedLoader) -> Rows:
    """Return the class number of each image of a class-balanced loader."""
    labels = np.zeros(len(loader.images), np.int64)
    for label, rows in enumerate(loader.members):
        labels[rows] = label
    return labels


def refuse_overlap(loaders: dict[str, object]) -> None:
    """Raise ValueError if the loaders of two splits read the same rows of one data set.

    Args:
        loaders: Loader by split.
    """
    origins = {split: origin for split, loader in loaders.items() if (origin := _origin(loader)) is not None}
    splits = list(origins)
    for number, first in enumerate(splits):
        for second in splits[number + 1 :]:
            if origins[first][0] is origins[second][0]:
                common = len(np.intersect1d(origins[first][1], origins[second][1]))
                if common:
                    raise ValueError(
                        f"the {first} and {second} loaders read {common} common images of one data set; give each "
                        "split its own torch.utils.data.Subset"
                    )


@contextmanager
def isolated_streams(seed: int) -> Iterator[None]:
    """Run a block with random streams of its own: torch, numpy and ``random``. They are restored afterwards.

    Args:
        seed: Seed of the streams inside the block.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with isolated_rng(seed):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def copy_or_same(thing: Any) -> tuple[Any, bool]:
    """Return a copy with separate state and True, or the object itself and False where it cannot be copied."""
    try:
        return copy_state(thing, SHARED), True
    except Exception:  # any class may refuse in its own way
        return thing, False


def single_loader(loader: object, split: str) -> object:
    """Return the only loader of a collection."""
    if isinstance(loader, CombinedLoader):
        loader = loader.flattened[0] if len(loader.flattened) == 1 else list(loader.flattened)
    parts: Sequence[object] = ()
    if isinstance(loader, dict):
        parts = list(loader.values())
    elif isinstance(loader, list | tuple):
        parts = loader
    if parts and any(isinstance(part, DataLoader | SequentialLoader | ClassBalancedLoader) for part in parts):
        if len(parts) == 1:
            return parts[0]
        raise TypeError(f"there are {len(parts)} {split} loaders; one is needed, e.g. of a ConcatDataset")
    return loader


def _batches(loader: Any, split: str, seed: int, max_bytes: int | None) -> Iterable[object]:
    """Return the batches of a data set, or of a list."""
    if isinstance(loader, list | tuple):
        return loader
    if not (hasattr(loader, "dataset") and hasattr(loader, "collate_fn")):
        raise TypeError(
            f"the {split} loader is a {type(loader).__name__}, which may be readable only once; use a torch DataLoader"
        )
    (dataset, collate), copied = copy_or_same((loader.dataset, loader.collate_fn))
    own: dict[str, Any] = {"collate_fn": collate, "generator": torch.Generator().manual_seed(seed)}
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        if not copied or not hasattr(dataset, "__len__"):
            raise TypeError(
                f"the {split} data set {type(dataset).__name__} can only be iterated"
                + (", and is used up by it" if not copied else " and has no length: it may be endless")
                + "; use a data set with __getitem__ and __len__"
            )
        whole = DataLoader(dataset, batch_size=loader.batch_size, **own)
        return islice(whole, len(dataset) if loader.batch_size is None else -(-len(dataset) // loader.batch_size))
    rows = _rows(loader, split)
    picks: list[Any] = rows.tolist()
    auto = loader.batch_sampler is not None
    if not auto and isinstance(loader.sampler, BatchSampler):  # the data set takes lists of rows
        picks = [picks[start : start + CHUNK] for start in range(0, len(picks), CHUNK)]
    if max_bytes is not None and len(picks) > 1:
        first = next(iter(DataLoader(dataset, sampler=picks[:1], batch_size=1 if auto else None, **own)))
        room = max(1, max_bytes // max(1, _bytes(first)))
        if room < len(picks):
            order = np.random.default_rng(seed).permutation(len(picks))[:room]
            picks = [picks[row] for row in sorted(order.tolist())]
    return DataLoader(dataset, sampler=picks, batch_size=CHUNK if auto else None, **own)


def _rows(loader: Any, split: str) -> Rows:
    """Return the rows of the data set that a loader reads, each once and in order."""
    sampler = loader.sampler if loader.batch_sampler is None else getattr(loader.batch_sampler, "sampler", None)
    sampler = sampler_of_distributed_wrapper(sampler)
    if isinstance(sampler, BatchSampler):
        sampler = sampler.sampler
    if isinstance(sampler, WeightedRandomSampler):
        return np.flatnonzero(np.asarray(sampler.weights) > 0)
    indices = getattr(sampler, "indices", None)
    if indices is not None:
        return np.unique(np.asarray(indices, dtype=np.int64))
    if not hasattr(loader.dataset, "__len__"):
        raise TypeError(f"the {split} data set {type(loader.dataset).__name__} has no length; give it __len__")
    return np.arange(len(loader.dataset))


def _origin(loader: Any) -> tuple[object, Rows] | None:
    """Return the data set below all subsets, and the rows of it that a loader reads."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    dataset: Any = loader.dataset
    rows = _rows(loader, "")
    while isinstance(dataset, Subset):
        rows, dataset = np.asarray(dataset.indices)[rows], dataset.dataset
    return dataset, rows


def _bytes(batch: object) -> int:
    """Return the size of the tensors in a batch."""
    if isinstance(batch, Tensor):
        return batch.numel() * batch.element_size()
    if isinstance(batch, dict):
        batch = list(batch.values())
    return sum(map(_bytes, batch)) if isinstance(batch, list | tuple) else 0
