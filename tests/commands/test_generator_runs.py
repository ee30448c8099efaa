"""``fit`` of a generator from the command line, and ``generate`` from its checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import blobs

from lightning_distill.cli import main
from lightning_distill.commands._lightning_cli import full_method_names, names_generator
from lightning_distill.generators import load_generator
from lightning_distill.sets.storage import read_set


@pytest.fixture
def words(tmp_path):
    """Words of a tiny run, without its model and number of steps."""
    arrays = {}
    for seed, (split, count) in enumerate((("train", 30), ("val", 8), ("test", 8))):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = blobs(2, count, seed=seed)
    np.savez(tmp_path / "blobs.npz", **arrays)
    data = ["--data", "NpzDataModule", "--data.path", str(tmp_path / "blobs.npz"), "--data.steps_per_epoch", "2"]
    return [*data, "--trainer.accelerator", "cpu", "--trainer.logger", "false", "--out", str(tmp_path / "run")]


FLOW = ["--model", "flow", "--model.widths", "[16]", "--model.batch_size", "8", "--model.sampling_steps", "2"]
GAN = ["--model=gan", "--model.widths=[16]", "--model.batch_size=8", "--model.conditioning=modulated"]


@pytest.mark.parametrize("model", [FLOW, GAN])
def test_fit_leaves_pictures_and_checkpoints_and_generate_draws_from_them(model, words, tmp_path, caplog):
    caplog.set_level("INFO")
    main(["fit", *model, *words, "--trainer.max_steps", "4"])
    run = tmp_path / "run"
    assert "lightning-distill generate --ckpt" in caplog.text
    assert {path.name for path in (run / "pictures").iterdir()} == {"step-2.png", "step-4.png"}
    assert {path.name for path in (run / "checkpoints").glob("*.ckpt")} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert load_generator(run / "checkpoints" / "last.ckpt").trained_steps == 4
    assert not (run / "last").exists()  # no set is exported, and no student is trained
    best = str(run / "checkpoints" / "best.ckpt")
    main(["generate", best, "--ipc", "5", "--out", str(tmp_path / "set"), "--accelerator", "cpu"])
    assert len(read_set(tmp_path / "set")[0].labels) == 10
    main(["fit", *model, *words, "--trainer.max_steps", "6", "--ckpt_path", "last"])
    assert load_generator(run / "checkpoints" / "last.ckpt").trained_steps == 6


def test_a_configuration_names_the_generator(words, tmp_path):
    config = tmp_path / "flow.yaml"
    options = "{widths: [16], batch_size: 4, sampling_steps: 1}"
    config.write_text(f"model: {{class_path: FlowGenerator, init_args: {options}}}\ntrainer: {{max_steps: 2}}\n")
    main(["fit", "--config", str(config), *words])
    assert load_generator(tmp_path / "run" / "checkpoints" / "last.ckpt").uniform_batch_size == 4


def test_the_model_decides_on_the_command_line():
    assert names_generator(full_method_names(["fit", "--model", "gan"]))
    assert names_generator(["fit", "--model.class_path=lightning_distill.FlowGenerator"])
    assert not names_generator(full_method_names(["fit", "--model", "dm"]))
    assert not names_generator(["fit", "--config", "no-such-file.yaml"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--model.zap", "1"], "FlowGenerator has no option --model.zap"),
        (["--model.widths", "[17]"], "multiple of 16"),
        (["--students", "2"], "students"),
        (["--trainer.precision", "64-true"], "generators train in 32-true or bf16-mixed"),
        (["--ckpt_path", "none.ckpt"], "none.ckpt"),
    ],
)
def test_bad_input_is_one_line(extra, message, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", *FLOW, *words, "--trainer.max_steps", "2", *extra])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2
    assert error.startswith("lightning-distill:")
    assert message in error


def test_validate_of_a_generator_names_the_way_out(words, capsys):
    with pytest.raises(SystemExit):
        main(["validate", *FLOW, *words[:-2]])
    assert "draw one by `lightning-distill generate --ckpt FILE`" in capsys.readouterr().err


def test_a_misspelt_generator_gets_the_closest_names(words, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--model", "FlwGenerator", *words])
    error = capsys.readouterr().err.strip()
    assert "there is no class 'FlwGenerator'; use FlowGenerator" in error
