"""Every method is tested by existing: each subclass of Distiller runs the whole way."""

from __future__ import annotations

import contextlib

import pytest
import torch

import lightning_distill.distillers as distillers
from lightning_distill import Distiller, StudentEvaluation, SyntheticSetExport, load_set


def every_method() -> list[type[Distiller]]:
    def below(cls):
        return [cls, *(leaf for child in cls.__subclasses__() for leaf in below(child))]

    return [cls for cls in below(Distiller)[1:] if cls.__module__.startswith(distillers.__name__)]


METHODS = every_method()


@pytest.fixture
def make(make_experts):
    """A factory of distillers; a method that asks for experts gets some, and a stretch of their way that they have."""

    def build(method: type[Distiller], data, network: str = "convnet_w16", **options) -> Distiller:
        if "experts" in method.local_path_args:
            folder = make_experts(data, network)
            options |= {"experts": folder, "max_start": 2, "expert_epochs": 2, "syn_steps": 2}
        options = {"lr_schedule": "constant", **options}  # a cosine ends with max_steps, which differs between runs
        return method(network=network, **options)

    return build


def test_methods_are_found():
    assert distillers.DMDistiller in METHODS


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    ("ipc", "channels", "num_classes", "network"),
    [(1, 1, 2, "convnet_w16"), (2, 3, 3, "convnet_w16"), ([3, 1, 2], 1, 3, "convnet_w16"), (2, 3, 2, "convnet_batch")],
)
def test_fit_validate_test_export(method, ipc, channels, num_classes, network, make, make_data, make_trainer, tmp_path):
    data = make_data(num_classes=num_classes, channels=channels)
    students = StudentEvaluation("tiny", students=2, architectures=["convnet_w16"])
    trainer = make_trainer(callbacks=[students, SyntheticSetExport(str(tmp_path), yardsticks=())])
    distiller = make(method, data, network, ipc=ipc)
    trainer.fit(distiller, datamodule=data)
    assert trainer.global_step == 3
    counts = [ipc] * num_classes if isinstance(ipc, int) else ipc
    assert distiller.synthetic.labels.bincount().tolist() == counts
    logged = trainer.callback_metrics
    assert {
        "distill/loss",
        "val/acc",
        "val/acc_std",
        "val/auroc",
        "val/balanced_acc",
        "val/acc_gain_over_random",
    } <= set(logged)
    expected = logged["val/acc"].item()
    (validated,) = trainer.validate(distiller, datamodule=data, verbose=False)
    assert validated["val/acc"] == expected
    (tested,) = trainer.test(distiller, datamodule=data, verbose=False)
    assert 0 <= tested["test/acc"] <= 1
    images, labels = load_set(tmp_path / "last").tensors
    assert images.shape == (sum(counts) * distiller.formation**2, channels, 8, 8)
    assert labels.tolist() == distiller.synthetic.labels.repeat_interleave(distiller.formation**2).tolist()
    torch.testing.assert_close(images, distiller.synthetic.exported_images())


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_images_move_and_stay_finite(method, make, make_data, make_trainer):
    data = make_data()
    distiller = make(method, data, ipc=2)
    trainer = make_trainer()
    trainer.fit(distiller, datamodule=data)
    begun = distiller.init_synthetic(data).images
    assert distiller.synthetic.images.isfinite().all()
    moved = (distiller.synthetic.images - begun).abs().amax((1, 2, 3))
    assert (moved > 0).all(), "some image has not moved"


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_resumed_run_is_the_run(method, make, make_data, make_trainer, tmp_path):
    whole, first, second = (make(method, make_data(), ipc=2, seed=3) for _ in range(3))
    make_trainer(max_steps=5).fit(whole, datamodule=make_data())
    trainer = make_trainer(max_steps=3)
    trainer.fit(first, datamodule=make_data(steps_per_epoch=5))
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    make_trainer(max_steps=5).fit(second, datamodule=make_data(steps_per_epoch=5), ckpt_path=tmp_path / "half.ckpt")
    assert torch.equal(whole.synthetic.images, second.synthetic.images)
    assert not torch.equal(first.synthetic.images, second.synthetic.images)


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_checkpoint_alone_makes_the_set_again_without_pickle(method, make, make_data, make_trainer, tmp_path):
    distiller = make(method, make_data(), ipc=[2, 1])
    trainer = make_trainer()
    trainer.fit(distiller, datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    loaded = method.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(loaded.synthetic.pixels(), distiller.synthetic.pixels())
    assert loaded.synthetic.spec == distiller.synthetic.spec
    assert loaded.hparams == distiller.hparams
    assert loaded.hparams["ipc"] == [2, 1]
    assert str(tmp_path) not in str(dict(distiller.hparams_initial)), "a folder of this machine is kept"


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_surrogates_stay_out_of_the_state(method, make, make_data, make_trainer):
    distiller = make(method, make_data(), ipc=1)
    make_trainer().fit(distiller, datamodule=make_data())
    kept = set(distiller.state_dict())
    assert {"synthetic.images", "synthetic.labels"} <= kept
    assert kept <= {"synthetic.images", "synthetic.labels", "synthetic.lr", "synthetic.soft_label_logits"}


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_losses_after_an_out_of_memory_error_are_those_of_an_undisturbed_run(
    method, make, make_data, make_trainer, monkeypatch
):
    images, calls, losses = [], [], method.losses
    for failing in (None, 2):  # the second of three steps fails after its first loss
        calls.clear()

        def fail_once(self, real, failing=failing):
            calls.append(self.global_step)
            for loss in losses(self, real):
                yield loss
                if len(calls) == failing:
                    raise torch.OutOfMemoryError

        monkeypatch.setattr(method, "losses", fail_once)
        distiller = make(method, make_data(), ipc=2, seed=3)
        with pytest.warns(UserWarning, match="images at a time") if failing else contextlib.nullcontext():
            make_trainer(max_steps=3).fit(distiller, datamodule=make_data())
        assert calls == ([0, 1, 1, 2] if failing else [0, 1, 2])
        images.append(distiller.synthetic.images.detach())
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_every_method_distils_sub_images_and_resumes_with_them(method, make, make_data, make_trainer, tmp_path):
    whole, first, second = (make(method, make_data(), ipc=1, formation=2, seed=3) for _ in range(3))
    make_trainer(max_steps=3).fit(whole, datamodule=make_data())
    begun = whole.init_synthetic(make_data())
    assert whole.synthetic.counts == [4, 4]
    moved = (whole.synthetic.images - begun.images).abs().unflatten(3, (2, 4)).unflatten(2, (2, 4)).amax((1, 3, 5))
    assert (moved > 0).all(), "some sub-image has not moved"
    trainer = make_trainer(max_steps=2, callbacks=[SyntheticSetExport(str(tmp_path))])
    trainer.fit(first, datamodule=make_data(steps_per_epoch=3))
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    make_trainer(max_steps=3).fit(second, datamodule=make_data(steps_per_epoch=3), ckpt_path=tmp_path / "half.ckpt")
    assert torch.equal(whole.synthetic.images, second.synthetic.images)
    loaded = method.load_from_checkpoint(tmp_path / "half.ckpt", weights_only=True)
    assert loaded.synthetic.formation == 2
    images, targets = load_set(tmp_path / "last").tensors
    torch.testing.assert_close(images, first.synthetic.exported_images())
    assert len(targets) == len(images) == 8
