"""Tests of ``BalancedDataModule`` and ``require_array_datamodule``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import ArrayDataModule, BalancedDataModule
from lightning_distill.data import require_array_datamodule

X = torch.arange(30 * 2 * 5 * 6, dtype=torch.float32).view(30, 2, 5, 6) / 100
Y = torch.arange(30) % 3


class Plain(LightningDataModule):
    """A user's data module; what each loader yields is in ``parts``."""

    def __init__(self, x=X, y=Y, **loader):
        super().__init__()
        self.parts, self.loader, self.stages = (x, y), loader, []

    def prepare_data(self):
        self.stages.append("prepare")

    def setup(self, stage):
        self.stages.append(stage)

    def train_dataloader(self):
        return DataLoader(TensorDataset(*self.parts), batch_size=7, **self.loader)


class Whole(Plain):
    """The same with validation and test loaders."""

    def val_dataloader(self):
        return DataLoader(TensorDataset(self.parts[0][:9] + 1, self.parts[1][:9]), batch_size=4)

    def test_dataloader(self):
        return DataLoader(TensorDataset(self.parts[0][:6] + 2, self.parts[1][:6]), batch_size=4)


def test_every_split_with_a_loader_is_read_once_and_whole():
    data = BalancedDataModule(Whole())
    data.setup()
    for split, expected in (("train", X), ("val", X[:9] + 1), ("test", X[:6] + 2)):
        np.testing.assert_array_equal(data.splits[split][0], expected.numpy())
        np.testing.assert_array_equal(data.splits[split][1], Y[: len(expected)].numpy())
    assert data.spec.shape == (2, 5, 6)
    assert data.spec.storage_dtype == "float16"


def test_a_missing_validation_loader_means_a_carved_out_split():
    data = BalancedDataModule(Plain(), val_fraction=0.2)
    data.setup()
    assert {split: len(labels) for split, (_, labels) in data.splits.items()} == {"train": 24, "val": 6}
    assert np.bincount(data.splits["val"][1]).tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="no test split"):
        data.test_dataloader()


def test_the_wrapped_module_is_prepared_and_set_up_before_its_loaders_are_read():
    wrapped = Whole()
    BalancedDataModule(wrapped).setup()
    assert wrapped.stages[0] == "prepare"
    assert {"fit", "test"} <= set(wrapped.stages)


def test_draws_are_balanced():
    x, y = BalancedDataModule(Whole(), real_per_class=4).train_dataloader().batch(0)
    assert y.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for image, label in zip(x, y, strict=True):
        assert Y[int((image == X).all((1, 2, 3)).nonzero())] == label


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_the_loaders_dtype_is_kept(dtype):
    data = BalancedDataModule(Whole((X * 10).to(dtype)))
    assert data.train_dataloader().batch(0)[0].dtype == dtype
    assert data.spec.storage_dtype == ("uint8" if dtype == torch.uint8 else "float16")


def test_names_come_from_the_arguments_then_from_the_wrapped_module():
    named = Whole()
    named.class_names = ["ant", "bee", "cat"]
    assert BalancedDataModule(named).spec.class_names == ("ant", "bee", "cat")
    assert BalancedDataModule(named, class_names=["x", "y", "z"]).spec.class_names == ("x", "y", "z")
    assert BalancedDataModule(Whole()).spec.class_names == ("0", "1", "2")
    assert BalancedDataModule(Whole()).spec.name == "Whole"
    assert BalancedDataModule(Whole(), name="mine").spec.name == "mine"


def test_a_shuffling_loader_is_read_in_order_and_leaves_the_global_stream_alone():
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    for seed in (0, 1):
        read = BalancedDataModule(Whole(shuffle=True, drop_last=True), seed=seed).train_arrays()[0]
        np.testing.assert_array_equal(read, X.numpy())
    assert torch.equal(before, torch.random.get_rng_state())


class Other(Plain):
    """A loader that yields the datamodule batches."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def train_dataloader(self):
        return self.batches


@pytest.mark.parametrize(
    ("batch", "kind"),
    [
        ({"x": X, "y": Y}, "dict"),
        ((X, Y, Y), "tuple"),
        ((X,), "tuple"),
        (X[:2], "Tensor"),
        ((X.numpy(), Y.numpy()), "tuple"),
        ([X, Y.tolist()], "list"),
        (3, "int"),
    ],
    ids=["dict", "three", "one", "tensor", "numpy", "labels as a list", "number"],
)
def test_batches_that_are_not_two_tensors_are_refused(batch, kind):
    with pytest.raises(
        TypeError, match=rf"the train loader yields {kind}; it must yield \(images, labels\) as two tensors"
    ):
        BalancedDataModule(Other([batch])).setup()


def test_an_empty_loader_is_refused():
    with pytest.raises(ValueError, match="the train loader yields no batches"):
        BalancedDataModule(Other([])).setup()


def test_a_module_without_a_training_loader_is_refused():
    with pytest.raises(ValueError, match="no training images"):
        BalancedDataModule(LightningDataModule()).setup()


def test_modules_made_by_from_datasets_are_read():
    made = LightningDataModule.from_datasets(TensorDataset(X, Y), TensorDataset(X[:6], Y[:6]), batch_size=8)
    data = BalancedDataModule(made)
    data.setup()
    assert len(data.splits["train"][1]) == 30
    assert len(data.splits["val"][1]) == 6


def test_a_distiller_draws_from_our_data_modules():
    for data in (ArrayDataModule((X.numpy(), Y.numpy()), channels="first"), BalancedDataModule(Whole())):
        assert require_array_datamodule(data) is data


@pytest.mark.parametrize(("datamodule", "message"), [(None, "no data module was passed"), (Plain(), "Plain has none")])
def test_other_data_modules_are_refused_with_the_way_to_wrap_them(datamodule, message):
    with pytest.raises(TypeError, match=rf"{message}. Use .*BalancedDataModule\(your_datamodule\)"):
        require_array_datamodule(datamodule)
