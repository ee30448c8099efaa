"""``CombinedDataModule``: several data sets as one, with the source data set of an image as its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.utils.lazy_arrays import concatenate, take
from lightning_distill.utils.rng import derive_seed


class CombinedDataModule(ArrayDataModule):
    """Source classification: images of several data sets, labeled by data set, in equal numbers in every split.

    A set distilled from it shows the differences between the sources, such as scanners, sites or organs.

    Args:
        sources: Data modules with images of one shape and pixel type. Their names become the class names.
        per_source: Number of training images drawn at random from each source. ``None`` takes the size of the smallest
            source. Validation and test always take the size of the smallest source in that split.
        augmentation: Name of a siamese augmentation in `presets.PRESETS` that is valid for the images of all sources.
        real_per_class: Number of real images of each source in a training batch.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of training batches between two validations. ``None`` validates five times in
            ``Trainer(max_steps=n)`` if n is divisible by 5, else once, at the end.
        seed: Seed of the drawn images and of the batches.

    Raises:
        ValueError: If there are fewer than two sources, and on first use if two sources have one name, shapes or pixel
            types differ, or ``per_source`` exceeds the size of the smallest source.

    Example:
        >>> from lightning_distill import ArrayDataModule
        >>> images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2
        >>> sources = [ArrayDataModule((images, labels), name=name) for name in ("scanner_a", "scanner_b")]
        >>> CombinedDataModule(sources, per_source=10).spec.class_names
        ('scanner_a', 'scanner_b')
    """

    def __init__(
        self,
        sources: Sequence[ArrayDataModule],
        per_source: int | None = None,
        *,
        augmentation: str = "dsa",
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        if len(sources) < 2:
            raise ValueError(f"{len(sources)} source; pass at least two")
        super().__init__(
            name="combined",
            augmentation=augmentation,
            channels="first",
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            seed=seed,
        )
        self.sources, self.per_source = list(sources), per_source

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Draw equal numbers of images of every source, for each split that all sources have.

        Returns:
            Images, and the number of the source as label, by split.
        """
        specs = [source.spec for source in self.sources]
        names = [spec.name for spec in specs]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two sources have the name {repeated!r}; set name= of each source, it becomes a class")
        for field, caption in (("shape", "shape"), ("storage_dtype", "pixel type")):
            if len({getattr(spec, field) for spec in specs}) > 1:
                values = ", ".join(f"{spec.name} {getattr(spec, field)}" for spec in specs)
                raise ValueError(f"sources differ in {caption}: {values}; convert them to one size and pixel type")
        self._class_names = names
        self._info = replace(
            self._info,
            name="+".join(names),
            license=" + ".join(dict.fromkeys(spec.license for spec in specs)),
            source=" + ".join(dict.fromkeys(spec.source for spec in specs)),
            resize=specs[0].resize if len({spec.resize for spec in specs}) == 1 else "",
        )
        return {split: self._draw(split) for split in ("train", "val", "test")}

    def _draw(self, split: str) -> tuple[Array, Array] | None:
        """Images and source numbers of one split, or ``None`` if a source does not have the split."""
        images = [source.splits[split][0] for source in self.sources if split in source.splits]
        if len(images) < len(self.sources):
            return None
        smallest = min(map(len, images))
        count = self.per_source if split == "train" and self.per_source is not None else smallest
        if count > smallest:
            raise ValueError(f"per_source={count}, but the smallest source has {smallest} {split} images; lower it")
        drawn = [take(array, self._rows(split, number, len(array), count)) for number, array in enumerate(images)]
        return concatenate(drawn), np.repeat(np.arange(len(drawn)), count)

    def _rows(self, split: str, number: int, size: int, count: int) -> NDArray[np.int64]:
        """Sorted numbers ``(count,)`` of the images drawn from source ``number``, which has ``size`` images."""
        random = np.random.default_rng(derive_seed("combined", split, number, self.seed))
        return np.sort(random.choice(size, count, replace=False))
