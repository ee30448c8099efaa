"""The run of a foreign project is bit-identical with and without `StudentEvaluation`, for a matrix of projects."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import weakref
from collections import namedtuple

import numpy as np
import pytest
import torch
from conftest import TESTS
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, StochasticWeightAveraging, WeightAveraging
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from lightning_distill import DMDistiller, StudentEvaluation
from lightning_distill.evaluation import Protocol, coreset_sampler

N = 64
Y = torch.arange(N) % 2
X = torch.randn(N, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + Y[:, None, None, None]
REAL = TensorDataset(X, Y)
PROTOCOL = Protocol("two", 2, lr=0.02, augmentation="none")
Pair = namedtuple("Pair", "pixels target")


def students(**options):
    options = {"synthetic_set": (X[:10], Y[:10]), "students": 1, "architectures": ["convnet_w16"], **options}
    return StudentEvaluation(PROTOCOL, **options)


class Net(LightningModule):
    """A foreign model that writes down every batch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 2)
        self.seen = []

    def pair(self, batch):
        return batch[0], batch[1]

    def loss(self, batch, what):
        x, y = self.pair(batch)
        self.seen.append((what, x.double().sum().item(), y.double().sum().item(), torch.is_grad_enabled()))
        x = x.to(self.layer.weight.dtype).flatten(1)
        logits = self.layer(x) + 0 * torch.rand(1, device=x.device).to(x.dtype)  # a draw of the global stream
        return torch.nn.functional.cross_entropy(logits.float(), y.long().flatten())

    def training_step(self, batch, batch_idx):
        return self.loss(batch, "train")

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val/loss", self.loss(batch, f"val {dataloader_idx}"), batch_size=8)

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("test/loss", self.loss(batch, f"test {dataloader_idx}"), batch_size=8)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class OwnNames(Net):
    """Logs names that a distiller has, in a step and at the end of an epoch."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("val/acc", 0.123)
        self.log("val/auroc", float(batch_idx))

    def on_validation_epoch_end(self):
        self.log("val/balanced_acc", 0.25)


class DictNet(Net):
    def pair(self, batch):
        return batch["image"], batch.pop("label")  # a step may take its batch apart


class InPlace(Net):
    """Changes its batches in place."""

    def pair(self, batch):
        return batch[0].mul_(2), batch[1]


class Hooks(Net):
    """Normalises on the device."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return (batch[0].float() / 255 - 0.5) / 0.2, batch[1]


class Manual(Net):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch, "train"))
        optimizer.step()


class FetchingNet(Net):
    def validation_step(self, dataloader_iter):
        batch, _, _ = next(dataloader_iter)
        self.log("val/loss", self.loss(batch, "val"), batch_size=8)


class Items(Dataset):
    """Items of any form, with transforms of numpy, ``random`` and a generator of the data set."""

    def __init__(self, form=lambda x, y: (x, y), images=X, noise=False):
        self.form, self.images, self.noise = form, images, noise
        self.generator, self.count = np.random.default_rng(0), 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        image = self.images[row]
        if self.noise:
            self.count += 1
            draws = np.random.rand() + random.random() + self.generator.random() + torch.rand(1).item()
            image = image + draws + self.count % 3
        return self.form(image, Y[row])


class Stream(IterableDataset):
    """A stream that may be endless, sized, or readable only once."""

    def __init__(self, endless=False, once=False):
        self.endless = endless
        self.source = iter(range(48)) if once else None

    def __iter__(self):
        rows = self.source if self.source is not None else iter(range(N))
        while True:
            for row in rows:
                yield X[row], Y[row]
            if not self.endless:
                return
            rows = iter(range(N))


class Sized(Stream):
    def __len__(self):
        return N


class Alternating(Sampler):
    """A sampler of somebody's own, with a stream of its own."""

    def __init__(self):
        self.random = random.Random(3)

    def __len__(self):
        return 32

    def __iter__(self):
        return iter(self.random.choices(range(N), k=32))


class Module(LightningDataModule):
    """A data module that has training data in fit only."""

    calls = 0

    def setup(self, stage):
        self.calls += 1
        if stage == "fit":
            self.train = Items(noise=True)

    def train_dataloader(self):
        self.calls += 1
        return DataLoader(self.train, 8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(REAL, 8)

    test_dataloader = val_dataloader


def gray(images=X):
    return ((images - images.min()) / (images.max() - images.min()) * 255).to(torch.uint8)


def loader(dataset=REAL, **options):
    return DataLoader(dataset, **{"batch_size": 8, **options})


def own_generator():
    return torch.Generator().manual_seed(5)


def as_dict(x, y):
    return {"image": x, "label": y, "id": "name"}


GRAY = TensorDataset(gray(), Y)
TARGETS = torch.stack([Y, 1 - Y], 1)
MULTI = TensorDataset(X, TARGETS)


class MultiLabel(Net):
    def pair(self, batch):
        return batch[0], batch[1][:, 0]


# name: (module, training data, validation data, options of the Trainer, options of the callback, is there a gain)
HOSTS = {
    "plain": (Net, lambda: loader(shuffle=True), loader, {}, {}, True),
    "several validations in an epoch": (Net, lambda: loader(shuffle=True), loader, {"val_check_interval": 2}, {}, True),
    "own metric names": (OwnNames, loader, loader, {}, {}, True),
    "several loaders": (Net, loader, lambda: [loader(), loader(Subset(REAL, range(20)))], {}, {}, True),
    "dict": (
        DictNet,
        lambda: loader(Items(as_dict), shuffle=True),
        lambda: loader(Items(as_dict)),
        {},
        {"batch_keys": ("image", "label")},
        True,
    ),
    "tuple of three": (
        Net,
        lambda: loader(Items(lambda x, y: (x, y, 3))),
        lambda: loader(Items(lambda x, y: (x, y, 3))),
        {},
        {"batch_keys": (0, 1)},
        True,
    ),
    "named tuple": (Net, lambda: loader(Items(Pair)), lambda: loader(Items(Pair)), {}, {}, True),
    "transform": (
        DictNet,
        lambda: loader(Items(as_dict)),
        lambda: loader(Items(as_dict)),
        {},
        {"batch_transform": lambda batch: (batch["image"], batch["label"])},
        True,
    ),
    "uint8": (Net, lambda: loader(GRAY), lambda: loader(GRAY), {}, {"synthetic_set": (gray()[:10], Y[:10])}, True),
    "uint8 normalised in a hook": (Hooks, lambda: loader(GRAY), lambda: loader(GRAY), {}, {}, True),
    "multi-label": (
        MultiLabel,
        lambda: loader(MULTI),
        lambda: loader(MULTI),
        {},
        {"synthetic_set": (X[:10], TARGETS[:10])},
        True,
    ),
    "float labels": (Net, lambda: loader(TensorDataset(X, Y[:, None].float())), loader, {}, {}, True),
    "finite stream": (Net, lambda: loader(Stream()), loader, {}, {}, False),
    "sized stream": (Net, lambda: loader(Sized()), loader, {}, {}, True),
    "endless stream": (Net, lambda: loader(Stream(endless=True)), loader, {"limit_train_batches": 4}, {}, False),
    "stream that is read once": (Net, lambda: loader(Stream(once=True)), loader, {}, {}, False),
    "stream of validation images": (Net, loader, lambda: loader(Stream()), {}, {}, True),
    "persistent workers": (
        Net,
        lambda: loader(shuffle=True, num_workers=1, persistent_workers=True),
        loader,
        {"val_check_interval": 2},
        {},
        True,
    ),
    "own generator": (
        Net,
        lambda: loader(shuffle=True, generator=own_generator()),
        loader,
        {"val_check_interval": 3},
        {},
        True,
    ),
    "stateful data set": (
        Net,
        lambda: loader(Items(noise=True), shuffle=True),
        loader,
        {"val_check_interval": 3},
        {},
        True,
    ),
    "weighted sampler": (
        Net,
        lambda: loader(sampler=WeightedRandomSampler(torch.rand(N), 40)),
        loader,
        {"val_check_interval": 2},
        {},
        True,
    ),
    "sampler of a subset": (Net, lambda: loader(sampler=SubsetRandomSampler(range(40))), loader, {}, {}, True),
    "own sampler": (Net, lambda: loader(sampler=Alternating()), loader, {"val_check_interval": 2}, {}, True),
    "batch sampler": (
        Net,
        lambda: DataLoader(REAL, batch_sampler=BatchSampler(RandomSampler(REAL), 8, True)),
        loader,
        {},
        {},
        True,
    ),
    "rows in lists": (
        Net,
        lambda: DataLoader(REAL, sampler=BatchSampler(RandomSampler(REAL), 8, False), batch_size=None),
        loader,
        {},
        {},
        True,
    ),
    "several training loaders": (Net, lambda: [loader(), loader()], loader, {"limit_train_batches": 0}, {}, False),
    "limits": (
        Net,
        lambda: loader(shuffle=True),
        loader,
        {"limit_train_batches": 3, "limit_val_batches": 2, "limit_test_batches": 1},
        {},
        True,
    ),
    "overfit": (Net, lambda: loader(shuffle=True), loader, {"overfit_batches": 2}, {}, True),
    "fast": (Net, lambda: loader(shuffle=True), loader, {"fast_dev_run": 2}, {}, True),
    "accumulate": (Net, lambda: loader(shuffle=True), loader, {"accumulate_grad_batches": 3}, {}, True),
    "clip": (Net, lambda: loader(shuffle=True), loader, {"gradient_clip_val": 0.1}, {}, True),
    "averaged weights": (
        Net,
        lambda: loader(shuffle=True),
        loader,
        {"callbacks": lambda: [StochasticWeightAveraging(0.05, swa_epoch_start=1)]},
        {},
        True,
    ),
    "moving average": (
        Net,
        lambda: loader(shuffle=True),
        loader,
        {"callbacks": lambda: [WeightAveraging(avg_fn=lambda a, b, n: 0.9 * a + 0.1 * b)]},
        {},
        True,
    ),
    "manual optimisation": (Manual, lambda: loader(shuffle=True), loader, {}, {}, True),
    "in place": (InPlace, lambda: loader(shuffle=True), loader, {}, {}, True),
    "steps that fetch": (FetchingNet, loader, loader, {}, {}, True),
    "sanity check": (Net, lambda: loader(shuffle=True), loader, {"num_sanity_val_steps": 2}, {}, True),
    "64-true": (Net, lambda: loader(shuffle=True), loader, {"precision": "64-true"}, {}, True),
    "bf16-true": (Net, lambda: loader(shuffle=True), loader, {"precision": "bf16-true"}, {}, True),
    "16-true": (Net, lambda: loader(shuffle=True), loader, {"precision": "16-true"}, {}, True),
    "bf16-mixed": (Net, lambda: loader(shuffle=True), loader, {"precision": "bf16-mixed"}, {}, True),
    "data module": (Net, Module, None, {"val_check_interval": 3}, {}, True),
}


class Logged(Callback):
    """Writes down the metrics of the project after each validation and test."""

    def __init__(self):
        self.values, self.guests = [], {}

    def on_validation_end(self, trainer, pl_module):
        values = {name: value.item() for name, value in trainer.callback_metrics.items()}
        self.guests.update({name: value for name, value in values.items() if name.startswith("students/")})
        self.values.append({name: value for name, value in values.items() if not name.startswith("students/")})

    on_test_end = on_validation_end


def run(host, guest, folder):
    """What a project can notice of its fit, validate and test."""
    kind, train, val, options, _, _ = HOSTS[host]
    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)
    model, logged = kind(), Logged()
    callbacks = options.get("callbacks", list)()
    monitor = "val/loss/dataloader_idx_0" if host == "several loaders" else "val/loss"
    keep = ModelCheckpoint(folder, monitor=monitor, save_top_k=1, filename="{epoch}-{step}")
    if kind is OwnNames:
        callbacks += [EarlyStopping("val/acc", patience=1), ModelCheckpoint(folder, monitor="val/acc")]
    trainer = Trainer(
        default_root_dir=folder,
        callbacks=[*callbacks, logged, keep, *guest],
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            **{name: value for name, value in options.items() if name != "callbacks"},
        },
    )
    data = train()
    if isinstance(data, LightningDataModule):
        trainer.fit(model, datamodule=data)
        trainer.validate(model, datamodule=data, verbose=False)
        trainer.test(model, datamodule=data, verbose=False)
    else:
        trainer.fit(model, data, val())
        steps = trainer.global_step
        trainer.validate(model, val(), verbose=False)
        if kind is not FetchingNet:
            trainer.test(model, val(), verbose=False)
        assert trainer.global_step == steps
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()
    weights = [weight.tolist() for weight in model.parameters()]
    noticed = {"steps": trainer.global_step, "seen": model.seen, "weights": weights, "metrics": logged.values}
    noticed |= {"random": state, "best": keep.best_model_path, "calls": getattr(data, "calls", 0)}
    return noticed, logged.guests


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("host", HOSTS)
def test_a_run_is_the_same_with_and_without_the_callback(host, tmp_path):
    alone, _ = run(host, [], tmp_path / "host")
    options, gain = HOSTS[host][-2:]
    guest = students(**options)
    beside, logged = run(host, [guest], tmp_path / "guest")
    alone["best"], beside["best"] = (each["best"].rpartition("/")[2] for each in (alone, beside))
    for what in alone:
        assert alone[what] == beside[what], what
    suffix = "/dataloader_idx_1" if host == "several loaders" else ""
    assert 0 <= logged[f"students/val/acc{suffix}"] <= 1
    assert (f"students/val/acc_gain_over_random{suffix}" in logged) == gain
    assert (f"students/test/acc{suffix}" in logged) == (HOSTS[host][0] is not FetchingNet)


@pytest.mark.filterwarnings("ignore")
def test_several_loaders_are_scored_apart(make_trainer):
    parts = [Subset(REAL, range(24)), Subset(REAL, range(30, 64))]
    guest = students(random_baseline=False, students=2)
    trainer = make_trainer(callbacks=[guest])
    both = trainer.validate(Net(), [loader(part) for part in parts], verbose=False)
    for number, part in enumerate(parts):
        (alone,) = make_trainer(callbacks=[students(random_baseline=False, students=2)]).validate(
            Net(), loader(part), verbose=False
        )
        for name in ("acc", "auroc", "ece"):
            assert both[number][f"students/val/{name}/dataloader_idx_{number}"] == alone[f"students/val/{name}"]
    assert set(guest.scores) == {"val/dataloader_idx_0", "val/dataloader_idx_1"}


@pytest.mark.filterwarnings("ignore")
def test_two_callbacks_log_apart_and_share_a_checkpoint(tmp_path):
    def pair():
        return [students(), students(), students(synthetic_set=(X[-10:], Y[-10:]), prefix="others")]

    options = {"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(default_root_dir=tmp_path, callbacks=pair(), logger=False, **options)
    trainer.fit(Net(), loader(), loader())
    names = {name.partition("/")[0] for name in trainer.callback_metrics if name.endswith("acc_gain_over_random")}
    assert names == {"students", "students_2", "others"}
    assert trainer.callback_metrics["students/val/acc"] == trainer.callback_metrics["students_2/val/acc"]
    again = pair()
    for each in again:
        each._baseline.train = lambda *_, **__: pytest.fail("a baseline was measured twice")
    trainer = Trainer(default_root_dir=tmp_path, callbacks=again, logger=False, **{**options, "max_epochs": 2})
    path = next(tmp_path.rglob("*.ckpt"))
    trainer.fit(Net(), loader(), loader(), ckpt_path=path)
    assert trainer.current_epoch == 2


def test_callbacks_with_one_prefix_are_refused_before_the_run(make_trainer):
    trainer = make_trainer(callbacks=[students(prefix="a"), students(prefix="a")])
    with pytest.raises(ValueError, match="two StudentEvaluation callbacks have the prefix 'a'; give one another"):
        trainer.validate(Net(), loader(), verbose=False)


@pytest.mark.filterwarnings("ignore")
def test_names_that_the_project_logs_too_are_refused(make_trainer):
    trainer = make_trainer(callbacks=[students(prefix="")])
    with pytest.raises(ValueError, match="OwnNames and StudentEvaluation both log 'val/acc'"):
        trainer.validate(OwnNames(), loader(), verbose=False)


def no_training(*_, **__):
    pytest.fail("a student was trained")


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (Items(as_dict), {}, r"the val loader yields dict; .* give batch_keys=\('image', 'label'\) or batch_transform"),
        (Items(lambda x, y: (x, y, 3)), {}, r"the val loader yields (list|tuple); .* batch_keys=\(0, 1\)"),
        (Items(as_dict), {"batch_keys": ("img", "label")}, r"no 'img'; it is or has the keys \['image', 'label', 'id'"),
        (REAL, {"batch_transform": lambda batch: batch[0]}, "batch_transform returns Tensor; it must yield"),
        (GRAY, {}, "synthetic_set holds float images, the loader gives uint8 images: their units may differ"),
        (
            MULTI,
            {},
            r"labels have the shape \(8, 2\), the set has single labels \(N,\); of one-hot labels use batch_tr",
        ),
        (REAL, {"synthetic_set": (X[:10], TARGETS[:10])}, r"labels have the shape \(8,\), the set's \(N, 2\)"),
        (TensorDataset(X, Y + 1), {}, "labels go from 1 to 2, the set's from 0 to 1"),
        (TensorDataset(X, Y * 0.5), {}, "labels are no integers"),
        (TensorDataset(X[:, 0], Y), {}, r"shapes \(8, 8, 8\) and \(8,\); give \(B, C, H, W\)"),
    ],
)
def test_batches_of_another_form_are_refused_before_students_are_trained(dataset, options, message, make_trainer):
    guest = students(**options)
    guest.evaluator.train = no_training
    with pytest.raises((TypeError, ValueError), match=message) as refusal:
        make_trainer(callbacks=[guest]).validate(Net(), loader(dataset), verbose=False)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("options", [{"batch_keys": ("a", "b"), "batch_transform": list}, {"batch_keys": ["image"]}])
def test_batch_options_are_checked(options):
    with pytest.raises(ValueError, match="batch_keys"):
        students(**options)


def test_one_hot_labels_and_raw_bytes_by_a_transform(make_trainer):
    def transform(batch):
        return batch[0].float() / 255, batch[1].argmax(1)

    hot = torch.nn.functional.one_hot(Y)
    guest = students(synthetic_set=(gray()[:10].float() / 255, Y[:10]), batch_transform=transform)
    plain = students(synthetic_set=(gray()[:10].float() / 255, Y[:10]))
    results = []
    for callback, data in ((guest, TensorDataset(gray(), hot)), (plain, TensorDataset(gray().float() / 255, Y))):
        trainer = make_trainer(8, callbacks=[callback])

        class Silent(Net):
            def validation_step(self, batch, batch_idx):
                pass

            def training_step(self, batch, batch_idx):
                return self.layer.weight.sum()

        trainer.fit(Silent(), loader(data), loader(data))
        results.append({name: value.item() for name, value in trainer.callback_metrics.items()})
    assert results[0] == results[1]
    assert "students/val/acc_gain_over_random" in results[0]


def test_the_baseline_is_drawn_from_images_as_the_project_sees_them(make_trainer):
    """Hooks normalise training images as they normalise validation images."""
    kept = []
    guest = students()
    train = guest.evaluator.train
    guest.evaluator.train = lambda data, **options: kept.append(data(0)) or train(data, **options)
    make_trainer(8, callbacks=[guest]).fit(Hooks(), loader(GRAY, shuffle=True), loader(GRAY))
    picked = kept[1].pixels
    everything = (gray().float() / 255 - 0.5) / 0.2
    assert all(any(torch.allclose(one, other) for other in everything) for one in picked)


@pytest.mark.filterwarnings("ignore")
def test_a_large_training_set_is_not_read_whole(make_trainer, monkeypatch):
    monkeypatch.setattr("lightning_distill.callbacks._data_source.MAX_BYTES", 16 * 8 * 8 * 4)
    read = []

    class Counted(Items):
        def __deepcopy__(self, memo):
            raise TypeError("holds a file handle")

        def __getitem__(self, row):
            read.append(row)
            return super().__getitem__(row)

    guest = students()
    trainer = make_trainer(callbacks=[guest])
    trainer.fit(Net(), loader(Counted(), batch_size=N), loader())
    assert len(read) - 3 * N == 1 + 15  # three epochs of the project; an image for its size, then 15 of 264 bytes
    assert "students/val/acc_gain_over_random" in trainer.callback_metrics


@pytest.mark.filterwarnings("ignore")
def test_the_training_set_is_read_once_and_few_of_its_images_are_kept(make_trainer):
    """A subset is drawn in one pass, whatever the number of students; no other image stays in memory."""
    alive, most, read = [0], [0], []

    class Counted(Dataset):
        def __deepcopy__(self, memo):
            raise TypeError("holds a file handle")

        def __len__(self):
            return 1000

        def __getitem__(self, row):
            read.append(row)
            return X[row % N], Y[row % N]

    def free(count):
        alive[0] -= count

    def collate(items):
        images = torch.stack([image for image, _ in items])
        alive[0] += len(images)
        most[0] = max(most[0], alive[0])
        weakref.finalize(images, free, len(images))
        return images, torch.stack([label for _, label in items])

    guest = students(students=3)
    kept = []
    train = guest.evaluator.train
    guest.evaluator.train = lambda data, **options: kept.append([data(i) for i in range(3)]) or train(data, **options)
    trainer = make_trainer(-1, callbacks=[guest], max_epochs=1, limit_train_batches=4)
    trainer.fit(Net(), DataLoader(Counted(), 8, collate_fn=collate), loader())
    assert read[-1001:] == [0, *range(1000)], "an image for its size, and one pass"
    assert len(read) <= 1001 + 5 * 8, "the project's batches"
    assert most[0] <= 3 * 64, "more than the batch that is made, the last one and the project's were alive"
    subsets = kept[-1]
    assert len({tuple(subset.pixels.flatten().tolist()) for subset in subsets}) == 3
    for subset in subsets:
        assert subset.labels.tolist() == [0] * 5 + [1] * 5
        assert all(any(torch.equal(one, other) for other in X) for one in subset.pixels)


@pytest.mark.filterwarnings("ignore")
def test_the_baseline_of_an_own_data_module_is_drawn_from_its_arrays(make_trainer, make_data):
    """The subsets are those of `coreset_sampler`, as in all tables."""
    data, kept = make_data(real_per_class=4), []
    guest = StudentEvaluation(PROTOCOL, students=2, architectures=["convnet_w16"])
    train = guest.evaluator.train
    guest.evaluator.train = lambda data, **options: kept.append([data(i) for i in range(2)]) or train(data, **options)
    make_trainer(1, callbacks=[guest]).fit(DMDistiller(ipc=3, network="convnet_w16", formation=1), data)
    sampler = coreset_sampler("random", data.train_arrays(), [3] * data.spec.num_classes, data.spec, 0)
    for number in range(2):
        assert torch.equal(kept[-1][number].pixels, sampler(number).pixels)
        assert torch.equal(kept[-1][number].labels, sampler(number).labels)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_training_images_that_are_not_finite_are_named(make_trainer, bad):
    images = X.clone()
    images[40, 0, 3, 3] = bad
    guest = students()
    with pytest.warns(UserWarning, match="not measured: train image 40 has NaN or infinite pixels; mend or drop it"):
        make_trainer(8, callbacks=[guest]).fit(Net(), loader(TensorDataset(images, Y)), loader())


RANKS = """
import sys, warnings
warnings.filterwarnings("ignore")
sys.path[:0] = [TESTS, TESTS + "/callbacks"]
import torch
from lightning import Trainer
from test_guest import Net, loader, students

if __name__ == "__main__":
    torch.manual_seed(1)
    guests = [students(), students(prefix="b")] if sys.argv[1] == "guest" else []
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False, callbacks=guests,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    model = Net()
    trainer.fit(model, loader(shuffle=True), loader())
    seen = [None, None]
    torch.distributed.all_gather_object(seen, model.seen)
    if trainer.is_global_zero:
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        weights = [weight.tolist() for weight in model.parameters()]
        state = {"seen": seen, "weights": weights, "metrics": metrics, "random": torch.random.get_rng_state()}
        torch.save(state, sys.argv[2])
"""


def test_a_run_of_two_processes_is_the_same_too(tmp_path):
    script, states = tmp_path / "run.py", {}
    script.write_text(RANKS.replace("TESTS", repr(str(TESTS))))
    for name in ("alone", "guest"):
        done = subprocess.run(
            [sys.executable, str(script), name, str(tmp_path / name)],
            capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        states[name] = torch.load(tmp_path / name, weights_only=False)
    alone, guest = states["alone"], states["guest"]
    assert alone["seen"] == guest["seen"]
    assert alone["weights"] == guest["weights"]
    assert torch.equal(alone["random"], guest["random"])
    assert alone["metrics"].items() <= guest["metrics"].items()
    assert guest["metrics"]["students/val/acc"] == guest["metrics"]["b/val/acc"]
    assert "students/val/acc_gain_over_random" in guest["metrics"]


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_is_the_same(tmp_path):
    """A run of one epoch and its second one after resuming, with and without the callback."""
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    seen = []
    for name in ("alone", "guest"):
        torch.manual_seed(0)
        model = Net()
        for epochs in (1, 2):
            torch.manual_seed(epochs)
            guests = [students()] if name == "guest" else []
            trainer = Trainer(default_root_dir=tmp_path / name, max_epochs=epochs, callbacks=guests, **options)
            path = next((tmp_path / name).rglob("*.ckpt"), None)
            trainer.fit(model, loader(shuffle=True), loader(), ckpt_path=path)
        seen.append((model.seen, [weight.tolist() for weight in model.parameters()], trainer.global_step))
    assert seen[0] == seen[1]
