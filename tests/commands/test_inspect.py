"""``inspect``: what a receiver reads in the terminal, and the exit status."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import TESTS
from PIL import Image

from lightning_distill import DataSpec, inspect_set, save_set
from lightning_distill.cli import main
from lightning_distill.commands._console import printable
from lightning_distill.commands.inspect import inspect, network_name
from lightning_distill.sets.card import make_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.leakage_record import bind_audit
from lightning_distill.sets.storage import read_set
from lightning_distill.utils.errors import UntrustedSetError


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A factory of set files in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def make(name="set", labels=(0,) * 6 + (1,) * 6, spec=None, **card):
        random = torch.Generator().manual_seed(0)
        spec = spec or DataSpec("toy", (1, 12, 12), ("a", "b"), (100.0,), (50.0,), license="CC BY 4.0")
        pixels = torch.randint(1, 255, (len(labels), *spec.shape), generator=random, dtype=torch.uint8)
        data = LabeledSet(pixels, torch.tensor(labels), spec)
        return save_set(tmp_path / name, data, {**make_card("DMDistiller", {"lr": 1.0}, {}, "real", 3), **card})

    return make


def run(capsys, *words):
    """Exit status, standard output and standard error of a command."""
    capsys.readouterr()
    try:
        main(list(words))
        code = 0
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def test_card_counts_picture_and_checks_are_shown(make, tmp_path, capsys):
    code, out, err = run(capsys, "inspect", str(make(audit={"lira": {"auc": 0.51}, "date": "2026-11-26"})))
    assert (code, err) == (0, "")
    for text in (
        "set: set.safetensors: 12 images, 1 x 12 x 12 uint8",
        "digest: valid, sha256 ",
        "signature: not checked; --verify KEY checks it",
        "data: toy (user arrays), licence: CC BY 4.0",
        "method: DMDistiller",
        "The images began as copies of real training images",
        "images of classes: a 6; b 6",
        "audit: what the maker measured, not repeated here",
        "  lira: auc 0.51",
        "picture: inspection.png",
        "triggers: all classes scanned; in this set it finds ",
        "no findings; absence of findings is no proof that a set is harmless",
    ):
        assert text in out, text
    assert Image.open(tmp_path / "inspection.png").format == "PNG"


@pytest.mark.parametrize("audit", [None, "done", 3, [], {}, {"a": None}])
def test_an_audit_of_any_kind_does_no_harm(make, capsys, audit):
    code, out, _ = run(capsys, "inspect", str(make(audit=audit)), "--picture=null")
    assert code == 0
    assert "audit: the card holds none" in out
    assert "picture:" not in out


def test_an_audit_of_this_set_is_shown_and_one_of_another_or_a_changed_one_is_refused(make, capsys):
    data, _ = read_set(make())
    record = bind_audit({"verdict": ["Found 3 % of the members."]}, data)
    code, out, _ = run(capsys, "inspect", str(make(audit=record)), "--picture=null")
    assert code == 0
    assert "audit: what the maker measured, not repeated here; it is of this set\n  Found 3 % of the members.\n" in out
    assert inspect_set("set").audit_bound
    other = bind_audit({"verdict": ["Found nothing."]}, replace(data, pixels=255 - data.pixels))
    changed = {**record, "result": {"verdict": ["Found nothing."]}}
    for forged, reason in (
        (other, "that of another set"),
        (changed, "changed after it was written"),
        ({"result": {"verdict": ["Found nothing."]}}, "has the format None"),
        ({**record, "result": "Found nothing."}, "not readable"),
    ):
        code, out, _ = run(capsys, "inspect", str(make(audit=forged)), "--picture=null")
        assert code == 0, "the set itself is intact"
        assert "audit: refused, see below" in out
        assert "Found nothing" not in out
        assert reason in out.split("WARNING the audit is refused: ")[1].splitlines()[0]
        assert (inspect_set("set").audit, inspect_set("set").audit_bound) == ({}, False)
    code, out, _ = run(capsys, "inspect", str(make(audit={"lira": 0.5})), "--picture=null")
    assert "not repeated here; not bound to this set\n  lira: 0.5\n" in out


def test_a_long_audit_is_cut(make, capsys):
    _, out, _ = run(capsys, "inspect", str(make(audit={f"attack {n}": n for n in range(30)})), "--picture=null")
    assert "  attack 19: 19\n  10 more entries in the card\n" in out


def test_texts_of_a_card_cannot_control_the_terminal(make, capsys):
    evil = "x\x1b[2J\x1b]0;owned\x07\u202e\r\n[bold]y[/bold] :smile:"
    code, out, _ = run(capsys, "inspect", str(make(method=evil, warning=evil, audit={evil: evil})), "--picture=null")
    assert code == 0
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(out)
    assert "method: x\\x1b[2J\\x1b]0;owned\\x07\\u202e [bold]y[/bold] :smile:\n" in out


def test_untrusted_text_is_one_short_printable_line():
    assert printable("a\n\tb") == "a b"
    assert printable("\ud800") == "\\ud800"
    assert printable("x" * 700) == "x" * 600 + "... (100 more characters)"
    assert printable("Größe 結節") == "Größe 結節"


def test_findings_are_warnings_with_their_certainty(make, capsys):
    source = make()
    data, card = read_set(source)
    data.pixels[7] = data.pixels[2]
    source = save_set("other", data, card)
    code, out, _ = run(capsys, "inspect", str(source), "--picture=null")
    assert code == 0
    assert "  WARNING images 2 (a) and 7 (b) are the same image [certain]\n" in out
    assert "\n1 finding; absence" in out
    (finding,) = inspect_set(source).findings
    assert (finding.check, finding.images) == ("contradictions", (2, 7))


@pytest.mark.parametrize("damage", ["last byte", "cut", "empty", "text", "card"])
def test_a_damaged_set_ends_with_status_1_in_one_line(make, capsys, damage):
    path = make()
    content = path.read_bytes()
    changed = {
        "last byte": content[:-1] + bytes([content[-1] ^ 1]), "cut": content[: len(content) // 2], "empty": b"",
        "text": b"hello", "card": content.replace(b"DMDistiller", b"KRRDistille"),
    }[damage]  # fmt: skip
    path.write_bytes(changed)
    code, out, err = run(capsys, "inspect", str(path))
    assert (code, out) == (1, "")
    assert err.startswith("lightning-distill: set.safetensors ")
    assert err.count("\n") == 1
    with pytest.raises(UntrustedSetError):
        inspect_set(path)


def test_missing_files_end_with_status_2(make, tmp_path, capsys):
    make()
    for path in ("nowhere", ".", "nowhere/set.safetensors"):
        code, _, err = run(capsys, "inspect", path)
        assert code == 2
        assert "no set file" in err
        assert err.count("\n") == 1
    assert run(capsys, "inspect")[0] == 2


def test_a_set_of_version_1_is_read_and_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "inspect", str(TESTS / "sets" / "version_0_1_0" / "digits_mtt"))
    assert code == 0
    assert "WARNING format version 1: the digest covers the arrays only" in out


def test_a_card_file_that_differs_is_named(make, capsys):
    path = make()
    (path.parent / "card.json").write_text('{"license": "free"}')
    code, out, _ = run(capsys, "inspect", str(path.parent), "--picture=null")
    assert code == 0
    assert "WARNING card.json differs from the card in set.safetensors, which is the valid one [certain]" in out


def test_names_of_classes_that_look_like_markup_are_shown_as_they_are(make, capsys):
    spec = DataSpec("[red]x", (1, 12, 12), ("[/]", "b:smile:"), (100.0,), (50.0,))
    code, out, _ = run(capsys, "inspect", str(make(spec=spec)), "--picture=null")
    assert code == 0
    assert "images of classes: [/] 6; b:smile: 6" in out


def test_signatures_decide_the_exit_status(make, tmp_path, capsys):
    pytest.importorskip("cryptography")
    path = make()
    assert run(capsys, "export", "--new-key", "key.pem")[0] == 0
    assert run(capsys, "export", "--new-key", "other.pem")[0] == 0
    code, out, err = run(capsys, "inspect", str(path), "--verify", "key.pub.pem", "--picture=null")
    assert (code, out) == (1, "")
    assert err == "lightning-distill: set.safetensors is not signed: set.sig is not beside it; do not use it\n"
    assert run(capsys, "export", str(path), "--sign", "key.pem")[0] == 0
    code, out, _ = run(capsys, "inspect", str(path), "--verify", "key.pub.pem", "--picture=null")
    assert code == 0
    assert "signature: valid for set.safetensors, public key sha256 " in out
    code, out, err = run(capsys, "inspect", str(path), "--verify", "other.pub.pem")
    assert (code, out) == (1, "")
    assert "is not valid for other.pub.pem" in err
    for key, status in (("key.pem", 2), ("nowhere.pem", 2), (str(path), 2)):
        assert run(capsys, "inspect", str(path), "--verify", key)[0] == status


def test_networks_of_timm_are_trained_and_scored_in_one_line(make, make_data, capsys, monkeypatch):
    data = make_data(2, size=12)
    path = make(spec=data.spec)
    inspect(str(path), train="timm:test_resnet", data=data, protocol="tiny", students=2, split="val", picture=None)
    out = capsys.readouterr().out
    assert "blobs (user arrays), val split, tiny protocol" in out
    assert "no findings" in out
    assert network_name("timm:resnet18") == "timm/resnet18"
    assert network_name("convnet_w16") == "convnet_w16"


def test_class_folders_without_splits_score_a_received_set(make, make_data, tmp_path, capsys):
    data = make_data(2, size=12)
    path = make(spec=data.spec)
    images, labels = data.test_images().images
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "mine" / data.spec.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(place / f"{number}.png")
    words = ["--train", "convnet_w16", "--protocol", "tiny", "--students", "2", "--picture", "null"]
    with pytest.warns(UserWarning, match="has no splits: all .* images are scored as test images"):
        code, out, err = run(capsys, "inspect", str(path), *words, "--data", str(tmp_path / "mine"))
    assert (code, "test split, tiny protocol" in out) == (0, True), err


def test_training_options_are_checked_before_the_set_is_read(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "inspect", "nowhere", "--train", "timm:resnet18")
    assert code == 2
    assert "--train needs --data MODULE" in err
    code, _, err = run(capsys, "inspect", "nowhere", "--data", "DigitsDataModule")
    assert "--data needs --train timm:resnet18" in err
    code, _, err = run(capsys, "inspect", "nowhere", "--train", "timm:resnet81", "--data", "DigitsDataModule")
    assert code == 2
    assert "unknown network 'timm/resnet81'" in err


def test_exports_are_inspected_too(make, tmp_path, capsys):
    source = make()
    for to in ("imagefolder", "npz", "hf"):
        assert run(capsys, "export", str(source), "--to", to, "--out", to)[0] == 0
        code, out, _ = run(capsys, "inspect", to, "--picture=null")
        assert code == 0
        assert "images of classes: a 6; b 6" in out
    (tmp_path / "hf/README.md").write_text("other")
    code, out, _ = run(capsys, "inspect", "hf", "--picture=null")
    assert code == 0
    assert "  WARNING 'README.md' in hf was added, removed or changed; obtain the folder again [certain]" in out
    shutil.rmtree("hf/train")
    code, _, err = run(capsys, "inspect", "hf")
    assert code == 1
    assert err == (
        "lightning-distill: hf is not a readable set file: train/metadata.jsonl is missing or damaged; obtain the file "
        "again\n"
    )


def test_warnings_of_a_command_come_without_the_path_of_a_module(tmp_path):
    words = [
        "coreset",
        "--method",
        "random",
        "--data",
        "DigitsDataModule",
        "--ipc",
        "1",
        "--out",
        str(tmp_path / "picks"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "lightning_distill", *words], capture_output=True, text=True, check=True
    )
    assert "REAL IMAGES in" in done.stderr
    assert ".py:" not in done.stderr
