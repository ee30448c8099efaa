"""``GeneratorProgress``: pictures, and the kernel distance that selects checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image

from lightning_distill import DMDistiller, FlowGenerator, GANGenerator, GeneratorProgress
from lightning_distill.callbacks.generator_progress import validation_sample
from lightning_distill.generators import load_generator


def flow(**options):
    return FlowGenerator(**{"widths": [16], "batch_size": 8, "sampling_steps": 4, **options})


@pytest.fixture
def data(make_data):
    return make_data(per_class=30, steps_per_epoch=2)


def progress(**options):
    return GeneratorProgress(**{"protocol": "quick", "network": "convnet_w16", "columns": 3, **options})


def test_pictures_and_kid_are_logged_after_every_validation(data, make_trainer, tmp_path):
    callback = progress(dirpath=tmp_path / "pictures")
    loggers = [CSVLogger(tmp_path), TensorBoardLogger(tmp_path)]
    make_trainer(4, callbacks=[callback], logger=loggers, log_every_n_steps=1).fit(flow(), datamodule=data)
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {"step-2.png", "step-4.png"}
    picture = np.asarray(Image.open(tmp_path / "pictures" / "step-4.png"))
    assert picture.shape[0] > 2 * 96
    assert picture.shape[1] > 3 * 96
    text = next(tmp_path.rglob("metrics.csv")).read_text()
    assert "val/kid" in text.splitlines()[0]
    assert text.count("\n") >= 3
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("events*"))
    assert b"generate/images" in written


def test_model_checkpoint_selects_on_the_distance(data, make_trainer, tmp_path):
    values = []

    class Watch(ModelCheckpoint):
        def on_validation_end(self, trainer, pl_module):
            values.append((float(trainer.callback_metrics["val/kid"]), trainer.global_step))
            super().on_validation_end(trainer, pl_module)

    keep = Watch(tmp_path, monitor="val/kid", mode="min")
    trainer = make_trainer(6, callbacks=[progress(), keep], enable_checkpointing=True)
    trainer.fit(GANGenerator(widths=[16], latent=8, batch_size=8, lr=0.02), datamodule=data)
    assert len(values) == 3
    assert len({value for value, _ in values}) == 3
    assert load_generator(keep.best_model_path).trained_steps == min(values)[1]


def test_the_distance_is_zero_for_the_validation_images_and_large_for_white_ones(data, make_trainer, monkeypatch):
    images, labels = validation_sample(data, 10)
    assert images.shape[0] == len(labels) == 10

    def distance(drawn):
        monkeypatch.setattr(FlowGenerator, "sample", lambda self, targets, **_: drawn(targets))
        trainer = make_trainer(2, callbacks=[progress(kid_images=10)])
        trainer.fit(flow(), datamodule=data)
        return float(trainer.callback_metrics["val/kid"])

    same = distance(lambda targets: images.float())
    far = distance(lambda targets: torch.full((len(targets), 1, 8, 8), 255.0))
    assert same < 1e-3
    assert far > same + 0.005


def test_it_changes_no_run(data, make_data, make_trainer):
    weights = []
    for callbacks in ([], [progress()]):
        generator = flow()
        make_trainer(4, callbacks=callbacks).fit(generator, datamodule=make_data(per_class=30, steps_per_epoch=2))
        weights.append([value.clone() for value in generator.state_dict().values()])
    assert all(torch.equal(*pair) for pair in zip(*weights, strict=True))


def test_the_sampling_steps_of_the_pictures_are_its_own(data, make_trainer):
    seen = []

    class Spy(FlowGenerator):
        def render(self, noise, rows):
            seen.append(self.sampling_steps)
            return super().render(noise, rows)

    generator = Spy(widths=[16], batch_size=8, sampling_steps=7)
    make_trainer(2, callbacks=[progress(sampling_steps=2)]).fit(generator, datamodule=data)
    assert set(seen) == {2}
    assert generator.sampling_steps == 7


def test_no_distance_where_it_is_turned_off(data, make_trainer, tmp_path):
    trainer = make_trainer(2, callbacks=[progress(kid_images=0, dirpath=tmp_path)])
    trainer.fit(flow(), datamodule=data)
    assert "val/kid" not in trainer.callback_metrics
    assert (tmp_path / "step-2.png").is_file()


def test_multi_label_targets_are_those_of_the_validation_images(make_trainer, tmp_path):
    from lightning_distill import ArrayDataModule

    random, splits = np.random.default_rng(0), []
    for count in (80, 30):
        targets = (random.random((count, 3)) < 0.5).astype(np.int64)
        images = random.integers(0, 60, (count, 8, 8)) + 150 * np.repeat(targets[:, [0, 1]], 4, 1)[:, :, None]
        splits.append((images.astype(np.uint8), targets))
    data = ArrayDataModule(*splits, steps_per_epoch=2, min_combination=2)
    trainer = make_trainer(2, callbacks=[progress(dirpath=tmp_path)])
    trainer.fit(flow(), datamodule=data)
    assert trainer.callback_metrics["val/kid"].isfinite()


def test_bad_input(data, make_trainer, tmp_path):
    with pytest.raises(TypeError, match="needs a generator, not DMDistiller"):
        make_trainer(1, callbacks=[progress()]).fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=data)
    for options, message in (({"columns": 0}, "columns=0"), ({"kid_images": 1}, "kid_images=1"),
                             ({"sampling_steps": 0}, "sampling_steps=0")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            GeneratorProgress(**options)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make_trainer(1, callbacks=[progress(dirpath=tmp_path / "file")]).fit(flow(), datamodule=data)
    noise = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)
    from lightning_distill import ArrayDataModule

    hopeless = ArrayDataModule((noise, np.arange(60) % 2), (noise[:1].repeat(20, 0), np.arange(20) % 2))
    with pytest.raises(ValueError, match=r"no features for val/kid: .*GeneratorProgress\(kid_images=0\)"):
        make_trainer(1, callbacks=[progress()]).fit(flow(), datamodule=hopeless)
