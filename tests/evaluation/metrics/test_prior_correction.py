"""Class shares: corrected after training, or weighted while it goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill import ArrayDataModule, DMDistiller, evaluate
from lightning_distill.evaluation.baselines import class_weighted_full_data, full_data
from lightning_distill.evaluation.metrics.prior_correction import class_priors, prior_offset
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec

SPEC = DataSpec("x", (1, 8, 8), ("a", "b", "c"), (0.0,), (1.0,))


def test_the_offset_is_bayes_rule():
    random = np.random.default_rng(0)
    likelihood = random.dirichlet(np.ones(20), 3)  # p(x | y) of 20 different images
    learned, real = np.array([1, 1, 1]) / 3, np.array([0.7, 0.2, 0.1])
    posterior = {name: likelihood * prior[:, None] for name, prior in (("learned", learned), ("real", real))}
    posterior = {name: (joint / joint.sum(0)).T for name, joint in posterior.items()}  # p(y | x) under either prior
    offset = prior_offset(torch.from_numpy(learned), torch.from_numpy(real))
    corrected = (torch.from_numpy(posterior["learned"]).log() + offset).softmax(1)
    np.testing.assert_allclose(corrected.numpy(), posterior["real"], rtol=1e-5)
    assert torch.equal(prior_offset(torch.from_numpy(real), torch.from_numpy(real)), torch.zeros(3))
    with pytest.raises(ValueError, match="prior correction needs at least one image"):
        prior_offset(torch.tensor([0.5, 0.5, 0.0]), torch.from_numpy(real))


def test_weights_make_classes_count_the_same():
    labels = np.array([0] * 8 + [1] * 3 + [2])
    real = np.zeros((12, 1, 8, 8), np.uint8), labels
    whole, weighted = full_data(real, SPEC)(0), class_weighted_full_data(real, SPEC)(0)
    torch.testing.assert_close(class_priors(whole), torch.tensor([8, 3, 1]).double() / 12)
    torch.testing.assert_close(class_priors(weighted), torch.full((3,), 1 / 3).double())
    logits = torch.randn(12, 3)
    loss = torch.nn.functional.cross_entropy(logits, weighted.targets)
    own = torch.tensor([12 / (3 * 8), 12 / (3 * 3), 12 / 3])[torch.from_numpy(labels)]
    expected = (own * torch.nn.functional.cross_entropy(logits, whole.labels, reduction="none")).mean()
    torch.testing.assert_close(loss, expected)


@pytest.fixture
def uneven():
    """Two classes that overlap, nine images of the one for each of the other."""

    def split(count, seed):
        random = np.random.default_rng(seed)
        labels = (np.arange(count) % 10 == 0).astype(np.int64)
        images = random.normal(100, 40, (count, 8, 8)) + 14 * labels[:, None, None] * (np.arange(8) > 3)
        return images.clip(0, 255).astype(np.uint8), labels

    return ArrayDataModule(split(200, 0), split(200, 1), split(400, 2), name="uneven", augmentation="none")


@pytest.mark.filterwarnings("ignore")
def test_corrected_students_find_the_rare_class_less_often(uneven):
    options = {"protocol": "quick", "students": 2, "architectures": ["convnet_w16"], "accelerator": "cpu"}
    (plain,) = evaluate(data=uneven, ipc=10, baselines=["random"], **options)
    (corrected,) = evaluate(data=uneven, ipc=10, baselines=["random"], prior_correction=True, **options)
    assert corrected.acc > plain.acc
    assert corrected.balanced_acc < plain.balanced_acc + 0.02
    assert "--prior_correction true" in corrected.command
    with pytest.raises(ValueError, match="prior_correction cannot be combined with map_classes"):
        evaluate(data=uneven, ipc=1, baselines=["random"], prior_correction=True, map_classes={"0": "1"})


def test_a_set_in_the_ratio_of_the_classes(uneven, make_trainer):
    assert SyntheticSet.from_real_data(
        *uneven.train_arrays(), uneven.spec, 5, "real", 0, class_ratio="natural"
    ).counts == [9, 1]
    distiller = DMDistiller(ipc=5, network="convnet_w16", class_ratio="natural")
    make_trainer(2).fit(distiller, datamodule=uneven)
    assert distiller.synthetic.counts == [9, 1]
