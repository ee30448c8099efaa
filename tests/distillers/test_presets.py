"""Arguments that a preset sets: the table, explicit arguments, checkpoints, small data, and short runs."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from pathlib import Path

import pytest
import torch

from lightning_distill import DCDistiller, Distiller, DMDistiller, DSADistiller, MTTDistiller, SyntheticSetExport
from lightning_distill.distillers import presets
from lightning_distill.distillers.presets import PRESETS, PerPixel, Preset, find_preset
from lightning_distill.networks import create_network
from lightning_distill.objectives import gradient_distance

SMALL = {"ipc": 1, "network": "convnet_w16"}
NAMES = ("lr", "init", "formation")
#: The defaults of the methods before there were presets.
PAPER = {
    DMDistiller: (1.0, "real", 1),
    DCDistiller: (0.1, "noise", 1),
    DSADistiller: (0.1, "real", 1),
    MTTDistiller: (1000.0, "real", 1),
}


def values(distiller) -> tuple:
    assert [getattr(distiller, name) for name in NAMES] == [distiller.hparams[name] for name in NAMES]
    assert distiller.hparams == distiller.hparams_initial
    return tuple(distiller.hparams[name] for name in NAMES)


@pytest.mark.parametrize("method", PAPER, ids=lambda cls: cls.__name__)
def test_paper_preset_has_the_values_of_the_paper(method):
    assert values(method(preset="paper", **SMALL)) == PAPER[method]
    explicit = dict(zip(NAMES, PAPER[method], strict=True))
    assert values(method(**explicit, **SMALL)) == PAPER[method]


@pytest.mark.parametrize("method", [DMDistiller, DCDistiller, DSADistiller], ids=lambda cls: cls.__name__)
def test_paper_preset_is_bit_identical_to_the_values_given_one_by_one(method, make_data, make_trainer):
    images = []
    given = dict(zip(NAMES, PAPER[method], strict=True)) | ({"pool": 0} if method is DMDistiller else {})
    for options in ({"preset": "paper"}, given):
        distiller = method(seed=2, **options, **SMALL)
        make_trainer(max_steps=2).fit(distiller, datamodule=make_data())
        images.append(distiller.synthetic.images.detach())
    assert torch.equal(*images)


def test_explicit_arguments_win(make_data, make_trainer, tmp_path):
    distiller = DMDistiller(lr=0.5, formation=1, **SMALL)
    assert values(distiller) == (0.5, "herding", 1)
    make_trainer(callbacks=[SyntheticSetExport(str(tmp_path))]).fit(distiller, datamodule=make_data())
    assert values(distiller) == (0.5, "herding", 1)
    assert distiller.optimizers().param_groups[0]["lr"] == 0.5
    card = json.loads((tmp_path / "last" / "card.json").read_text())
    assert tuple(card["hyper_parameters"][name] for name in NAMES) == (0.5, "herding", 1)
    assert card["hyper_parameters"]["preset"] == "default"


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (1, 28)])
@pytest.mark.parametrize("method", [DCDistiller, DSADistiller], ids=lambda cls: cls.__name__)
def test_rate_of_gradient_matching_is_known_with_the_data_and_grows_with_the_image(
    method, channels, size, make_data, make_trainer, tmp_path
):
    distiller, data = method(**SMALL), make_data(channels=channels, size=size)
    assert distiller.lr is None
    trainer = make_trainer(max_steps=1, callbacks=[SyntheticSetExport(str(tmp_path))])
    trainer.fit(distiller, datamodule=data)
    (rate,) = (row.lr.rate for row in PRESETS if (row.method, row.name) == (method.__name__, "default"))
    assert values(distiller) == (pytest.approx(rate * channels * size * size), "real", 1)
    assert trainer.optimizers[0].param_groups[0]["lr"] == distiller.lr
    assert json.loads((tmp_path / "last" / "card.json").read_text())["hyper_parameters"]["lr"] == distiller.lr


def test_turn_of_an_image_by_gradient_matching_falls_with_its_pixels():
    turns = []
    for size in (8, 16, 32):
        total = 0.0
        for seed in range(6):
            torch.manual_seed(seed)
            network = create_network("convnet_w16", 1, 2, (size, size))
            real, synthetic = torch.randn(16, 1, size, size), torch.randn(1, 1, size, size, requires_grad=True)
            loss = torch.nn.functional.cross_entropy
            weights = list(network.parameters())
            a = torch.autograd.grad(loss(network(real), torch.zeros(16, dtype=torch.long)), weights)
            output = loss(network(synthetic), torch.zeros(1, dtype=torch.long))
            b = torch.autograd.grad(output, weights, create_graph=True)
            (gradient,) = torch.autograd.grad(gradient_distance(a, b, "rowwise"), synthetic)
            total += (gradient.norm() / synthetic.norm()).item()
        turns.append(total)
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(turns)]
    assert all(1 < slope < 3 for slope in slopes), slopes  # PerPixel assumes 2: four times the pixels, a quarter


def test_hyperparameters_of_a_logger_are_resolved(make_data, make_trainer, tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path)
    logged = {}
    logger.log_hyperparams = lambda params, *_: logged.update(params)
    logger.save = lambda: None
    make_trainer(max_steps=1, logger=logger).fit(DCDistiller(**SMALL), datamodule=make_data())
    assert logged["lr"] > 0
    assert (logged["init"], logged["formation"], logged["preset"]) == ("real", 1, "default")


@pytest.mark.parametrize("method", [DMDistiller, DCDistiller], ids=lambda cls: cls.__name__)
def test_checkpoint_keeps_the_resolved_values(method, make_data, make_trainer, tmp_path):
    distiller, trainer = method(**SMALL), make_trainer(max_steps=1)
    trainer.fit(distiller, datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = method.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert values(loaded) == values(distiller)
    assert None not in values(loaded)


def old_checkpoint(make_data, make_trainer, path: Path) -> torch.Tensor:
    """Write a checkpoint as it was written before presets and sub-images, after two of four steps; return the end."""
    options = {"lr": 1.0, "init": "real", "seed": 3, "ipc": 2, "network": "convnet_w16"}
    whole = DMDistiller(formation=1, **options)
    make_trainer(max_steps=4).fit(whole, datamodule=make_data(steps_per_epoch=4))
    first, trainer = DMDistiller(formation=1, **options), make_trainer(max_steps=2)
    trainer.fit(first, datamodule=make_data(steps_per_epoch=4))
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["formation"]
    for name in ("preset", "formation"):
        del checkpoint["hyper_parameters"][name]
    torch.save(checkpoint, path)
    return whole.synthetic.images


def test_old_checkpoint_is_loaded_and_resumed_with_its_own_values(make_data, make_trainer, tmp_path):
    expected = old_checkpoint(make_data, make_trainer, tmp_path / "old.ckpt")
    loaded = DMDistiller.load_from_checkpoint(tmp_path / "old.ckpt", weights_only=True)
    resumed = DMDistiller(ipc=2, network="convnet_w16", seed=3)
    for distiller in (loaded, resumed):
        make_trainer(max_steps=4).fit(
            distiller, datamodule=make_data(steps_per_epoch=4), ckpt_path=tmp_path / "old.ckpt", weights_only=True
        )
        assert values(distiller) == (1.0, "real", 1)
        assert distiller.synthetic.counts == [2, 2]
        assert torch.equal(distiller.synthetic.images, expected)


def test_checkpoint_with_another_formation_than_the_given_one_is_refused(make_data, make_trainer, tmp_path):
    old_checkpoint(make_data, make_trainer, tmp_path / "old.ckpt")
    with pytest.raises(ValueError, match=r"checkpoint has formation=1, the distiller formation=2; make .* formation=1"):
        make_trainer(max_steps=4).fit(
            DMDistiller(ipc=2, network="convnet_w16", formation=2), datamodule=make_data(),
            ckpt_path=tmp_path / "old.ckpt", weights_only=True,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "ipc", "reason"),
    [
        ({"size": 15}, 1, "images of 15 x 15 pixels are too small for the default formation=2; formation=1 is used"),
        (
            {"per_class": 7, "size": 16},
            2,
            "class '0' has 7 training images, fewer than the 8 of the default formation=2",
        ),
        ({"per_class": 8, "size": 16}, 2, None),
    ],
    ids=str,
)
def test_default_formation_gives_way_to_small_data_and_says_so_once(
    data, ipc, reason, make_data, make_trainer, monkeypatch
):
    said = []
    monkeypatch.setattr(presets, "rank_zero_info", said.append)
    distiller = DMDistiller(ipc=ipc, network="convnet_w16")
    make_trainer(max_steps=1).fit(distiller, datamodule=make_data(**data))
    assert values(distiller) == (4.0, "herding", 1 if reason else 2)
    assert distiller.synthetic.formation == distiller.formation
    assert len(said) == (reason is not None)
    assert reason is None or reason in said[0]
    if "per_class" in data and reason:  # a formation that was given is not changed
        with pytest.raises(ValueError, match="formation"):
            make_trainer(max_steps=1).fit(
                DMDistiller(ipc=ipc, network="convnet_w16", formation=2), datamodule=make_data(**data)
            )


def test_subclasses_inherit_rows_and_new_methods_have_the_plain_defaults():
    class Variant(DMDistiller):
        pass

    class Method(Distiller):
        def losses(self, real):
            yield self.synthetic.images.sum()

    assert values(Variant(**SMALL)) == values(DMDistiller(**SMALL)) == (4.0, "herding", 2)
    assert values(Method(**SMALL)) == values(Method(preset="paper", **SMALL)) == (1.0, "real", 1)


def test_a_regime_is_chosen_by_ipc_channels_and_task(make_data, make_trainer, monkeypatch):
    rows = (
        Preset("DMDistiller", "default", 7.0, "real", 1, 0, "a.csv", ipc=(50, math.inf)),
        Preset("DMDistiller", "default", 5.0, "kmeans", 1, 0, "b.csv", channels=(3,), tasks=("multi-class",)),
        Preset("DMDistiller", "default", 3.0, "herding", 1, 0, "c.csv"),
    )
    monkeypatch.setattr(presets, "PRESETS", rows)
    assert DMDistiller(ipc=[1, 60]).lr == 7.0
    assert DMDistiller(ipc=10).lr is None
    for channels, classes, lr in ((3, 3, 5.0), (1, 3, 3.0), (3, 2, 3.0)):
        distiller = DMDistiller(**SMALL)
        make_trainer(max_steps=1).fit(distiller, datamodule=make_data(channels=channels, num_classes=classes))
        assert distiller.lr == lr


def test_every_row_can_be_found_and_names_existing_evidence():
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    for row in PRESETS:
        assert row.method == "Distiller" or row.evidence.startswith("arXiv") or (results / row.evidence).is_file()
        assert isinstance(row.lr, PerPixel) or row.lr > 0
    for method in (*PAPER, Distiller):
        for name in ("default", "paper"):
            assert find_preset(method, name, 10) is not None


def test_unknown_preset_is_refused_before_any_work():
    with pytest.raises(ValueError, match=r"unknown preset 'best'; use one of default, paper"):
        DMDistiller(preset="best")


def caught(trainer, distiller, data) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        trainer.fit(distiller, datamodule=data)
    return [str(warning.message) for warning in found if "far fewer" in str(warning.message)]


def test_short_run_is_warned_of_once_with_the_steps_and_the_way_out(make_data, make_trainer):
    (text,) = caught(make_trainer(max_steps=2), DCDistiller(preset="paper", **SMALL), make_data())
    needed = find_preset(DCDistiller, "paper", 1).min_steps
    assert text.startswith(f"2 steps are far fewer than the {needed} that DCDistiller with preset='paper' needs")
    assert text.endswith("raise trainer.max_steps, or use preset='default'")
    (text,) = caught(make_trainer(max_steps=2), DMDistiller(**SMALL), make_data())
    assert "dm_formation.csv" in text
    assert "`coreset`" in text


def test_long_runs_trials_and_other_methods_are_not_warned_of(make_data, make_trainer, monkeypatch):
    class Method(DMDistiller):
        pass

    assert not caught(make_trainer(max_steps=-1, fast_dev_run=True), DMDistiller(**SMALL), make_data())
    monkeypatch.setattr(presets, "PRESETS", (Preset("DMDistiller", "default", 1.0, "real", 1, 2, "a.csv"),))
    assert not caught(make_trainer(max_steps=2), Method(**SMALL), make_data())
    assert len(caught(make_trainer(max_steps=1), Method(**SMALL), make_data())) == 1
