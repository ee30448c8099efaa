"""``BatchFormat``: take images and labels out of the batches of any data loader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

#: Keys, field names or positions of the images and of the labels in a batch.
BatchKeys = Sequence[str | int]
#: Function from a batch to a pair of images and labels.
BatchTransform = Callable[[Any], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class BatchFormat:
    """Place of images and labels in a batch.

    Args:
        keys: Two keys of a dict, field names of a named tuple or an object, or positions in a tuple: that of the
            images, and that of the labels. ``None`` takes batches of two tensors.
        transform: Function that returns images and labels of a batch, instead of ``keys``.

    Raises:
        ValueError: Not two keys, or both arguments.

    Example:
        >>> import torch
        >>> images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
        >>> BatchFormat(("image", "label"))({"label": labels, "image": images, "id": ["a", "b"]}, "val")[1]
        tensor([0, 1])
    """

    keys: BatchKeys | None = None
    transform: BatchTransform | None = None

    def __post_init__(self) -> None:
        if self.keys is not None and self.transform is not None:
            raise ValueError("batch_keys and batch_transform exclude each other; use one of them")
        if self.keys is not None and (isinstance(self.keys, str) or len(self.keys) != 2):
            raise ValueError(f"batch_keys={self.keys!r}; give two, of the images and of the labels: ('image', 'label')")

    def __call__(self, batch: object, split: str) -> tuple[Tensor, Tensor]:
        """Return images ``(B, C, H, W)`` and labels of a batch.

        Args:
            batch: Batch of a loader.
            split: Name of the split in error messages.

        Raises:
            TypeError: The batch, or the result of ``transform``, is no pair of tensors.
            ValueError: The batch has no such key, or the images are not of four dimensions.
        """
        pair = batch
        if self.transform is not None:
            pair = self.transform(batch)
        elif self.keys is not None:
            pair = tuple(_item(batch, key, split) for key in self.keys)
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(item, Tensor) for item in pair)):
            source = f"the {split} loader yields" if self.transform is None else "batch_transform returns"
            hint = "" if self.transform is not None else f"; else give {_hint(batch)} or batch_transform=..."
            kind = type(pair if self.keys is None else batch).__name__
            raise TypeError(f"{source} {kind}; it must yield (images, labels) as two tensors{hint}")
        images, labels = (item.detach().as_subclass(Tensor) for item in pair)
        if images.ndim != 4 or labels.ndim == 0 or len(images) != len(labels):
            shapes = f"{tuple(images.shape)} and {tuple(labels.shape)}"
            raise ValueError(
                f"the {split} loader yields images and labels of the shapes {shapes}; give (B, C, H, W) and (B,), "
                "e.g. by batch_transform=..."
            )
        return images, labels


def _item(batch: object, key: str | int, split: str) -> object:
    """Return an item of a dict or sequence, or an attribute."""
    try:
        if isinstance(key, str) and not isinstance(batch, Mapping):
            return getattr(batch, key)
        return batch[key]  # type: ignore[index]
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        content = f"the keys {list(batch)}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
        raise ValueError(f"batch_keys: the {split} loader's batch has no {key!r}; it is or has {content}") from error


def _hint(batch: object) -> str:
    """Return the argument ``batch_keys`` with names that the batch has."""
    names: Sequence[object] = getattr(batch, "_fields", ())
    if isinstance(batch, Mapping):
        names = [key for key, value in batch.items() if isinstance(value, Tensor)] or list(batch)
    elif isinstance(batch, list | tuple) and not names:
        names = range(len(batch))
    return f"batch_keys={tuple(names[:2])!r}" if len(names) >= 2 else "batch_keys=('image', 'label')"
