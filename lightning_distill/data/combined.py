"""Several data sets as one, the source being the class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.utils.lazy_arrays import concatenate, take
from lightning_distill.utils.rng import derive_seed


class CombinedDataModule(ArrayDataModule):
    """Images of several sources, and the question which source an image is from: as many images of each in every split.

    A set distilled from it shows what tells the sources apart: scanners, sites, organs.

    Args:
        sources: data modules of images of one shape and pixel type; their names are the classes.
        per_source: training images of each source, drawn at random; ``None`` takes as many as the smallest has. Val and
            test have as many of each as the smallest has there.
        augmentation: a preset of `presets.PRESETS` that is valid for the images of every source.
        real_per_class: real images of each source in a training batch.
        batch_size: images in a validation or test batch.
        steps_per_epoch: batches between two validations, see `ArrayDataModule`.
        seed: of the choice of images and of the draws.

    Raises:
        ValueError: fewer than two sources, two of one name, shapes or pixel types that differ, ``per_source`` above
            what the smallest has.
    """

    def __init__(
        self,
        sources: list[ArrayDataModule],
        per_source: int | None = None,
        augmentation: str = "dsa",
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        if len(sources) < 2:
            raise ValueError(f"{len(sources)} source; give at least two to tell apart")
        super().__init__(
            name="combined",
            augmentation=augmentation,
            channels="first",
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            seed=seed,
        )
        self.sources, self.per_source = sources, per_source

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Equal shares of every source in every split that all sources have."""
        specs = [source.spec for source in self.sources]
        names = [spec.name for spec in specs]
        if double := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two sources are called {double!r}; every source is a class and needs a name of its own")
        for what in ("shape", "pixel"):
            if len({getattr(spec, what) for spec in specs}) > 1:
                found = ", ".join(f"{spec.name} {getattr(spec, what)}" for spec in specs)
                raise ValueError(f"sources differ in {what}: {found}; bring them to one size and pixel type")
        self._class_names = names
        self._about = (
            "+".join(names),
            None,
            self._about[2],
            " + ".join(dict.fromkeys(spec.license for spec in specs)),
            " + ".join(dict.fromkeys(spec.source for spec in specs)),
        )
        return {split: self._share(split) for split in ("train", "val", "test")}

    def _share(self, split: str) -> tuple[Array, Array] | None:
        parts = [source.splits.get(split) for source in self.sources]
        held = [part[0] for part in parts if part is not None]
        if len(held) < len(parts):
            return None
        smallest = min(map(len, held))
        count = self.per_source if split == "train" and self.per_source is not None else smallest
        if count > smallest:
            raise ValueError(f"per_source={count}, but the smallest source has {smallest} {split} images; lower it")
        chosen = [take(images, self._rows(split, number, len(images), count)) for number, images in enumerate(held)]
        return concatenate(chosen), np.repeat(np.arange(len(chosen)), count)

    def _rows(self, split: str, number: int, there: int, count: int) -> NDArray[np.int64]:
        random = np.random.default_rng(derive_seed("combined", split, number, self.seed))
        return np.sort(random.choice(there, count, replace=False))
