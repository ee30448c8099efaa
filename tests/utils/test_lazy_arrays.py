"""Arrays on disk against the same arrays in memory; nothing that uses images reads all of them at once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import blobs

from lightning_distill import ArrayDataModule, CombinedDataModule, DMDistiller, NpzDataModule, SitesDataModule
from lightning_distill.audit.run import audit
from lightning_distill.data import npz
from lightning_distill.data.npz import read_npz
from lightning_distill.evaluation import Protocol, StudentTrainer
from lightning_distill.evaluation.baselines import class_weighted_full_data, coreset_sampler, full_data
from lightning_distill.evaluation.features import embed_features
from lightning_distill.indicator.predictors import measure_predictors
from lightning_distill.report.neighbours import nearest
from lightning_distill.sets.adapt import adapt_set
from lightning_distill.sets.coresets import METHODS, select
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.utils import lazy_arrays as lazy
from lightning_distill.utils.lazy_arrays import ConcatArray, FileArray, IndexedArray, concatenate, from_memmap, take

FEW = Protocol("few", 1, batch_size=16)


@pytest.fixture
def stored(tmp_path):
    """An array ``(20, 5, 4, 3)`` and its map."""
    array = np.random.default_rng(0).integers(0, 256, (20, 5, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", array)
    return array, np.load(tmp_path / "x.npy", mmap_mode="r")


VIEWS = {
    "whole": lambda x: x,
    "channels first": lambda x: x.transpose(0, 3, 1, 2),
    "grey": lambda x: x[..., 0, 0][:, None],
    "a part": lambda x: x[7:15],
    "every third": lambda x: x[1::3].transpose(0, 3, 1, 2),
    "backwards": lambda x: x[::-1],
    "the upper half of every image": lambda x: x[:, :2],
    "no longer called a map": np.asarray,
}
INDICES = [slice(None), slice(2, 5), slice(5, 0, -2), slice(3, 3), 0, -1, [2, 2, 0], np.array([-1, 3]), []]


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_rows_of_a_file_are_those_of_the_array(stored, view, index):
    array, mapped = (view(x) for x in stored)
    read = from_memmap(mapped)
    if array[0].ndim == 2 or array.shape[1:] == (1,):  # single values far apart are no piece; pages then count
        assert not isinstance(read, FileArray) or array.shape[1:] == (1,)
    else:
        assert isinstance(read, FileArray)
    index = np.array(index, np.int64) if isinstance(index, list) else index
    np.testing.assert_array_equal(read[index], array[index])
    assert (len(read), read.shape, read.ndim, read.dtype, read.nbytes) == (
        len(array), array.shape, array.ndim, array.dtype, array.size * array.itemsize,
    )  # fmt: skip


def test_rows_by_a_mask_and_rows_that_are_not_there(stored):
    array, mapped = stored
    read, mask = from_memmap(mapped), np.arange(20) % 7 == 2
    np.testing.assert_array_equal(read[mask], array[mask])
    with pytest.raises(IndexError, match="rows 4 to 20 are out of range for an array of 20 rows"):
        read[np.array([4, 20])]


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">f8", "f2"])
def test_floats_of_any_byte_order_come_out_native_and_equal(tmp_path, dtype):
    array = np.random.default_rng(0).normal(size=(6, 3, 2, 2)).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    read = from_memmap(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert read.dtype.isnative
    np.testing.assert_array_equal(read[[5, 0]], array[[5, 0]])


def test_neighbours_are_read_at_once_and_no_more_than_is_good(stored, monkeypatch):
    array, mapped = stored
    read, requests, original = from_memmap(mapped), [], FileArray._neighbours
    monkeypatch.setattr(
        FileArray, "_neighbours", lambda self, file, *run: requests.append(run) or original(self, file, *run)
    )
    np.testing.assert_array_equal(read[np.array([9, 3, 8, 4, 4])], array[[9, 3, 8, 4, 4]])
    assert requests == [(3, 2), (4, 1), (8, 2)]
    requests.clear()
    monkeypatch.setattr(lazy, "CHUNK_BYTES", 8 * array[0].nbytes)
    np.testing.assert_array_equal(read[:], array)
    assert requests == [(0, 8), (8, 8), (16, 4)]


def test_what_differs_from_its_file_or_has_no_pieces_stays_a_map(stored, tmp_path):
    array, mapped = stored
    changed = np.load(tmp_path / "x.npy", mmap_mode="c")
    changed[3] = 0
    np.save(tmp_path / "f.npy", np.asfortranarray(array))
    for kept in (changed, mapped[:, :, 1:], np.load(tmp_path / "f.npy", mmap_mode="r"), array):
        assert from_memmap(kept) is kept
    assert not take(changed, np.arange(5))[3].any()


def test_a_file_that_is_cut_off_is_an_error_with_its_name(stored, tmp_path):
    read = from_memmap(stored[1])
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-30])
    assert read[:19].shape == (19, 5, 4, 3)
    with pytest.raises(ValueError, match=r"x\.npy is truncated before row 19; obtain the file again"):
        read[19]


def test_choosing_and_joining_read_nothing(stored, monkeypatch):
    array, mapped = stored
    read, rows, again = from_memmap(mapped), np.array([3, 1, 19, 7]), np.array([2, 0])
    with monkeypatch.context() as patch:
        patch.setattr(FileArray, "read", None)
        some = take(take(read, rows), again)
        both = concatenate([some, read, array[:2]])
    assert (type(some), type(both), len(both)) == (IndexedArray, ConcatArray, 24)
    np.testing.assert_array_equal(some[:], array[rows][again])
    np.testing.assert_array_equal(np.asarray(both), np.concatenate([array[rows][again], array, array[:2]]))
    np.testing.assert_array_equal(both[np.array([23, 0, 5])], np.stack([array[1], array[19], array[3]]))
    assert isinstance(take(array, rows), np.ndarray)
    assert isinstance(concatenate([array, array]), np.ndarray)


def test_an_array_that_is_not_packed_is_mapped_where_it_is(tmp_path, monkeypatch):
    images, labels = blobs(2, 30, channels=3)
    np.savez(tmp_path / "toy.npz", train_images=images, train_labels=labels, turned=np.asfortranarray(images))
    monkeypatch.setattr(npz, "MAP_PLAIN_ABOVE", labels.nbytes + 200)
    splits = read_npz(tmp_path / "toy.npz")
    assert [isinstance(splits[key], np.memmap) for key in ("train_images", "train_labels", "turned")] == [
        True,
        False,
        True,
    ]
    np.testing.assert_array_equal(splits["train_images"], images)
    np.testing.assert_array_equal(splits["turned"], images)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.npz"]
    data = NpzDataModule(str(tmp_path / "toy.npz"), real_per_class=4)
    assert isinstance(data.train_arrays()[0].array, FileArray)
    content = bytearray((tmp_path / "toy.npz").read_bytes())
    content[300] ^= 1
    (tmp_path / "toy.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read toy\.npz: it is truncated or corrupted"):
        read_npz(tmp_path / "toy.npz")


@pytest.fixture
def pair(tmp_path):
    """The same 400 images for training as arrays in memory and on disk, both without a validation split."""
    images, labels = blobs(4, 100, channels=3)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")

    def module(x, name="some"):
        return ArrayDataModule((x, labels), name=name, test=(x[:40], labels[:40] * 0 + np.arange(40)[:, None] % 4),
                               real_per_class=3, batch_size=10)  # fmt: skip

    return module(images), module(mapped), (module(images, "other"), module(mapped, "other"))


@pytest.fixture
def largest(monkeypatch):
    """The most rows that were read at once, from a file whose parts are small."""
    seen, original = [0], FileArray.read

    def read(self, rows):
        seen.append(len(rows))
        return original(self, rows)

    monkeypatch.setattr(FileArray, "read", read)
    for place in ("lightning_distill.data.checks.arrays._PIXELS", "lightning_distill.audit.image_checks.CHUNK_BYTES"):
        monkeypatch.setattr(place, 20 * 192)
    monkeypatch.setattr("lightning_distill.sets.coresets.CHUNK_ELEMENTS", 10 * 192)
    monkeypatch.setattr("lightning_distill.indicator.predictors.MAX_ELEMENTS", 30 * 192)
    monkeypatch.setattr("lightning_distill.audit.similarity.CHUNK_IMAGES", 40)
    return seen


def same(of_memory, of_disk):
    np.testing.assert_allclose(np.asarray(of_disk), np.asarray(of_memory), rtol=1e-5, atol=1e-6)


def test_statistics_draws_and_batches(pair, largest):
    memory, disk, _ = pair
    assert memory.spec == disk.spec
    assert isinstance(disk.splits["val"][0], IndexedArray)
    same(memory.train_dataloader().batch(3)[0], disk.train_dataloader().batch(3)[0])
    for one, other in zip(memory.test_dataloader(), disk.test_dataloader(), strict=True):
        same(one[0], other[0])
        assert other[0].is_contiguous()
        other[0].zero_()  # what is given may be written to
    assert 0 < max(largest) <= 20


def test_sites_and_combined_data(pair, largest):
    memory, disk, others = pair
    made = [[SitesDataModule(data, 0, shares=[0.5, 0.5], real_per_class=3) for data in (memory, disk)],
            [CombinedDataModule([data, other], 20, real_per_class=3) for data, other in
             zip((memory, disk), others, strict=True)]]  # fmt: skip
    for of_memory, of_disk in made:
        assert of_memory.spec == of_disk.spec
        assert isinstance(of_disk.splits["train"][0], lazy.LazyArray)
        same(of_memory.train_dataloader().batch(1)[0], of_disk.train_dataloader().batch(1)[0])
    assert 0 < max(largest) <= 20


@pytest.mark.parametrize("method", METHODS)
def test_starts_and_picks_by_every_method(pair, largest, method):
    memory, disk, _ = pair
    start = "real" if method == "random" else method
    if method != "kmeans":
        sets = [SyntheticSet.from_real_data(*data.train_arrays(), data.spec, 2, start, 0) for data in (memory, disk)]
        same(*(synthetic.images.detach() for synthetic in sets))
    samples = [coreset_sampler(method, data.train_arrays(), [3] * 4, data.spec, 0)(0) for data in (memory, disk)]
    if method != "kmeans":  # whose centres are those of a sample here
        assert torch.equal(*(sample.pixels for sample in samples))
    assert torch.equal(*(sample.labels for sample in samples))
    assert 0 < max(largest) <= 40


def test_picks_of_a_part_at_a_time_are_those_of_the_whole(monkeypatch, pair):
    memory, _, _ = pair
    images, labels = memory.train_arrays()
    for method in ("herding", "kcenter", "kmeans"):
        whole = select(method, images, labels, [5] * 4, memory.spec, 0)
        with monkeypatch.context() as patch:
            patch.setattr("lightning_distill.sets.coresets.CHUNK_ELEMENTS", 25 * 192)  # k-means holds all 90
            assert np.array_equal(select(method, images, labels, [5] * 4, memory.spec, 0), whole), method


def test_students_of_all_data(pair, largest):
    memory, disk, _ = pair
    trained = []
    for data in (memory, disk):
        trainer = StudentTrainer("convnet_w16", data.spec, protocol=FEW, images=360, students=1, compile="off")
        trained.append(trainer.fit(class_weighted_full_data(data.all_train_arrays(), data.spec)(0), 0).parameters)
        bigger = replace(data.spec, shape=(1, 16, 16), class_names=("3", "2", "1", "0"))
        turned = adapt_set(
            full_data(data.train_arrays(), data.spec)(0), bigger, dict(zip("0123", "0123", strict=True)), True
        )
        trained[-1]["changed"] = turned.pixels[torch.tensor([3, 100, 359])]
        trained[-1]["labels"] = turned.labels
    assert trained[0]["changed"].shape == (3, 1, 16, 16)
    for name, tensor in trained[0].items():
        assert torch.equal(tensor, trained[1][name]), name
    assert 0 < max(largest) <= 20


def test_features_neighbours_predictors_and_the_audit(pair, largest):
    memory, disk, _ = pair
    results = []
    for data in (memory, disk):
        real, spec = data.train_arrays(), data.spec
        features = embed_features(real, spec, network="convnet_w16", protocol=FEW, compile="off")
        queries = torch.from_numpy(np.ascontiguousarray(data.splits["test"][0][:4]))
        near = nearest(queries, real[0], spec, chunk_elements=10 * 192)
        stats = measure_predictors(real, data.splits["test"], spec)
        results.append(
            (features, near.rows, near.distances, stats.knn_acc, [str(f) for f in audit(data.load_splits())])
        )
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)
    assert 0 < max(largest) <= 40


def test_a_fit_draws_its_images_and_no_others(pair, largest, make_trainer):
    memory, disk, _ = pair
    images = []
    for data in (memory, disk):
        distiller = DMDistiller(ipc=2, network="convnet_w16", compile="off")
        make_trainer(2, limit_val_batches=0).fit(distiller, datamodule=data)
        images.append(distiller.synthetic.images.detach())
    assert torch.equal(*images)
    assert 0 < max(largest) <= 20


PEAK = """
import json, sys
import numpy as np
from lightning_distill import ArrayDataModule
from lightning_distill.bench.memory import peak_mib
data = ArrayDataModule((np.load(sys.argv[1], mmap_mode="r"), np.arange(3000) % 3), real_per_class=20, batch_size=50)
before = peak_mib()
data.setup()
draws = data.train_dataloader()
for k in range(150):
    draws.batch(k)
for x, y in data.val_dataloader():
    pass
print(json.dumps(peak_mib() - before))
"""


def test_resident_memory_is_that_of_what_is_looked_at_maps_included(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3000, 3, 128, 128), dtype=np.uint8)  # 147 MB
    np.save(tmp_path / "x.npy", images)
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "x.npy")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < 100, "MiB; a map that is looked at whole has 141"
