"""Training of the generators: steps, exact resume, precision, and what stops a run."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import blobs

from lightning_distill import ArrayDataModule, DMDistiller, FlowGenerator, GANGenerator, Generator
from lightning_distill.data.loaders import UniformLoader
from lightning_distill.generators.average import averaged, constant_decay, relative_decay
from lightning_distill.generators.checks import validate_trainer


def weights(generator):
    return {name: value.clone() for name, value in generator.state_dict().items()}


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_every_batch_is_one_step_and_changes_network_and_average(make_generator, make_data, fit):
    generator, trainer = fit(make_generator(), make_data(), 3)
    assert trainer.global_step == generator.trained_steps == 3
    assert int(generator.average.n_averaged) == 3
    fresh = make_generator()
    fresh.build(make_data().spec)
    for part in ("network", "average") + (("critic",) if isinstance(generator, GANGenerator) else ()):
        before, after = getattr(fresh, part).state_dict(), getattr(generator, part).state_dict()
        assert any(not torch.equal(before[name], after[name]) for name in before), part
    assert trainer.callback_metrics["generate/loss"].isfinite()


def test_a_resumed_run_equals_a_whole_one(make_generator, make_data, fit, tmp_path):
    whole, whole_trainer = fit(make_generator(), make_data(steps_per_epoch=2), 4)
    _, half = fit(make_generator(), make_data(steps_per_epoch=2), 2, max_epochs=5)
    half.save_checkpoint(tmp_path / "half.ckpt")
    if isinstance(whole, GANGenerator):  # the penalty falls with max_steps: stop a run of four in its middle
        generator = make_generator()
        stop_at(2, generator, make_data(steps_per_epoch=2), fit, tmp_path / "half.ckpt")
    torch.manual_seed(123)  # global random state does not matter
    resumed, trainer = fit(make_generator(), make_data(steps_per_epoch=2), 4, ckpt_path=tmp_path / "half.ckpt")
    assert trainer.global_step == 4
    assert equal(weights(whole), weights(resumed))
    for left, right in zip(whole_trainer.optimizers, trainer.optimizers, strict=True):
        for old, new in zip(left.state.values(), right.state.values(), strict=True):
            assert all(torch.equal(old[name], new[name]) for name in old)


def stop_at(step, generator, data, fit, path):
    """Write a checkpoint within a run of four steps."""
    from lightning import Callback

    class Save(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == step:
                trainer.save_checkpoint(path)

    fit(generator, data, 4, callbacks=[Save()])


def test_the_seed_decides_on_the_weights(make_generator, make_data, fit):
    runs = [weights(fit(make_generator(seed=seed), make_data(), 2)[0]) for seed in (0, 0, 1)]
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_images_of_28_to_128_pixels_and_other_shapes(make_generator, make_data, fit):
    for size, channels in ((28, 1), (30, 3), (128, 1)):
        generator, _ = fit(make_generator(batch_size=2), make_data(size=size, channels=channels), 1)
        images = generator.sample(torch.tensor([0, 1]), seed=0)
        assert images.shape == (2, channels, size, size)
        assert images.dtype == torch.float32
        assert images.isfinite().all()
    wide = np.zeros((12, 28, 40), np.uint8)
    wide[::2, :10] = 200
    data = ArrayDataModule((wide, np.arange(12) % 2), (wide, np.arange(12) % 2))
    generator, _ = fit(make_generator(batch_size=2), data, 1)
    assert generator.sample(torch.tensor([1]), seed=0).shape == (1, 1, 28, 40)


@pytest.mark.filterwarnings("ignore:this device emulates bf16")
def test_bf16_trains_float32_weights(make_generator, make_data, fit):
    generator, _ = fit(make_generator(), make_data(), 2, precision="bf16-mixed")
    assert all(value.dtype in (torch.float32, torch.int64) for value in generator.state_dict().values())


@pytest.mark.parametrize("name", ["flow", "gan", "modulated"])
def test_generators_learn_the_classes(name, tiny, make_data, fit):
    options, steps = {"batch_size": 16, "lr": 5e-3}, 60
    if name == "flow":
        options, steps = {"batch_size": 32, "lr": 3e-3, "widths": [32, 32], "warmup": 5, "sampling_steps": 8}, 120
    generator, _ = fit(tiny[name](**options), make_data(size=8, per_class=40), steps)
    images = generator.sample(torch.tensor([0] * 8 + [1] * 8), seed=0)
    top, bottom = images[:, 0, :4].mean((1, 2)), images[:, 0, 4:].mean((1, 2))
    learned = torch.cat([top[:8] > bottom[:8] + 40, top[8:] + 40 < bottom[8:]])
    assert learned.float().mean() > 0.8  # 120 steps may leave an image between the classes; guessing gives half


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    make_generator, make_data, fit, tmp_path, monkeypatch
):
    from lightning.pytorch.callbacks import ModelCheckpoint

    generator, before = make_generator(), {}
    original = Generator.require_finite

    def poisoned(self, name, *values):
        if self.global_step == 2:
            before.update(weights(self))
            values = [value * torch.nan for value in values]
        original(self, name, *values)

    monkeypatch.setattr(Generator, "require_finite", poisoned)
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(FloatingPointError, match=r"generate/.* not finite at step 2; the last checkpoint is kept"):
        fit(generator, make_data(), 4, callbacks=[keep], enable_checkpointing=True)
    assert {path.name for path in tmp_path.glob("*.ckpt")} == {"step=1.ckpt", "step=2.ckpt"}
    saved = torch.load(tmp_path / "step=2.ckpt", weights_only=True)["state_dict"]
    assert equal(saved, before)


def test_checkpoints_are_verified_and_name_no_folder(make_generator, make_data, fit, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(tmp_path, filename="g", every_n_train_steps=1)
    fit(make_generator(), make_data(), 2, callbacks=[keep], enable_checkpointing=True)
    content = (tmp_path / "g.ckpt").read_bytes()
    assert b"lightning_distill sha256=" in content[-200:]
    assert str(tmp_path).encode() not in content
    (tmp_path / "g.ckpt").write_bytes(content[:5000] + b"x" + content[5001:])
    with pytest.raises(ValueError, match="damaged"):
        fit(make_generator(), make_data(), 3, ckpt_path=tmp_path / "g.ckpt")


def test_a_step_that_diverges_is_noticed(make_data, fit):
    with pytest.raises(FloatingPointError, match="less than lr=1e\\+30"):
        fit(FlowGenerator(widths=[16], batch_size=4, warmup=1, lr=1e30), make_data(), 20)


def test_other_data_are_refused(make_generator, make_data, fit, tmp_path):
    generator, trainer = fit(make_generator(), make_data(), 1)
    trainer.save_checkpoint(tmp_path / "g.ckpt")
    for options, what in (({"size": 16}, "images"), ({"channels": 3}, "images"), ({"num_classes": 3}, "classes")):
        with pytest.raises(ValueError, match=f"differ in {what}.*train a generator on these data"):
            fit(generator, make_data(**options), 1)
        with pytest.raises(ValueError, match=f"differ in {what}"):
            fit(make_generator(), make_data(**options), 2, ckpt_path=tmp_path / "g.ckpt")
    with pytest.raises(ValueError, match=r"lr=0.0002 \(now 0.5\)|lr=0.0002"):
        fit(make_generator(lr=0.5), make_data(), 2, ckpt_path=tmp_path / "g.ckpt")


def test_a_class_without_images_is_refused(make_generator, fit):
    images, targets = np.zeros((20, 8, 8), np.uint8), np.zeros((20, 3), np.int64)
    targets[:10, 0] = targets[5:15, 1] = 1
    images[::2] = 9
    data = ArrayDataModule((images, targets), (images, targets), class_names=["a", "b", "c"], min_combination=1)
    with pytest.raises(ValueError, match="'c' has no"):
        fit(make_generator(), data, 1)
    data = ArrayDataModule((images, np.arange(20) % 2), class_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="'c'"):
        fit(make_generator(), data, 1)


def test_trainers_that_do_not_suit_are_refused(make_generator, make_data, fit):
    with pytest.raises(ValueError, match="precision=64-true: generators train in 32-true or bf16-mixed"):
        fit(make_generator(), make_data(), 1, precision="64-true")
    with pytest.raises(ValueError, match=r"2 devices: a generator trains on one; use Trainer\(devices=1\)"):
        validate_trainer(SimpleNamespace(world_size=2, precision="32-true"))
    with pytest.raises(TypeError, match="no data module was passed"):
        fit(make_generator(), None, 1)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (FlowGenerator, {"widths": [20]}, "widths=\\[20\\]"),
        (FlowGenerator, {"widths": []}, "widths"),
        (FlowGenerator, {"sampling_steps": 0}, "sampling_steps=0"),
        (FlowGenerator, {"null_probability": 1}, "null_probability=1"),
        (FlowGenerator, {"batch_size": 0}, "batch_size=0"),
        (FlowGenerator, {"guidance": -1}, "guidance=-1"),
        (GANGenerator, {"conditioning": "none"}, "unknown conditioning 'none'"),
        (GANGenerator, {"augment_probability": 2}, "augment_probability=2"),
        (GANGenerator, {"lr": 0}, "lr=0"),
        (GANGenerator, {"widths": [0]}, "widths"),
    ],
)
def test_options_out_of_range_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"pip install 'lightning-distill\[generate\]'"):
        FlowGenerator()


def test_batches_are_uniform_draws_of_all_images_and_distillers_keep_theirs(make_data, fit, make_trainer):
    seen = []

    class Spy(GANGenerator):
        def training_step(self, batch, batch_idx):
            seen.append(batch[1])
            super().training_step(batch, batch_idx)

    fit(Spy(widths=[16], batch_size=7), make_data(per_class=12), 20)
    assert {len(labels) for labels in seen} == {7}
    assert 0.35 < torch.cat(seen).float().mean() < 0.65
    data = make_data()
    make_trainer(1, limit_val_batches=0).fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=data)
    assert type(data.train_dataloader()).__name__ == "ClassBalancedLoader"


def test_uniform_batches_depend_on_seed_and_number():
    numbers = np.arange(20)
    loaders = [UniformLoader(blobs(2, 10)[0][:, None], numbers, batch_size=6, steps=2, seed=seed) for seed in (0, 0, 1)]
    rows = [[loader.batch(k)[1].tolist() for k in range(3)] for loader in loaders]
    assert rows[0] == rows[1] != rows[2]
    assert all(len(set(batch)) == 6 for batch in rows[0])
    assert rows[0][0] != rows[0][1]


def test_averages_follow_their_decay():
    network = torch.nn.Linear(1, 1, bias=False)
    for decay, expected in ((constant_decay(0.5), [0.0, 2 / 11, None]), (relative_decay(0.1), [0.0, 0.5**10, 0.5**5])):
        average, value = averaged(network, decay), None
        for step, own in enumerate(expected):
            network.weight.data.fill_(float(step + 1))
            average.update_parameters(network)
            new = float(average.module.weight)
            if own is not None and step:
                assert new == pytest.approx(own * value + (1 - own) * (step + 1), rel=1e-5)
            value = new
    assert float(constant_decay(0.9)(torch.tensor(1e6))) == pytest.approx(0.9)
