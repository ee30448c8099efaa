"""Check that sets, networks and data modules are of the same data."""

from __future__ import annotations

from lightning_distill.spec import DataSpec


def check_same_data(ours: DataSpec, theirs: DataSpec, who: str, whose: str, advice: str) -> None:
    """Raise ValueError if two specifications differ in classes, image shape, task or pixel type.

    Args:
        ours: First specification.
        theirs: Second specification.
        who: Name of the first in the message.
        whose: Name of the second in the message.
        advice: Way out, the end of the message.
    """
    for what, left, right in (
        ("images (C, H, W)", ours.shape, theirs.shape),
        ("classes", ", ".join(ours.class_names), ", ".join(theirs.class_names)),
        ("task", ours.task, theirs.task),
        ("pixel type", ours.storage_dtype, theirs.storage_dtype),
    ):
        if left != right:
            raise ValueError(f"{who} and {whose} differ in {what}: {left} and {right}; {advice}")
