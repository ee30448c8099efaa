"""Signatures of set files and exports: OpenSSL verifies them, and nothing else passes."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import torch

pytest.importorskip("cryptography")

from lightning_distill import DataSpec, export_set, save_set
from lightning_distill.sets.keys import create_key_pair, fingerprint, load_public_key
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.signature import SIGNATURE, sign_set, verify_set
from lightning_distill.utils.errors import UntrustedSetError


@pytest.fixture
def keys(tmp_path):
    return create_key_pair(tmp_path / "keys" / "a.pem")


@pytest.fixture
def source(tmp_path):
    spec = DataSpec("toy", (1, 8, 8), ("a", "b"), (100.0,), (50.0,))
    pixels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return save_set(tmp_path / "set", LabeledSet(pixels, torch.tensor([0, 0, 1, 1]), spec), {"method": "DM"})


@pytest.fixture(params=["set", "npz", "hf", "imagefolder"])
def signed(request, tmp_path, source, keys):
    """A signed set of each form, and the name of the signed file."""
    names = {"set": "set.safetensors", "npz": "set.npz"}
    folder = source.parent
    if request.param != "set":
        folder = export_set(source, tmp_path / "out", to=request.param)
    signature, print_ = sign_set(folder, keys[0])
    assert signature == folder / SIGNATURE
    assert print_ == fingerprint(load_public_key(keys[1]))
    return folder, names.get(request.param, "SHA256SUMS")


def test_a_signature_is_verified(signed, keys):
    folder, name = signed
    signature = verify_set(folder, keys[1])
    assert signature.signed_file == name
    assert signature.fingerprint == fingerprint(load_public_key(keys[1]))
    assert len((folder / SIGNATURE).read_bytes()) == 64


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_openssl_verifies_ours_and_we_verify_its(signed, keys):
    folder, name = signed
    command = ["openssl", "pkeyutl", "-rawin", "-in", folder / name]
    done = subprocess.run(
        [*command, "-verify", "-pubin", "-inkey", keys[1], "-sigfile", folder / SIGNATURE], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    ours = (folder / SIGNATURE).read_bytes()
    subprocess.run([*command, "-sign", "-inkey", keys[0], "-out", folder / SIGNATURE], check=True)
    assert (folder / SIGNATURE).read_bytes() == ours  # ed25519 is deterministic
    verify_set(folder, keys[1])


def test_another_key_a_changed_file_and_a_missing_signature_are_refused(signed, keys, tmp_path):
    folder, name = signed
    _, other = create_key_pair(tmp_path / "b.pem")
    with pytest.raises(UntrustedSetError, match=rf"signature of {name} is not valid for b\.pub\.pem"):
        verify_set(folder, other)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UntrustedSetError, match="it was changed after it was signed"):
        verify_set(folder, keys[1])
    (folder / name).write_bytes(content)
    for signature in (b"", b"x" * 64, (folder / SIGNATURE).read_bytes()[:-1]):
        (folder / SIGNATURE).write_bytes(signature)
        with pytest.raises(UntrustedSetError, match="is not valid"):
            verify_set(folder, keys[1])
    (folder / SIGNATURE).unlink()
    with pytest.raises(UntrustedSetError, match=rf"{name} is not signed: set\.sig is not beside it"):
        verify_set(folder, keys[1])


def test_the_signature_of_an_export_covers_every_file(tmp_path, source, keys):
    folder = export_set(source, tmp_path / "out", to="hf")
    sign_set(folder, keys[0])
    for name in ("README.md", "croissant.json", "train/000000.png", "card.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b"\n")
        with pytest.raises(UntrustedSetError, match=rf"{re.escape(name)}. in out was added, removed or changed"):
            verify_set(folder, keys[1])
        (folder / name).write_bytes(content)
    (folder / "train/zzz.png").write_bytes(b"")
    with pytest.raises(UntrustedSetError, match=r"'train/zzz\.png' in out"):
        verify_set(folder, keys[1])


def test_a_set_that_is_written_again_needs_a_new_signature(source, keys):
    from lightning_distill.sets.storage import read_set

    sign_set(source, keys[0])
    data, card = read_set(source)
    save_set(source.parent, data, {**card, "audit": {"auc": 0.5}})
    with pytest.raises(UntrustedSetError):
        verify_set(source, keys[1])
    sign_set(source, keys[0])
    verify_set(source.parent, keys[1])


def test_missing_sets_are_named(tmp_path, keys):
    for function, key in ((sign_set, keys[0]), (verify_set, keys[1])):
        with pytest.raises(FileNotFoundError, match="no set file"):
            function(tmp_path, key)
        with pytest.raises(FileNotFoundError, match="no set file"):
            function(tmp_path / "nowhere", key)
