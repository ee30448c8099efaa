"""Check of labels: classes without images, and soft labels that name another class than the label."""

from __future__ import annotations

import torch

from lightning_distill.sets.inspection.check import CERTAIN, CheckedImages, CheckResult, Finding, listed

NAME = "labels"


def check_labels(images: CheckedImages) -> CheckResult:
    """Compare soft labels with labels, and count the images of each class.

    Soft labels of teachers differ from the label where teachers err, so a few are usual.

    Args:
        images: Images of the set.
    """
    data, spec = images.data, images.spec
    findings = []
    rows = spec.targets(images.groups)
    held = rows.sum(0) if spec.multi_label else torch.bincount(images.groups, minlength=spec.num_classes)
    if empty := [name for name, count in zip(spec.class_names, held.tolist(), strict=True) if not count]:
        text = f"no image of {', '.join(empty)}; networks are not trained on {'it' if len(empty) == 1 else 'them'}"
        findings.append(Finding(NAME, text, CERTAIN))
    soft, note = data.soft_labels, "the set has no soft labels to compare with"
    if soft is not None:
        if spec.multi_label:
            wrong = ((soft > 0.5) != rows.bool()).any(1)
            what = "a label on the other side of 0.5 than the 0/1 row"
        else:
            wrong = soft.argmax(1) != images.groups
            what = "their largest soft label in another class than the label"
        note = f"soft labels of {len(soft)} images compared with the labels"
        if count := int(wrong.sum()):
            numbers = wrong.nonzero().flatten().tolist()
            text = f"{count} of {len(soft)} images have {what}: {listed(numbers)}"
            findings.append(Finding(NAME, text, CERTAIN, tuple(numbers)))
    return CheckResult(findings, note)
