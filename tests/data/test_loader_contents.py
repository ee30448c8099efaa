"""Data sets behind loaders are read whole, each image once, without a change of the loader."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from lightning_distill import BalancedDataModule
from lightning_distill.utils.state_copy import copy_state

N = 40
X = torch.arange(N * 64, dtype=torch.float32).view(N, 1, 8, 8)
Y = torch.arange(N) % 2
DATA = TensorDataset(X, Y)


class Loaders(LightningDataModule):
    """A data module with the given loaders."""

    def __init__(self, train, val=None):
        super().__init__()
        self.train = train
        if val is not None:
            self.val_dataloader = lambda: val

    def train_dataloader(self):
        return self.train


def rows(images):
    """Row numbers of images of ``X``."""
    return (images[:, 0, 0, 0] / 64).astype(int).tolist()


def splits(train, val=None, **options):
    data = BalancedDataModule(Loaders(train, val), **options)
    data.setup()
    return {split: rows(images) for split, (images, _) in data.splits.items()}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sampler": WeightedRandomSampler(torch.rand(N) + 0.1, 90)}, range(N)),
        ({"sampler": WeightedRandomSampler((torch.arange(N) < 30).float(), 90)}, range(30)),
        ({"sampler": RandomSampler(DATA, num_samples=400, replacement=True)}, range(N)),
        ({"sampler": SubsetRandomSampler(range(5, 30))}, range(5, 30)),
        ({"shuffle": True, "drop_last": True}, range(N)),
        ({"shuffle": True, "num_workers": 1, "persistent_workers": True}, range(N)),
        ({"batch_size": 1, "batch_sampler": BatchSampler(SubsetRandomSampler(range(20)), 7, True)}, range(20)),
        ({"batch_size": None, "sampler": BatchSampler(RandomSampler(DATA), 7, True)}, range(N)),
    ],
)
def test_every_image_of_a_loader_is_read_once_and_none_is_in_two_splits(options, expected):
    found = splits(DataLoader(DATA, **{"batch_size": 16, **options}))
    assert sorted(found["train"] + found["val"]) == list(expected)


def test_two_splits_of_one_data_set():
    train, val = (DataLoader(DATA, 8, sampler=SubsetRandomSampler(part)) for part in (range(30), range(30, N)))
    assert splits(train, val) == {"train": list(range(30)), "val": list(range(30, N))}
    parts = DataLoader(Subset(DATA, range(25))), DataLoader(Subset(Subset(DATA, range(20, N)), range(3, 10)))
    with pytest.raises(ValueError, match="the train and val loaders read 2 common images of one data set; give each"):
        splits(*parts)


class Stream(IterableDataset):
    def __init__(self, count=None):
        self.count, self.asked = count, 0

    def __iter__(self):
        row = 0
        while self.count is None or row < self.count:
            self.asked += 1
            yield X[row % N], Y[row % N]
            row += 1


class Sized(Stream):
    def __len__(self):
        return 30


def test_a_stream_with_a_length_is_read_up_to_it():
    stream = Sized()
    assert sum(map(len, splits(DataLoader(stream, 10)).values())) == 30
    assert stream.asked == 0  # a copy was read


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (DataLoader(Stream(), 8), "Stream can only be iterated and has no length: it may be endless; use a data set"),
        ([DataLoader(DATA), DataLoader(DATA)], "there are 2 train loaders; one is needed, e.g. of a ConcatDataset"),
        ({"a": DataLoader(DATA), "b": DataLoader(DATA)}, "there are 2 train loaders"),
        (iter([(X, Y)]), "the train loader is a .*iterator, which may be readable only once; use a torch DataLoader"),
    ],
)
def test_loaders_that_cannot_be_read_whole_are_refused(train, message):
    with pytest.raises(TypeError, match=message) as refusal:
        splits(train)
    assert "\n" not in str(refusal.value)


def test_images_of_several_shapes_are_refused():
    both = ConcatDataset([TensorDataset(X, Y), TensorDataset(X[..., :4], Y)])
    with pytest.raises(ValueError, match=r"images of several shapes, \[\(1, 8, 4\), \(1, 8, 8\)\]; resize"):
        splits(DataLoader(both, batch_size=None, collate_fn=lambda item: (item[0][None], item[1][None])))


class Noisy(TensorDataset):
    """Transforms that draw from every stream there is."""

    def __init__(self):
        super().__init__(X, Y)
        self.own = np.random.default_rng(0)

    def __getitem__(self, row):
        noise = torch.rand(1) + random.random() + np.random.rand() + self.own.random()
        return X[row] + noise.float(), {"class": Y[row]}


def test_no_stream_of_the_caller_advances():
    torch.manual_seed(0)
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()
    dataset = Noisy()
    wrapped = Loaders(DataLoader(dataset, 8, shuffle=True))
    found = [
        BalancedDataModule(wrapped, seed=seed, batch_transform=lambda b: (b[0], b[1]["class"])).train_arrays()[0]
        for seed in (0, 0, 1)
    ]
    assert state == (random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist())
    assert dataset.own.random() == np.random.default_rng(0).random()
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_dict_batches():
    class Dicts(TensorDataset):
        def __getitem__(self, row):
            return {"image": X[row], "label": Y[row], "path": "a"}

    found = splits(DataLoader(Dicts(X, Y), 8), batch_keys=("image", "label"))
    assert sorted(found["train"] + found["val"]) == list(range(N))
    with pytest.raises(TypeError, match=r"the train loader yields dict; .* batch_keys=\('image', 'label'\)"):
        splits(DataLoader(Dicts(X, Y), 8))


def test_a_copy_of_state_shares_arrays_but_not_counters():
    class Holder:
        def __init__(self):
            self.parts = {"x": [X, np.zeros(3)]}
            self.rng, self.torch = random.Random(0), torch.Generator().manual_seed(3)
            self.method = self.draw
            self.count = 0

        def draw(self):
            self.count += 1
            return self.rng.random(), torch.rand(1, generator=self.torch).item()

    holder = Holder()
    copied = copy_state(holder)
    assert copied.parts["x"][0] is X
    assert copied.parts["x"][1] is holder.parts["x"][1]
    assert copied.method() == holder.method()
    assert (copied.count, holder.count) == (1, 1)
    with pytest.raises(TypeError):
        copy_state(iter(range(3)).__iter__ and (number for number in range(3)))
