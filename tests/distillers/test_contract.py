"""Every method is tested by existing: each subclass of Distiller runs the whole way."""

from __future__ import annotations

import pytest
import torch

import lightning_distill.distillers as distillers
from lightning_distill import Distiller, StudentEvaluation, SyntheticSetExport, load_set
from lightning_distill.distillers.contract import CHECKS, check_distiller, run_check


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


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_every_method_passes_the_checks(method, check, make_experts):
    def options(data):
        if "experts" not in method.local_path_args:
            return {}
        return {"experts": make_experts(data), "max_start": 2, "expert_epochs": 2, "syn_steps": 2}

    run_check(check, method, options)


class Spread(Distiller):
    """A method with a statistic that one image does not have."""

    def losses(self, real):
        for label in self.classes():
            yield (real.of_class(label).std(0) - self.synthetic.of_class(label).std(0)).square().sum()


def test_a_statistic_that_one_image_does_not_have_is_named(capsys):
    with pytest.raises(AssertionError, match=r"not finite at step 0 with ipc=1; look for .* standard deviation"):
        check_distiller(Spread)
    assert capsys.readouterr() == ("", "")
