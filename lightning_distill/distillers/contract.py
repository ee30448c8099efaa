"""``check_distiller``: the checks that every method of this package passes, for a method of your own."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.base import Distiller
from lightning_distill.distillers.quiet import quiet, quiet_trainer
from lightning_distill.distillers.real_batch import RealBatch

#: Arguments of the method, or a function that returns them for a data module.
Options = Mapping[str, Any] | Callable[[ArrayDataModule], Mapping[str, Any]]
#: Makes a distiller for a data module, with further arguments.
Make = Callable[..., Distiller]
STATE = {"synthetic.images", "synthetic.labels", "synthetic.lr", "synthetic.soft_label_logits"}


def check_distiller(method: type[Distiller], options: Options | None = None) -> None:
    """Run a method on tiny generated images, and check what a run, a checkpoint and a resumed run rely on.

    Takes some seconds on a CPU. `CHECKS` holds the checks by name, for ``pytest.mark.parametrize``.

    Args:
        method: Subclass of `Distiller`.
        options: Arguments of the method beside ``ipc``, ``network`` and ``seed``, or a function that returns them for a
            data module.

    Raises:
        AssertionError: A check fails; the message names it and what is wrong.

    Example:
        >>> from lightning_distill import DMDistiller
        >>> check_distiller(DMDistiller)
    """
    for check in CHECKS:
        run_check(check, method, options)


def run_check(name: str, method: type[Distiller], options: Options | None = None) -> None:
    """Run one check of `CHECKS`.

    Args:
        name: Name of the check.
        method: Subclass of `Distiller`.
        options: Arguments of the method, see `check_distiller`.

    Raises:
        AssertionError: The check fails.
    """

    def make(data: ArrayDataModule, **arguments: Any) -> Distiller:
        given = options(data) if callable(options) else options or {}
        # a cosine ends with max_steps, which differs between a whole and an interrupted run
        return method(**{"network": "convnet_w16", "lr_schedule": "constant", "seed": 3, **given, **arguments})

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CHECKS[name](make)


def _images_move(make: Make) -> None:
    for classes, channels, ipc in ((2, 1, 1), (3, 3, [3, 1, 2])):
        data = make_data(classes, channels)
        distiller = make(data, ipc=ipc)
        _fit(distiller, data, 3)
        images = distiller.synthetic.images.detach()
        _require(bool(images.isfinite().all()), "some pixel is not finite; look for a division by zero")
        _require(bool(_moved(distiller, data).all()), "some image has not moved; each class needs a loss")
        wanted = [ipc] * classes if isinstance(ipc, int) else ipc
        counts = distiller.synthetic.labels.bincount().tolist()
        _require(counts == wanted, f"images per class {counts}, asked for {wanted}")


def _sub_images_move(make: Make) -> None:
    data = make_data()
    distiller = make(data, ipc=1, formation=2)
    _fit(distiller, data, 3)
    moved = _moved(distiller, data, sub_images=True)
    _require(bool(moved.all()), "some sub-image has not moved; use synthetic.of_class, which decodes them")


def _resumed_run_is_the_run(make: Make) -> None:
    data = make_data()
    whole, first, second = (make(data, ipc=2) for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "half.ckpt"
        _fit(whole, data, 5)
        _fit(first, data, 3).save_checkpoint(path)
        _fit(second, data, 5, path)
    same = torch.equal(whole.synthetic.images, second.synthetic.images)
    _require(same, "a resumed run differs from a whole one; keep the state in self.extra_state, draw from self.seed")


def _checkpoint_holds_the_set(make: Make) -> None:
    data = make_data()
    distiller = make(data, ipc=[2, 1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "end.ckpt"
        _fit(distiller, data, 2).save_checkpoint(path)
        kept = str(dict(distiller.hparams_initial))
        _require(folder not in kept, f"a path of this machine is among the hyperparameters: {kept}")
        loaded = type(distiller).load_from_checkpoint(path, weights_only=True)
    same = torch.equal(loaded.synthetic.pixels(), distiller.synthetic.pixels())
    _require(same, "the images of the checkpoint are others")
    _require(loaded.hparams == distiller.hparams, f"hyperparameters {loaded.hparams} are not {distiller.hparams}")


def _networks_stay_out_of_the_state(make: Make) -> None:
    data = make_data()
    distiller = make(data, ipc=1)
    _fit(distiller, data, 2)
    more = sorted(set(distiller.state_dict()) - STATE)
    _require(not more, f"the state holds {more}; surrogates are parameters of a FunctionalNetwork, not modules")


def _losses_can_be_asked_for_again(make: Make) -> None:
    images: list[Tensor] = []
    for failing in (0, 2):  # the second of three steps runs out of memory after its first loss
        data = make_data()
        distiller = make(data, ipc=2)
        with _failing(distiller, failing):
            _fit(distiller, data, 3)
        images.append(distiller.synthetic.images.detach())
    same = torch.allclose(images[0], images[1], rtol=1e-4, atol=1e-5)
    _require(same, "losses of a repeated step differ: advance self.extra_state in after_step, not in losses")


#: Checks by name.
CHECKS: dict[str, Callable[[Make], None]] = {
    "images move and stay finite": _images_move,
    "sub-images move": _sub_images_move,
    "a resumed run is the run": _resumed_run_is_the_run,
    "a checkpoint holds the set": _checkpoint_holds_the_set,
    "networks stay out of the state": _networks_stay_out_of_the_state,
    "losses can be asked for again": _losses_can_be_asked_for_again,
}


def make_data(classes: int = 2, channels: int = 1) -> ArrayDataModule:
    """Return 12 generated uint8 images of 8x8 pixels for each class, which differ in where they are bright."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 12)
    images = random.integers(0, 90, (len(labels), 8, 8, channels))
    for row, label in enumerate(labels):
        images[row, 8 * label // classes : 8 * (label + 1) // classes] += 120
    pixels = images.astype(np.uint8)
    train = (pixels[..., 0] if channels == 1 else pixels, labels)
    return ArrayDataModule(
        train, train, train, name="blobs", augmentation="dsa", real_per_class=8, batch_size=16, steps_per_epoch=5
    )


def _fit(distiller: Distiller, data: ArrayDataModule, steps: int, checkpoint: Path | None = None) -> Trainer:
    trainer = quiet_trainer(steps, "32-true", "cpu")
    try:
        trainer.fit(distiller, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except FloatingPointError as error:
        raise AssertionError(
            f"a loss or its gradient is not finite at step {trainer.global_step} with ipc={distiller.ipc}; look for a "
            "division by zero, or a statistic of several images (a standard deviation) of a class that has one"
        ) from error
    return trainer


def _moved(distiller: Distiller, data: ArrayDataModule, sub_images: bool = False) -> Tensor:
    """Return for each image, or for each of 2 x 2 sub-images, whether it differs from the start."""
    change = (distiller.synthetic.images.detach() - distiller.init_synthetic(data).images.detach()).abs()
    if sub_images:
        change = change.unflatten(3, (2, 4)).unflatten(2, (2, 4))
    moved: Tensor = change.amax((1, 3, 5) if sub_images else (1, 2, 3)) > 0
    return moved


@contextmanager
def _failing(distiller: Distiller, call: int) -> Iterator[None]:
    """Let the given call of ``losses`` run out of memory after its first loss; 0 lets none."""
    losses, calls = distiller.losses, 0

    def fail_once(real: RealBatch) -> Iterator[Tensor]:
        nonlocal calls
        calls += 1
        number = calls
        for loss in losses(real):
            yield loss
            if number == call:
                raise torch.OutOfMemoryError

    distiller.losses = fail_once  # type: ignore[method-assign]
    try:
        yield
    finally:
        del distiller.losses
    _require(calls == 3 + bool(call), f"losses was called {calls} times in three steps")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
