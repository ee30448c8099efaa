from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import blobs

from lightning_distill.cli import main
from lightning_distill.signals import read_bank


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The options of a site's data, an npz file that a number names."""
    monkeypatch.chdir(tmp_path)

    def make(number: int) -> list[str]:
        train, val = blobs(2, 10 + number, seed=number), blobs(2, 4, seed=9)
        np.savez(
            f"site{number}.npz", train_images=train[0], train_labels=train[1], val_images=val[0], val_labels=val[1]
        )
        return ["--data", "NpzDataModule", "--data.path", f"site{number}.npz"]

    return make


BANK = ["--network", "convnet_w16", "--draws", "2", "--compile", "off"]


def test_two_sites_agree_on_statistics_merge_and_distil(site, tmp_path, capsys):
    for number in (1, 2):
        main(["signals", *site(number), "--pixel_sums", "true", "--out", f"p{number}.json"])
    for number in (1, 2):
        main(["signals", *site(number), *BANK, "--statistics", "[p1.json,p2.json]", "--out", f"s{number}.safetensors"])
    main(["signals-merge", "s1.safetensors", "s2.safetensors", "--out", "all.safetensors"])
    pixels = np.concatenate([np.load(f"site{number}.npz")["train_images"] for number in (1, 2)])
    merged = read_bank("all.safetensors")
    assert merged.counts.tolist() == [[23.0, 23.0]] * 2
    np.testing.assert_allclose(merged.spec.mean, pixels.mean(), rtol=1e-6)
    np.testing.assert_allclose(merged.spec.std, pixels.std(), rtol=1e-6)
    assert "2 banks of 46 images together" in capsys.readouterr().out
    main([
        "fit", "--model", "DMDistiller", "--model.ipc", "1", "--data", "SignalsDataModule", "--data.signals",
        "[s1.safetensors,s2.safetensors]", "--trainer.max_steps", "2", "--trainer.logger", "false",
        "--trainer.callbacks+=SyntheticSetExport", "--trainer.callbacks.dirpath=out",
    ])  # fmt: skip
    assert (tmp_path / "out" / "last" / "set.safetensors").is_file()


def test_a_guarantee_is_printed_and_a_second_release_is_charged(site, capsys):
    pytest.importorskip("opacus", reason="the extra dp is not installed")
    data = site(1)
    main(["signals", *data, *BANK, "--epsilon", "4", "--delta", "1e-3", "--out", "a.safetensors"])
    assert "epsilon 4.00, delta 0.001" in capsys.readouterr().out.replace("\n", " ")
    main(
        [
            "signals",
            *data,
            *BANK,
            "--epsilon",
            "8",
            "--delta",
            "1e-3",
            "--earlier",
            "[a.safetensors]",
            "--out",
            "b.safetensors",
        ]
    )
    assert "earlier release(s)" in capsys.readouterr().out
    assert not torch.equal(read_bank("a.safetensors").sums, read_bank("b.safetensors").sums)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--statistics", "[p.json]", "--mean", "[1]", "--std", "[1]"], "exclude each other"),
        (["--statistics", "[p.json]", "--epsilon", "1"], "give constants"),
        (["--statistics", "[nowhere.json]"], "nowhere.json does not exist"),
        (["--earlier", "[a.safetensors]"], "--earlier belongs to --epsilon"),
        (["--epsilon", "1", "--train_steps", "2"], "trained on the data"),
        (["--epsilon", "1", "--earlier", "[plain.safetensors]"], "released without noise"),
        (["--epsilon", "0"], "epsilon=0"),
        (["--network", "convnet_batch"], "batch norm"),
        (["--out", "."], "it is a folder"),
    ],
)
def test_bad_options_end_with_one_line_and_status_2(options, message, site, capsys):
    data = site(1)
    main(["signals", *data, "--pixel_sums", "true", "--out", "p.json"])
    main(["signals", *data, *BANK, "--out", "plain.safetensors"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["signals", *data, *BANK, *options])
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert message in error
    assert len(error.splitlines()) == 1
