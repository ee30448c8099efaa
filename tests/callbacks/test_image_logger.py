from __future__ import annotations

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from lightning_distill import DMDistiller, SyntheticImageLogger
from lightning_distill.sets.image_grid import GAP, image_grid


def test_draws_png_files_and_tensorboard_images(make_data, make_trainer, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path / "tb")
    callback = SyntheticImageLogger(str(tmp_path / "png"))
    distiller = DMDistiller(ipc=[3, 1], network="convnet_w16")
    make_trainer(max_steps=2, callbacks=[callback], logger=logger).fit(distiller, datamodule=make_data())
    picture = np.asarray(Image.open(tmp_path / "png" / "step-2.png"))
    synthetic = distiller.synthetic
    assert np.array_equal(picture, image_grid(synthetic.pixels(), synthetic.labels, synthetic.spec))
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert [event.step for event in events.Images("synthetic/images")] == [2]


def test_unwritable_folder_is_refused_before_the_run(make_data, make_trainer, tmp_path):
    (tmp_path / "png").write_text("a file")
    with pytest.raises(OSError, match="choose another folder"):
        make_trainer(callbacks=[SyntheticImageLogger(str(tmp_path / "png"))]).fit(
            DMDistiller(ipc=1, network="convnet_w16"), datamodule=make_data()
        )


OPTIONS = {"ipc": 2, "network": "convnet_w16", "init": "noise", "formation": 1}


def fit(make_data, make_trainer, folder, steps, resume=None, columns=10):
    callback = SyntheticImageLogger(folder, columns=columns)
    trainer = make_trainer(max_steps=steps, callbacks=[callback])
    trainer.fit(DMDistiller(**OPTIONS), datamodule=make_data(num_classes=3, steps_per_epoch=2), ckpt_path=resume)
    return trainer


@pytest.mark.parametrize("columns", [1, 10])
def test_the_course_of_the_images_is_a_strip_and_an_animation(make_data, make_trainer, tmp_path, columns):
    trainer = fit(make_data, make_trainer, tmp_path, 4, columns=columns)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    fit(make_data, make_trainer, tmp_path, 6, tmp_path / "model.ckpt", columns)
    grids = [np.asarray(Image.open(tmp_path / f"step-{step}.png")) for step in (2, 4, 6)]
    shown = np.asarray(Image.open(tmp_path / "steps.png"))
    height, width = 96, 96  # 8 x 12
    for column, grid in enumerate(grids):
        for row in range(3):
            source = grid[row * (height + GAP) + GAP :, grid.shape[1] - min(columns, 2) * (width + GAP) :]
            top = shown.shape[0] - 3 * (height + GAP) - GAP + row * (height + GAP) + GAP
            left = shown.shape[1] - 3 * (width + GAP) + column * (width + GAP)
            assert np.array_equal(shown[top : top + height, left : left + width], source[:height, :width])
    with Image.open(tmp_path / "steps.gif") as animated:
        assert animated.n_frames == 3
        assert animated.info["loop"] == 0


def test_pictures_of_an_earlier_run_are_not_part_of_the_course(make_data, make_trainer, tmp_path):
    Image.new("RGB", (300, 300)).save(tmp_path / "step-1.png")
    fit(make_data, make_trainer, tmp_path, 4)
    with Image.open(tmp_path / "steps.gif") as animated:
        assert animated.n_frames == 2


def test_one_step_has_no_course(make_data, make_trainer, tmp_path):
    fit(make_data, make_trainer, tmp_path, 2)
    assert not (tmp_path / "steps.png").exists()


@pytest.mark.parametrize("columns", [0, -1, 1.5])
def test_bad_columns_are_refused_before_the_run(columns):
    with pytest.raises(ValueError, match=f"columns={columns}; it must be an integer of at least 1"):
        SyntheticImageLogger(columns=columns)
