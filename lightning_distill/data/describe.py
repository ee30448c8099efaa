"""Build the `DataSpec` of checked splits from their pixels and labels, and from what is known without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_distill.data.checks.arrays import pixel_statistics
from lightning_distill.data.checks.label_combinations import frequent_combinations
from lightning_distill.data.checks.splits import Split, check_splits
from lightning_distill.spec import FLOAT16_MAX, DataSpec, Task

#: Number and length of the class names that `summary` lists.
LISTED, LONGEST = 10, 30


@dataclass(frozen=True)
class DataInfo:
    """Description of a data set that does not depend on its pixels.

    Args:
        name: Name of the data set in cards and tables.
        task: Task of the labels. ``None`` infers it from the labels.
        augmentation: Name of a siamese augmentation in `presets.PRESETS` that is valid for the images.
        license: License of the data.
        source: Origin of the data, shown in cards and tables.
        resize: Method by which images were brought to one size, see `DataSpec.resize`.
    """

    name: str
    task: Task | None
    augmentation: str
    license: str
    source: str
    resize: str = ""


def summary(info: DataInfo, spec: DataSpec | None, splits: Mapping[str, Split]) -> str:
    """Describe a data module in one line.

    Args:
        info: Description that does not depend on pixels.
        spec: Specification of the data; ``None`` if they are not loaded.
        splits: Images and labels by split.
    """
    if spec is None:
        return f"{info.name}, not loaded yet: .splits or .spec loads it"
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..." for name in spec.class_names[:LISTED]]
    more = ", ..." if spec.num_classes > LISTED else ""
    counts = ", ".join(f"{split} {len(labels):,}" for split, (_, labels) in splits.items())
    shape = "x".join(map(str, spec.shape))
    return (
        f"{spec.name}, {shape} {spec.storage_dtype}, {spec.num_classes} classes: {', '.join(names)}{more}; "
        f"{counts or 'no images'}; {spec.task}, {spec.source}"
    )


def describe(
    info: DataInfo,
    splits: Mapping[str, Split],
    class_names: Sequence[str] | None = None,
    min_combination: int | None = None,
) -> DataSpec:
    """Build the specification of checked splits.

    Args:
        info: Description that does not depend on pixels.
        splits: Images ``(N, C, H, W)`` and labels ``(N,)`` or 0/1 targets ``(N, L)`` by split, with ``train``.
        class_names: Name of each class. ``None`` takes ``"0"``, ``"1"``, ...
        min_combination: Smallest number of training images of a label combination, see `DataSpec.combinations`.

    Raises:
        ValueError: The class names do not match the labels, there is one class only, the splits do not match, or pixel
            values do not fit float16.
    """
    task, (images, labels) = info.task, splits["train"]
    if labels.ndim == 2:
        task, classes = "multi-label", labels.shape[1]
    else:
        classes = len(class_names) if class_names is not None else int(labels.max()) + 1
    names = tuple(class_names) if class_names is not None else tuple(map(str, range(classes)))
    if len(names) != classes:
        raise ValueError(f"{classes} classes but {len(names)} class names: {', '.join(names)}")
    if classes < 2:
        raise ValueError(f"{info.name} has one class only ({names[0]!r}); distillation needs at least two")
    check_splits(splits, classes, names)
    mean, std, low, high = pixel_statistics(images)
    is_uint8 = images.dtype == np.uint8
    if (largest := max(-low, high)) > FLOAT16_MAX:
        raise ValueError(
            f"pixel values reach {largest:g}, but float16 holds at most {FLOAT16_MAX:g}; divide the images of all "
            "splits by one number"
        )
    return DataSpec(
        name=info.name,
        shape=(images.shape[1], images.shape[2], images.shape[3]),
        class_names=names,
        mean=mean,
        std=std,
        min_value=0.0 if is_uint8 else low,
        max_value=255.0 if is_uint8 else high,
        storage_dtype="uint8" if is_uint8 else "float16",
        task=task or ("binary" if classes == 2 else "multi-class"),
        augmentation=info.augmentation,
        license=info.license,
        source=info.source,
        combinations=() if labels.ndim == 1 else frequent_combinations(labels, min_combination),
        resize=info.resize,
    )
