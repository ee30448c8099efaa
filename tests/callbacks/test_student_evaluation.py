from __future__ import annotations

import pytest
import torch
import torchmetrics
from conftest import blobs
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import DMDistiller, StudentEvaluation


def tiny(**options):
    return StudentEvaluation(**{"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"], **options})


def test_best_checkpoint_reproduces_the_logged_accuracy_exactly(make_data, make_trainer, tmp_path):
    keep = ModelCheckpoint(tmp_path, monitor="val/acc", mode="max")
    trainer = make_trainer(max_steps=10, callbacks=[tiny(), keep], enable_checkpointing=True)
    distiller = DMDistiller(ipc=1, network="convnet_w16", lr=50.0)
    trainer.fit(distiller, datamodule=make_data(num_classes=4))
    logged = keep.best_model_score.item()
    (result,) = trainer.validate(ckpt_path="best", datamodule=make_data(num_classes=4), verbose=False)
    assert result["val/acc"] == logged
    fresh = make_trainer(callbacks=[tiny()])
    model = DMDistiller.load_from_checkpoint(keep.best_model_path, weights_only=True)
    (again,) = fresh.validate(model, datamodule=make_data(num_classes=4), verbose=False)
    assert again == result


def test_students_learn_from_what_is_shipped(make_data, make_trainer, monkeypatch):
    seen = []
    callback = tiny(random_baseline=False)
    train = callback.evaluator.train
    monkeypatch.setattr(callback.evaluator, "train", lambda data, **kw: seen.append(data(0)) or train(data, **kw))
    distiller = DMDistiller(ipc=1, network="convnet_w16")
    make_trainer(callbacks=[callback], max_steps=1).fit(distiller, datamodule=make_data())
    assert seen[-1].pixels.dtype == torch.uint8
    assert torch.equal(seen[-1].pixels, distiller.synthetic.pixels())


def test_random_subset_is_measured_once_and_survives_a_checkpoint(make_data, make_trainer, tmp_path):
    callback = tiny()
    calls = []
    train = callback.evaluator.train
    callback.evaluator.train = lambda *args, **kw: calls.append(1) or train(*args, **kw)
    trainer = make_trainer(max_steps=10, callbacks=[callback])
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=make_data())
    assert len(calls) == 5 + 1  # five validations and one random baseline
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    stored = torch.load(tmp_path / "a.ckpt", weights_only=True)["student_evaluation_random_acc"]
    other = tiny()
    other.evaluator.train = lambda *args, **kw: calls.append(1) or train(*args, **kw)
    fresh = make_trainer(max_steps=10, callbacks=[other])
    fresh.validate(DMDistiller(ipc=1, network="convnet_w16"), make_data(), ckpt_path=tmp_path / "a.ckpt", verbose=False)
    assert len(calls) == 5 + 1 + 1  # the baseline is in the checkpoint
    gain, acc = (trainer.callback_metrics[f"val/{name}"].item() for name in ("acc_gain_over_random", "acc"))
    (random_acc,) = stored.values()
    assert gain == pytest.approx(acc - random_acc, abs=1e-6)


def test_sanity_check_trains_nobody(make_data, make_trainer):
    callback = tiny()
    callback.evaluator.train = lambda *_, **__: pytest.fail("a student was trained")
    trainer = make_trainer(max_steps=1, callbacks=[callback], num_sanity_val_steps=2, limit_val_batches=1)
    distiller = DMDistiller(ipc=1, network="convnet_w16")
    with pytest.raises(pytest.fail.Exception):
        trainer.fit(distiller, datamodule=make_data())
    assert trainer.global_step == 1  # it got past the sanity check and its first step before the real validation


def test_early_stopping_watches_the_score(make_data, make_trainer):
    stop = EarlyStopping("val/acc", mode="max", patience=1, min_delta=1.1)
    trainer = make_trainer(max_steps=20, callbacks=[tiny(random_baseline=False), stop])
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=make_data())
    assert trainer.global_step == 8  # two validations of four steps


def test_several_architectures_are_logged_apart(make_data, make_trainer):
    callback = tiny(architectures=["convnet_w16", "mlp"])
    trainer = make_trainer(max_steps=1, callbacks=[callback])
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=make_data())
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert logged["val/acc"] == pytest.approx((logged["val/acc/convnet_w16"] + logged["val/acc/mlp"]) / 2, abs=1e-6)
    assert len(callback.scores["val"].students) == 4


class Blobs(LightningDataModule):
    """Somebody else's data: floats, already normalised, in ordinary DataLoaders."""

    def loader(self, seed, shuffle=False):
        images, labels = blobs(2, 12, seed=seed)
        x = (torch.from_numpy(images).float()[:, None] - 90) / 60
        return DataLoader(TensorDataset(x, torch.from_numpy(labels).long().flatten()), 8, shuffle=shuffle)

    def train_dataloader(self):
        return self.loader(0, shuffle=True)

    def val_dataloader(self):
        return self.loader(1)

    def test_dataloader(self):
        return self.loader(2)


class Classifier(LightningModule):
    """Somebody else's model."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("their/loss", self.training_step(batch, batch_idx))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_drops_into_a_project_that_is_not_ours(make_trainer):
    x, y = Blobs().loader(0).dataset[::3]
    callback = tiny(synthetic_set=(x, y))
    trainer, model = make_trainer(max_steps=6, callbacks=[callback]), Classifier()
    trainer.fit(model, datamodule=Blobs())
    logged = trainer.callback_metrics
    ours = {f"students/val/{name}" for name in ("acc", "auroc", "balanced_acc", "acc_gain_over_random")}
    assert {"their/loss", *ours} <= set(logged)
    assert not any(name.startswith("val/") for name in logged)
    (result,) = trainer.test(model, datamodule=Blobs(), verbose=False)
    assert {"their/loss", "students/test/acc", "students/test/acc_gain_over_random"} <= set(result)


def test_their_training_is_not_changed_by_the_callback(make_trainer):
    weights = []
    for callbacks in ([], [tiny(synthetic_set=(torch.randn(2, 1, 8, 8), torch.tensor([0, 1])))]):
        torch.manual_seed(0)
        model = Classifier()
        make_trainer(max_steps=6, callbacks=callbacks).fit(model, datamodule=Blobs())
        weights.append(model.net[1].weight.detach().clone())
    assert torch.equal(*weights)


def test_without_training_data_there_is_no_baseline_but_a_word(make_trainer):
    callback = tiny(synthetic_set=(torch.randn(2, 1, 8, 8), torch.tensor([0, 1])))
    trainer = make_trainer(callbacks=[callback])
    with pytest.warns(UserWarning, match="acc_gain_over_random is not measured"):
        (result,) = trainer.validate(Classifier(), dataloaders=Blobs().val_dataloader(), verbose=False)
    assert "students/val/acc" in result
    assert "students/val/acc_gain_over_random" not in result


def test_bad_sets_are_refused(make_trainer, tmp_path):
    with pytest.raises(ValueError, match="Classifier has no synthetic set; use StudentEvaluation"):
        make_trainer(callbacks=[tiny()]).validate(Classifier(), datamodule=Blobs(), verbose=False)
    colour = make_trainer(
        callbacks=[tiny(synthetic_set=(torch.randn(2, 3, 8, 8), torch.tensor([0, 1])), random_baseline=False)]
    )
    with pytest.raises(ValueError, match=r"the set's images are \(3, 8, 8\), the loader's \(1, 8, 8\)"):
        colour.validate(Classifier(), datamodule=Blobs(), verbose=False)
    with pytest.raises(ValueError, match=r"images \(N, C, H, W\) and labels"):
        tiny(synthetic_set=(torch.randn(2, 8, 8), torch.tensor([0, 1])))
    with pytest.raises(ValueError, match="one class only"):
        tiny(synthetic_set=(torch.randn(2, 1, 8, 8), torch.tensor([0, 0])))
    with pytest.raises(FileNotFoundError, match="no set file"):
        tiny(synthetic_set=str(tmp_path))
    with pytest.raises(ValueError, match="unknown protocol"):
        tiny(protocol="slow")


def test_pixel_units_beside_floats_without_statistics_are_refused(make_trainer):
    images = torch.randint(0, 255, (4, 1, 8, 8), dtype=torch.uint8)
    callback = tiny(synthetic_set=(images, torch.tensor([0, 0, 1, 1])), random_baseline=False)
    with pytest.raises(ValueError, match="uint8 images, the loader gives float images"):
        make_trainer(callbacks=[callback]).validate(Classifier(), datamodule=Blobs(), verbose=False)


class MeanLogit(torchmetrics.Metric):
    """A metric of somebody else's."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, logits, targets):
        self.total += logits.sum()
        self.count += logits.numel()

    def compute(self):
        return self.total / self.count


def test_metrics_of_torchmetrics_are_logged_as_means_over_students(make_data, make_trainer):
    f1 = torchmetrics.classification.MulticlassF1Score(3)
    own = torchmetrics.MetricCollection({"f1": f1, "logit": MeanLogit()})
    callback, keep = tiny(metrics=own, random_baseline=False), {}
    log = callback._log
    callback._log = lambda *args: (
        keep.update(predictions=callback._run.students(*args[:2], 0).predictions("val")) or log(*args)
    )
    trainer = make_trainer(max_steps=1, callbacks=[callback])
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=make_data(num_classes=3))
    predictions = keep["predictions"]
    scores = [f1(logits, predictions.targets).item() for logits in predictions.logits]
    assert len(scores) == 2
    assert trainer.callback_metrics["val/f1"].item() == pytest.approx(sum(scores) / 2, abs=1e-6)
    assert trainer.callback_metrics["val/logit"].item() == pytest.approx(predictions.logits.mean().item(), abs=1e-5)
    assert own["logit"].count == 0  # the collection itself is not updated
    f1.reset()


def test_metrics_change_nothing_else(make_data, make_trainer):
    logged = []
    for metrics in (None, torchmetrics.MetricCollection([torchmetrics.classification.MulticlassF1Score(2)])):
        trainer = make_trainer(max_steps=2, callbacks=[tiny(metrics=metrics)])
        distiller = DMDistiller(ipc=1, network="convnet_w16")
        trainer.fit(distiller, datamodule=make_data())
        logged.append({name: value.item() for name, value in trainer.callback_metrics.items()})
    assert logged[1].pop("val/MulticlassF1Score") >= 0
    assert logged[0] == logged[1]


def test_metrics_that_cannot_be_logged_are_refused(make_data, make_trainer):
    each_class = torchmetrics.classification.MulticlassRecall(2, average=None)
    same_name = torchmetrics.MetricCollection({"acc": torchmetrics.classification.MulticlassAccuracy(2)})
    for metrics, message in (
        (torchmetrics.MetricCollection({"each": each_class}), r"the metric 'each' returns \(2,\) numbers"),
        (same_name, r"\['acc'\] are logged already; use MetricCollection"),
    ):
        trainer = make_trainer(max_steps=1, callbacks=[tiny(metrics=metrics, random_baseline=False)])
        with pytest.raises(ValueError, match=message):
            trainer.fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=make_data())
