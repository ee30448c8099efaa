"""``export``: options that belong together, and what is printed."""

from __future__ import annotations

import sys

import pytest
import torch

from lightning_distill import DataSpec, load_set, save_set
from lightning_distill.cli import main
from lightning_distill.sets.labeled_set import LabeledSet


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = DataSpec("toy", (1, 8, 8), ("a", "b"), (100.0,), (50.0,))
    pixels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return str(save_set(tmp_path / "set", LabeledSet(pixels, torch.tensor([0, 0, 1, 1]), spec, formation=2), {}).parent)


def refused(capsys, *words):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["export", *words])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_an_export_is_read_back(source, capsys):
    for to in ("imagefolder", "npz", "hf"):
        main(["export", source, "--to", to, "--out", f"out-{to}"])
        assert capsys.readouterr().out == f"{to}: out-{to}\n"
        assert len(load_set(f"out-{to}")) == 16
    main(["export", source, "--to", "npz", "--out", "stored", "--decode", "false"])
    assert torch.equal(load_set("stored").tensors[0], load_set(source).tensors[0])


def test_options_that_do_not_go_together_are_refused(source, capsys):
    assert "--to FORMAT and --out FOLDER belong together" in refused(capsys, source, "--to", "npz")
    assert "--to FORMAT and --out FOLDER belong together" in refused(capsys, source, "--out", "x")
    assert "export needs --to FORMAT --out FOLDER, --sign KEY, or both" in refused(capsys, source)
    assert "give a set" in refused(capsys)
    assert "give a set" in refused(capsys, "--sign", "key.pem")
    assert "--to" in refused(capsys, source, "--to", "zip", "--out", "x")
    assert "which are not overwritten" in refused(capsys, source, "--to", "npz", "--out", source)


def test_a_signed_export_is_one_line(source, capsys):
    pytest.importorskip("cryptography")
    main(["export", source, "--new_key", "key.pem", "--to", "hf", "--out", "out", "--sign", "key.pem"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "private key, keep it: key.pem; public key, for receivers: key.pub.pem"
    assert lines[1] == "hf: out"
    assert lines[2].startswith("signature: out/set.sig, public key sha256 ")
    main(["inspect", "out", "--verify", "key.pub.pem", "--picture=null"])
    assert "signature: valid for SHA256SUMS" in capsys.readouterr().out


def test_nothing_is_written_with_a_key_that_cannot_sign(source, capsys, tmp_path):
    pytest.importorskip("cryptography")
    main(["export", "--new_key", "key.pem"])
    capsys.readouterr()
    before = sorted(tmp_path.rglob("*"))
    assert "is a public key" in refused(capsys, source, "--to", "hf", "--out", "out", "--sign", "key.pub.pem")
    assert "no key file" in refused(capsys, source, "--sign", "nowhere.pem")
    assert "exists; a key is never overwritten" in refused(capsys, "--new_key", "key.pem")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_set_is_not_signed(source, capsys):
    pytest.importorskip("cryptography")
    main(["export", "--new_key", "key.pem"])
    with open("set/set.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x00" if file.read(1) != b"\x00" else b"\x01")
    capsys.readouterr()
    assert "set.safetensors" in refused(capsys, source, "--sign", "key.pem")


def test_without_cryptography_the_command_to_install_it_is_shown(source, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for words in ((source, "--sign", "key.pem"), ("--new_key", "key.pem")):
        assert "pip install 'lightning-distill[sign]'" in refused(capsys, *words)
