"""KRR on every task: the targets of the regression, and runs with hard and with learned labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lightning_distill import ArrayDataModule, KRRDistiller
from lightning_distill.distillers.krr import regression_targets
from lightning_distill.spec import DataSpec

SMALL = {"network": "convnet_w16", "pool_size": 2, "max_age": 3}


def spec_of(task, classes=3, **options):
    names = tuple(map(str, range(classes)))
    return DataSpec("toy", (1, 8, 8), names, (0.0,), (1.0,), task=task, **options)


def test_regression_targets_of_every_task():
    labels = torch.tensor([0, 1, 2])
    several = regression_targets(labels, spec_of("multi-class"))
    torch.testing.assert_close(several, torch.eye(3) - 1 / 3)
    two = regression_targets(torch.tensor([0, 1]), spec_of("binary", 2))
    assert two.tolist() == [[0.5, -0.5], [-0.5, 0.5]]
    ordinal = regression_targets(labels, spec_of("ordinal"))
    above = np.array([[0, 0], [1, 0], [1, 1]])
    np.testing.assert_allclose(ordinal.numpy(), above - above.mean(0), rtol=1e-5)
    spec = spec_of("multi-label", combinations=((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1)))
    rows = torch.tensor(spec.combinations).float()
    torch.testing.assert_close(regression_targets(rows, spec), rows - torch.tensor([0.5, 0.25, 0.25]))
    for task in ("multi-class", "ordinal"):  # probabilities of one are hard labels
        one_hot = F.one_hot(labels, 3).float()
        torch.testing.assert_close(
            regression_targets(one_hot, spec_of(task)), regression_targets(labels, spec_of(task))
        )


@pytest.mark.parametrize("soft_labels", [False, True])
@pytest.mark.parametrize("task", ["binary", "multi-class", "ordinal", "multi-label"])
def test_every_task_is_distilled(task, soft_labels, make_data, make_trainer):
    classes = 2 if task == "binary" else 3
    images, labels = make_data(num_classes=classes).train_arrays()
    rows = np.eye(3, dtype=np.int64)[labels] if task == "multi-label" else labels
    options = {"real_per_class": 4, "augmentation": "none", "task": task, "min_combination": None}
    if task == "multi-label":
        options["min_combination"] = 2
    data = ArrayDataModule((images[:, 0], rows), (images[:, 0], rows), **options)
    distiller = KRRDistiller(ipc=2, soft_labels=soft_labels, soft_lr=0.1, **SMALL)
    make_trainer().fit(distiller, datamodule=data)
    assert data.spec.task == task
    begun = distiller.init_synthetic(data)
    assert not torch.equal(begun.images, distiller.synthetic.images)
    if not soft_labels:
        assert distiller.synthetic.soft_label_logits is None
        return
    learned, first = distiller.synthetic.targets(), begun.targets()
    hard = first > 0.5
    assert torch.equal(hard, F.one_hot(begun.labels, 3)[:, :classes].bool() if task != "multi-label" else hard)
    assert (learned - first).abs().max() > 1e-3
    if task != "multi-label":
        torch.testing.assert_close(learned.sum(1), torch.ones(len(learned)))
