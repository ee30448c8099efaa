"""Key files: what is made is readable by OpenSSL, and every other file is refused by name."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lightning_distill.sets.keys import (
    PASSPHRASE,
    create_key_pair,
    fingerprint,
    load_private_key,
    load_public_key,
    require_cryptography,
)
from lightning_distill.utils.errors import MissingExtraError

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8, OPENSSH = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.OpenSSH
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
PLAIN = serialization.NoEncryption()


def write(path, content):
    path.write_bytes(content)
    return path


def test_a_pair_is_made_and_read(tmp_path):
    private, public = create_key_pair(tmp_path / "keys" / "mine.pem")
    assert (private.name, public.name) == ("mine.pem", "mine.pub.pem")
    assert private.stat().st_mode & 0o777 == 0o600
    key = load_private_key(private).public_key()
    assert key == load_public_key(public)
    assert fingerprint(key) == hashlib.sha256(key.public_bytes_raw()).hexdigest()


def test_keys_are_never_overwritten(tmp_path):
    private, _ = create_key_pair(tmp_path / "a.pem")
    with pytest.raises(FileExistsError, match=r"a\.pem exists; a key is never overwritten"):
        create_key_pair(private)
    private.unlink()
    with pytest.raises(FileExistsError, match=r"a\.pub\.pem exists"):
        create_key_pair(private)
    assert not private.exists()


def test_a_passphrase_is_taken_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    private, public = create_key_pair(tmp_path / "a.pem")
    assert b"ENCRYPTED" in private.read_bytes()
    assert load_private_key(private).public_key() == load_public_key(public)
    monkeypatch.setenv(PASSPHRASE, "wrong")
    with pytest.raises(ValueError, match=f"or {PASSPHRASE} is not its passphrase") as error:
        load_private_key(private)
    assert "wrong" not in str(error.value)
    monkeypatch.delenv(PASSPHRASE)
    with pytest.raises(ValueError, match=f"has a passphrase; set the environment variable {PASSPHRASE}"):
        load_private_key(private)


def test_other_kinds_are_refused_by_name(tmp_path):
    for number, key in enumerate((rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1()))):
        private = write(tmp_path / f"{number}.pem", key.private_bytes(PEM, PKCS8, PLAIN))
        public = write(tmp_path / f"{number}.pub.pem", key.public_key().public_bytes(PEM, PUBLIC))
        with pytest.raises(ValueError, match=r"\d.pem is no ed25519 key"):
            load_private_key(private)
        with pytest.raises(ValueError, match=r"\d.pub.pem is no ed25519 key"):
            load_public_key(public)


def test_swapped_keys_are_refused(tmp_path):
    private, public = create_key_pair(tmp_path / "a.pem")
    with pytest.raises(ValueError, match=r"a\.pub\.pem is a public key or a certificate; --sign needs the private key"):
        load_private_key(public)
    with pytest.raises(ValueError, match=r"a\.pem is a private key; --verify takes its public key"):
        load_public_key(private)


def test_other_files_are_refused(tmp_path):
    key = ed25519.Ed25519PrivateKey.generate()
    ssh = write(tmp_path / "id_ed25519", key.private_bytes(PEM, OPENSSH, PLAIN))
    ssh_public = write(
        tmp_path / "id_ed25519.pub",
        key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
    )
    der = write(tmp_path / "key.der", key.private_bytes(DER, PKCS8, PLAIN))
    pem = key.private_bytes(PEM, PKCS8, PLAIN)
    cut = write(tmp_path / "cut.pem", pem[:50])
    empty = write(tmp_path / "empty.pem", b"")
    for load in (load_private_key, load_public_key):
        for path in (ssh, ssh_public):
            with pytest.raises(ValueError, match="is an OpenSSH key, which is not read"):
                load(path)
        for path in (der, empty):
            with pytest.raises(ValueError, match="is no PEM file"):
                load(path)
        with pytest.raises(FileNotFoundError, match="no key file"):
            load(tmp_path / "nowhere.pem")
        with pytest.raises(FileNotFoundError, match="no key file"):
            load(tmp_path)
    with pytest.raises(ValueError, match="is no readable private key") as error:
        load_private_key(cut)
    assert pem.decode().splitlines()[1][:12] not in str(error.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_openssl_reads_our_keys_and_we_read_its(tmp_path):
    private, public = create_key_pair(tmp_path / "a.pem")
    written = subprocess.run(["openssl", "pkey", "-in", private, "-pubout"], capture_output=True, check=True).stdout
    assert written == public.read_bytes()
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "o.pem"], check=True)
    command = ["openssl", "pkey", "-in", tmp_path / "o.pem", "-pubout", "-out", tmp_path / "o.pub.pem"]
    subprocess.run(command, check=True)
    assert load_private_key(tmp_path / "o.pem").public_key() == load_public_key(tmp_path / "o.pub.pem")


def test_without_cryptography_the_command_to_install_it_is_shown(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lightning-distill\[sign\]'"):
        require_cryptography()
