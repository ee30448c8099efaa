"""Warnings at fit time of what makes a set reveal more of its training images."""

from __future__ import annotations

import warnings

import pytest
import torch

from lightning_distill import DMDistiller
from lightning_distill.distillers._validation import exposure_reasons
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec

SPEC = DataSpec("x", (1, 8, 8), ("nevus", "melanoma"), (0.0,), (1.0,))


def reasons(init="noise", ipc=2, counts=(1000, 400), soft=False):
    synthetic = SyntheticSet(torch.arange(2).repeat_interleave(ipc), SPEC)
    if soft:
        synthetic.add_learnables(torch.zeros(2 * ipc, 2))
    labels = torch.arange(2).repeat_interleave(torch.tensor(counts)).numpy()
    return exposure_reasons(init, synthetic, labels)


def test_each_reason_is_named_alone():
    assert reasons() == []
    assert reasons(init="herding") == ["it starts from real images (init='herding')"]
    assert reasons(ipc=50) == ["50 images stand for the 400 of class 'melanoma'"]
    assert reasons(counts=(1000, 30)) == ["class 'melanoma' has 30 training images"]
    assert reasons(soft=True) == ["it holds soft labels"]
    assert reasons(ipc=10, counts=(1000, 30)) == ["10 images stand for the 30 of class 'melanoma'"]


def test_fit_warns_in_one_line_with_the_command(make_data, make_trainer):
    with pytest.warns(UserWarning, match="the set may show training images") as seen:
        make_trainer(1).fit(DMDistiller(ipc=1, network="convnet_w16", formation=1), datamodule=make_data(per_class=60))
    texts = [str(one.message) for one in seen if "may show" in str(one.message)]
    assert len(texts) == 1
    assert "\n" not in texts[0]
    assert "lightning-distill audit-set" in texts[0]


def test_a_set_from_noise_of_large_classes_and_a_trial_run_do_not_warn(make_data, make_trainer):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the set may show")
        quiet = DMDistiller(ipc=1, network="convnet_w16", formation=1, init="noise")
        make_trainer(1).fit(quiet, datamodule=make_data(per_class=60))
        make_trainer(1, fast_dev_run=1).fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=make_data())
