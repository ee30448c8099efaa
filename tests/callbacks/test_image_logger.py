from __future__ import annotations

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from lightning_distill import DMDistiller, SyntheticImageLogger
from lightning_distill.sets.image_grid import image_grid


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
