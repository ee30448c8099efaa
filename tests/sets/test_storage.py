"""The shared file: it comes back as it was, is refused when it was changed, and survives failures."""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from lightning_distill import DataSpec, load_set
from lightning_distill.evaluation import LabeledSet
from lightning_distill.sets.storage import CARD, SET, check_writable, digest, read_set, save_set

UINT8 = DataSpec("toy", (3, 4, 5), ("ant", "bee"), (100.0, 90.0, 80.0), (50.0, 40.0, 30.0), license="CC0")
FLOAT16 = DataSpec("ct", (3, 4, 5), ("ant", "bee"), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), -1.0, 1.0, "float16")
SPECS = pytest.mark.parametrize("spec", [UINT8, FLOAT16], ids=["uint8", "float16"])


def data(spec=UINT8, seed=0):
    random = torch.Generator().manual_seed(seed)
    if spec.storage_dtype == "uint8":
        pixels = torch.randint(0, 256, (6, 3, 4, 5), generator=random, dtype=torch.uint8)
    else:
        pixels = (torch.rand(6, 3, 4, 5, generator=random) * 2 - 1).half()
    return LabeledSet(pixels, torch.tensor([0, 0, 0, 1, 1, 1]), spec)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@SPECS
def test_a_set_comes_back_as_it_was_with_its_card(tmp_path, spec):
    path = save_set(tmp_path / "a" / "b", data(spec), {"method": "DM", "scores": {"acc": 0.5}, "name": "Grüße"})
    assert path == tmp_path / "a" / "b" / SET
    for place in (path, path.parent, str(path)):
        back, card = read_set(place)
        assert torch.equal(back.pixels, data(spec).pixels)
        assert back.pixels.dtype == data(spec).pixels.dtype
        assert torch.equal(back.labels, data(spec).labels)
        assert back.spec == spec
        assert (card["method"], card["scores"], card["name"]) == ("DM", {"acc": 0.5}, "Grüße")
        assert card["data"] == spec.to_dict()
    assert json.loads((path.parent / CARD).read_text(encoding="utf-8")) == card


@SPECS
def test_a_set_loads_as_normalised_images_and_labels(tmp_path, spec):
    dataset = load_set(save_set(tmp_path, data(spec), {}))
    assert isinstance(dataset, torch.utils.data.TensorDataset)
    images, labels = dataset.tensors
    assert images.dtype == torch.float32
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    mean, std = (np.array(v)[:, None, None] for v in (spec.mean, spec.std))
    np.testing.assert_allclose(images.numpy(), (data(spec).pixels.double().numpy() - mean) / std, rtol=1e-5, atol=1e-5)


def test_images_in_another_memory_layout_come_back_in_order(tmp_path):
    original = data()
    strided = LabeledSet(original.pixels.contiguous(memory_format=torch.channels_last), original.labels.int(), UINT8)
    back, _ = read_set(save_set(tmp_path, strided, {}))
    assert torch.equal(back.pixels, original.pixels)
    assert back.labels.dtype == torch.int64


def test_equal_sets_make_equal_files(tmp_path):
    first, second = (save_set(tmp_path / name, data(), {"method": "DM"}) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_files_are_readable_for_others(tmp_path):
    save_set(tmp_path, data(), {})
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {SET: 0o644, CARD: 0o644}


READER = """
import json, sys
import numpy as np
from safetensors import safe_open
with safe_open(sys.argv[1], framework="np") as file:
    card = json.loads(file.metadata()["card"])
    images, labels, mean, std = (file.get_tensor(name) for name in ("images", "labels", "mean", "std"))
x = (images.astype(np.float32) - mean[:, None, None]) / std[:, None, None]
foreign = sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "lightning", "lightning_distill"))
print(json.dumps([float(x.sum()), labels.tolist(), str(images.dtype), card["data"]["class_names"], foreign]))
"""


@SPECS
def test_safetensors_and_numpy_alone_read_the_file(tmp_path, spec):
    path = save_set(tmp_path, data(spec), {})
    run = subprocess.run([sys.executable, "-c", READER, path], capture_output=True, text=True, check=True, cwd=tmp_path)
    total, labels, dtype, names, foreign = json.loads(run.stdout)
    assert total == pytest.approx(load_set(path).tensors[0].sum().item(), rel=1e-4)
    assert labels == [0, 0, 0, 1, 1, 1]
    assert dtype == spec.storage_dtype
    assert names == ["ant", "bee"]
    assert foreign == []


def parts(path):
    """The header as a dict, and the bytes behind it."""
    packed = path.read_bytes()
    length = int.from_bytes(packed[:8], "little")
    return json.loads(packed[8 : 8 + length]), packed[8 + length :]


def put(path, header, body):
    packed = json.dumps(header).encode()
    path.write_bytes(len(packed).to_bytes(8, "little") + packed + body)


@SPECS
def test_the_file_holds_a_json_header_and_the_tensors_and_nothing_else(tmp_path, spec):
    path = save_set(tmp_path, data(spec), {"method": "DM"})
    header, body = parts(path)
    assert set(header) == {"__metadata__", "images", "labels", "mean", "std"}
    assert set(header["__metadata__"]) == {"card"}
    spans = sorted(header[name]["data_offsets"] for name in ("images", "labels", "mean", "std"))
    assert spans[0][0] == 0
    assert spans[-1][1] == len(body)
    assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))
    raw = b"".join(content(tmp_path).values())
    for trace in (str(tmp_path), os.path.expanduser("~") + "/", os.getcwd(), sys.prefix, "pickle", "__reduce__"):
        assert trace.encode() not in raw
    assert not raw.startswith(b"\x80")


@pytest.mark.parametrize("name", ["images", "labels", "mean", "std"])
@pytest.mark.parametrize("place", [0, -1], ids=["first byte", "last byte"])
def test_a_tensor_that_was_changed_is_refused(tmp_path, name, place):
    path = save_set(tmp_path, data(), {})
    header, body = parts(path)
    start, end = header[name]["data_offsets"]
    changed = bytearray(body)
    changed[start if place == 0 else end - 1] ^= 1
    put(path, header, bytes(changed))
    for read in (read_set, load_set):
        with pytest.raises(ValueError, match=r"set.safetensors was changed after it was written \(sha256 differs\)"):
            read(path)


@pytest.mark.parametrize("change", ["dtype", "shape", "swap", "extra", "missing"])
def test_a_tensor_that_is_read_as_another_is_refused(tmp_path, change):
    path = save_set(tmp_path, data(), {})
    header, body = parts(path)
    if change == "dtype":
        header["labels"]["dtype"] = "U64"
    elif change == "shape":
        header["images"]["shape"] = [6, 3, 5, 4]
    elif change == "swap":
        header["mean"], header["std"] = header["std"], header["mean"]
    elif change == "extra":
        header["more"] = {"dtype": "U8", "shape": [2], "data_offsets": [len(body), len(body) + 2]}
        body += b"ab"
    else:
        last = max((name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"])
        body = body[: header.pop(last)["data_offsets"][0]]
    put(path, header, body)
    with pytest.raises(ValueError, match="was changed after it was written"):
        read_set(path)


@pytest.mark.parametrize("field", ["mean", "std"])
def test_a_card_whose_statistics_were_changed_is_refused(tmp_path, field):
    path = save_set(tmp_path, data(), {})
    header, body = parts(path)
    card = json.loads(header["__metadata__"]["card"])
    card["data"][field] = [1.0, 2.0, 3.0]
    header["__metadata__"]["card"] = json.dumps(card)
    put(path, header, body)
    with pytest.raises(ValueError, match="was changed after it was written"):
        load_set(path)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = save_set(tmp_path, data(), {})
    packed = path.read_bytes()
    path.write_bytes(packed[: int(len(packed) * share)])
    with pytest.raises(ValueError, match=r"set.safetensors is not a readable set file: .*obtain the file again"):
        read_set(path)


@pytest.mark.parametrize("packed", [b"hello", b"\x80\x04K\x01.", b"PK\x03\x04" * 30, b"\xff" * 64])
def test_a_file_of_another_kind_is_refused(tmp_path, packed):
    (tmp_path / SET).write_bytes(packed)
    with pytest.raises(ValueError, match=r"set.safetensors is not a readable set file"):
        read_set(tmp_path)


CARDS = [
    None, {}, {"card": "no json"}, {"card": "[]"}, {"card": "{}"}, {"card": '{"sha256": "x"}'},
    {"card": '{"sha256": "x", "data": {}}'}, {"card": '{"sha256": "x", "data": {"colour": 1}}'},
    {"card": '{"sha256": "x", "data": null}'}, {"card": '{"sha256": "x", "data": "toy"}'}, {"card": "null"},
]  # fmt: skip


@pytest.mark.parametrize("metadata", CARDS, ids=str)
def test_safetensors_that_are_no_set_are_refused(tmp_path, metadata):
    save_file({"weight": np.zeros((2, 2), np.float32)}, tmp_path / "model.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match=r"model.safetensors is not a readable set file"):
        read_set(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["", "absent", "other.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=rf"no set file '{name or SET}' in .*; give set.safetensors or its"):
        read_set(tmp_path / name)


def failing(real, nth):
    """The same function, but its nth call finds the disk full."""
    calls = iter(range(1, 100))

    def call(*args):
        if next(calls) == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    return call


@pytest.mark.parametrize(("step", "nth"), [("fsync", 1), ("replace", 1), ("fsync", 2)])
def test_a_full_disk_leaves_the_older_pair_and_no_other_file(tmp_path, monkeypatch, step, nth):
    save_set(tmp_path, data(), {"method": "old"})
    before = content(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing(getattr(os, step), nth))
        with pytest.raises(OSError, match="No space left on device"):
            save_set(tmp_path, data(seed=1), {"method": "new"})
    assert content(tmp_path) == before
    assert read_set(tmp_path)[1]["method"] == "old"


def test_a_failure_between_the_two_files_leaves_no_temporary_file_and_a_readable_set(tmp_path, monkeypatch):
    save_set(tmp_path, data(), {"method": "old"})
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing(os.replace, 2))
        with pytest.raises(OSError, match="No space left on device"):
            save_set(tmp_path, data(seed=1), {"method": "new"})
    assert sorted(content(tmp_path)) == [CARD, SET]
    assert read_set(tmp_path)[1]["method"] in ("old", "new")


def test_a_file_that_cannot_grow_leaves_the_older_pair_and_no_other_file(tmp_path):
    save_set(tmp_path, data(), {"method": "old"})
    before, limits = content(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_set(tmp_path, data(seed=1), {"method": "new"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(tmp_path) == before


def test_a_card_that_json_cannot_hold_leaves_the_older_pair(tmp_path):
    save_set(tmp_path, data(), {"method": "old"})
    before = content(tmp_path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_set(tmp_path, data(seed=1), {"model": object()})
    assert content(tmp_path) == before


def test_writing_again_replaces_both_files(tmp_path):
    save_set(tmp_path, data(), {"method": "old"})
    save_set(tmp_path, data(seed=1), {"method": "new"})
    back, card = read_set(tmp_path)
    assert torch.equal(back.pixels, data(seed=1).pixels)
    assert card["method"] == "new" == json.loads((tmp_path / CARD).read_text())["method"]
    assert sorted(content(tmp_path)) == [CARD, SET]


def test_a_folder_that_cannot_be_written_is_refused_by_name_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "sub", tmp_path / "file" / "sub" / "deeper"):
        with pytest.raises(OSError, match=rf"cannot write to {folder}: .*; choose another folder") as caught:
            check_writable(folder)
        assert caught.value.errno in (errno.EEXIST, errno.ENOTDIR)
        with pytest.raises(OSError, match="file"):
            save_set(folder, data(), {})
    assert content(tmp_path) == {"file": b"in the way"}


def test_a_folder_without_permission_is_refused_by_name(tmp_path, monkeypatch):
    def refuse(**options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=rf"cannot write to {tmp_path}: Permission denied; choose another folder"):
        check_writable(tmp_path)


def test_checking_a_folder_makes_it_and_leaves_it_empty(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_the_digest_depends_on_names_types_shapes_and_values_and_not_on_order_or_layout():
    base = {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "b": np.zeros(2, np.float32)}
    same = {"b": base["b"], "a": np.asfortranarray(base["a"])}
    assert digest(same) == digest(base)
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].reshape(3, 2), "b": base["b"]},
        {"a": base["a"].astype(np.uint32), "b": base["b"]},
        {"a": base["a"] + 1, "b": base["b"]},
        {"a": base["a"]},
    ]
    assert len({digest(arrays) for arrays in [base, *others]}) == 6


@pytest.mark.parametrize("learned", [("soft_labels",), ("lr",), ("soft_labels", "lr")])
def test_what_was_learned_beside_the_images_is_shipped_and_hashed(tmp_path, learned):
    plain = data()
    n, k = len(plain.labels), plain.spec.num_classes
    values = {"soft_labels": torch.rand(n, k, generator=torch.Generator().manual_seed(1)).softmax(1), "lr": 0.0123}
    rich = replace(plain, **{name: values[name] for name in learned})
    save_set(tmp_path, rich, {})
    read, card = read_set(tmp_path)
    assert card["sha256"] != read_card_of(plain, tmp_path / "plain")["sha256"]
    assert (read.lr == pytest.approx(0.0123)) if "lr" in learned else (read.lr is None)
    if "soft_labels" in learned:
        torch.testing.assert_close(read.soft_labels, values["soft_labels"])
        torch.testing.assert_close(load_set(tmp_path).tensors[1], values["soft_labels"])
    else:
        assert read.soft_labels is None
        assert torch.equal(load_set(tmp_path).tensors[1], plain.labels)


def read_card_of(plain, folder):
    save_set(folder, plain, {})
    return read_set(folder)[1]


def test_a_set_file_of_version_0_1_0_is_read():
    data, card = read_set(Path(__file__).parent / "version_0_1_0" / "digits_mtt")
    assert card["versions"]["lightning_distill"] == "0.1.0"
    assert card["data"]["pixel"] == data.spec.storage_dtype == "uint8"
    assert (data.spec.min_value, data.spec.max_value) == (card["data"]["low"], card["data"]["high"])
    assert data.spec.to_dict() == card["data"]
    assert data.pixels.shape == (100, 1, 8, 8)
    assert data.lr == pytest.approx(0.00257, rel=0.01)


def test_a_number_that_json_does_not_have_is_null_in_the_card(tmp_path):
    card = {"scores": {"val": {"acc": 0.5, "acc_std": float("nan"), "values": [1.0, float("inf")]}}}
    path = save_set(tmp_path, data(), card)
    text = (tmp_path / CARD).read_text()
    assert json.loads(text, parse_constant=pytest.fail)["scores"] == {
        "val": {"acc": 0.5, "acc_std": None, "values": [1.0, None]}
    }
    assert read_set(path)[1]["scores"]["val"]["acc_std"] is None
