"""Patients and lesions: numbered without a trace of their names, never in two splits unless somebody says so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from lightning_distill import ArrayDataModule, MedMNISTDataModule, NpzDataModule
from lightning_distill.cli import main
from lightning_distill.data.checks.groups import number_groups, overlaps
from lightning_distill.data.npz import groups_of
from lightning_distill.evaluation import Predictions
from lightning_distill.evaluation.metrics import intervals as uncertainty
from lightning_distill.utils.lazy_arrays import FileArray


def split(patients, classes=2, seed=0):
    """One image ``(N, 6, 6)`` for each entry of ``patients``, whose class follows from its patient; labels ``(N,)``."""
    random = np.random.default_rng(seed)
    labels = np.array([int(str(patient)[-1]) % classes for patient in patients])
    return random.integers(0, 256, (len(patients), 6, 6)).astype(np.uint8), labels


def module(**patients):
    """A data module with these patients by split; other keywords are its options."""
    options = {key: patients.pop(key) for key in list(patients) if key not in ("train", "val", "test")}
    splits = {name: split(members, seed=seed) for seed, (name, members) in enumerate(patients.items())}
    return ArrayDataModule(**splits, groups=patients, **options)


CLEAN = {"train": ["a1", "a1", "b2", "c3"], "val": ["d1", "e2"], "test": ["f1", "g2"]}
LEAKY = {"train": ["a1", "a1", "b2", "b2", "c3", "c3", "h4"], "val": ["a1", "d1", "e2"], "test": ["b2", "b2", "d1"]}


def together(groups):
    """Which images are of one group, as a matrix, over all splits."""
    numbers = np.concatenate(list(groups.values()))
    return numbers[:, None] == numbers


@pytest.mark.parametrize(
    "kind", [str, np.str_, str.encode, lambda name: ord(name[0]), lambda name: np.uint8(ord(name[0]))]
)
def test_one_patient_has_one_number_in_every_split_and_no_trace_of_a_name(kind):
    identifiers = {name: np.array([kind(patient) for patient in patients]) for name, patients in LEAKY.items()}
    numbers = number_groups(identifiers)
    names = np.concatenate(list(LEAKY.values()))
    assert (together(numbers) == (names[:, None] == names)).all()
    assert numbers["train"].tolist() == [0, 0, 1, 1, 2, 2, 3]  # as they are met
    assert numbers["val"].tolist() == [0, 4, 5]
    assert {array.dtype for array in numbers.values()} == {np.dtype(np.int64)}


def test_numbers_do_not_tell_the_order_of_the_identifiers():
    numbers = number_groups({"train": [900, 20, 900, 5], "test": ["20", "3"]})
    assert {name: array.tolist() for name, array in numbers.items()} == {"train": [0, 1, 0, 2], "test": [1, 3]}


def test_numbering_numbers_changes_nothing():
    numbers = number_groups(LEAKY)
    again = number_groups(numbers)
    assert all(np.array_equal(again[name], numbers[name]) for name in numbers)
    assert number_groups({}) == {}


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ([1.0, 2.0], TypeError, "train groups are float64; give each image an integer or a string"),
        (np.array(["a", None], object), TypeError, "train groups hold NoneType; give each image an integer or a str"),
        (["a", "", " "], ValueError, "train has 2 images with an empty identifier"),
        (np.zeros((3, 2), int), ValueError, r"train groups have the shape \(3, 2\)"),
    ],
)
def test_identifiers_that_are_none_are_refused(groups, error, message):
    with pytest.raises(error, match=message):
        number_groups({"train": groups})


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_a_clean_split_goes_through_and_keeps_its_groups(shape):
    groups = {name: np.array(patients).reshape(shape) for name, patients in CLEAN.items()}
    data = ArrayDataModule(*(split(patients) for patients in CLEAN.values()), groups=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.setup()
    assert data.groups["train"].tolist() == [0, 0, 1, 2]
    assert data.groups["test"].tolist() == [5, 6]
    assert not any("a1" in str(value) for value in vars(data).values())


def test_the_overlap_is_counted_pair_by_pair():
    counted = overlaps(number_groups(LEAKY))
    assert [(o.splits, o.groups, [len(rows) for rows in o.rows]) for o in counted] == [
        (("train", "val"), 1, [2, 1]),
        (("train", "test"), 1, [2, 2]),
        (("val", "test"), 1, [1, 1]),
    ]
    assert overlaps(number_groups(CLEAN)) == []


def test_a_patient_in_two_splits_stops_the_run_with_counts_and_no_names():
    data = module(**LEAKY)
    with pytest.raises(ValueError, match="train and val share 1 group ") as error:
        data.setup()
    text = str(error.value)
    assert "2 of train's images, 1 of val's; train and test share 1 group (patients or lesions): 2 of train's" in text
    assert "on_overlap='drop'" in text
    assert not any(name in text for name in ("a1", "b2", "d1"))


def test_a_run_that_was_told_to_goes_on_with_one_warning():
    data = module(**LEAKY, on_overlap="warn")
    with pytest.warns(UserWarning, match="train and test share 1 group .* too good") as record:
        data.setup()
    data.setup()
    assert len(record) == 1
    assert {name: len(labels) for name, (_, labels) in data.splits.items()} == {"train": 7, "val": 3, "test": 3}


def test_dropping_leaves_later_splits_whole():
    data = module(**LEAKY, on_overlap="drop")
    with pytest.warns(UserWarning, match=r"leaves out 4 of train's 7 and 1 of val's 3 images") as record:
        data.setup()
    assert len(record) == 1
    for name, rows in {"train": [4, 5, 6], "val": [0, 2], "test": [0, 1, 2]}.items():
        images, labels = split(LEAKY[name], seed=list(LEAKY).index(name))
        assert np.array_equal(data.splits[name][0][:, 0], images[rows])
        assert np.array_equal(data.splits[name][1], labels[rows])
        assert len(data.groups[name]) == len(rows)
    # a patient of train and val that val loses to nobody stays in val, and is left out of train
    assert not overlaps(data.groups)


def test_what_dropping_would_leave_empty_is_refused():
    patients = ["a1", "b2", "c3"]
    with pytest.raises(ValueError, match="would leave no images in train; split the data by patient"):
        module(train=patients, val=["d1"], test=patients, on_overlap="drop").setup()


def test_a_second_attempt_after_an_error_fails_in_the_same_words():
    data = module(train=["a1", "b2", "b2"], val=["c1"], test=["a1"], on_overlap="drop")
    for _ in range(2):
        with pytest.warns(UserWarning, match="leaves out"), pytest.raises(ValueError, match=r"one class|no training"):
            ArrayDataModule.setup(data)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_validation_is_carved_out_by_whole_groups_and_stratified(fraction, seed):
    patients = np.repeat([f"{p}x{p % 5 // 3}" for p in range(200)], np.arange(200) % 4 + 1)
    data = module(train=patients, val_fraction=fraction, seed=seed)
    data.setup()
    assert not np.intersect1d(data.groups["train"], data.groups["val"]).size
    val = data.splits["val"][1]
    assert len(val) == pytest.approx(fraction * len(patients), rel=0.05)
    assert val.mean() == pytest.approx(split(patients)[1].mean(), abs=0.03)
    assert len(val) + len(data.splits["train"][1]) == len(patients)


def test_carving_out_by_groups_is_seeded_and_keeps_rows_together():
    patients = np.repeat([f"{p}x{p % 2}" for p in range(60)], 3)
    images, labels = split(patients)
    images[:, 0, 0] = np.arange(180)
    drawn = []
    for seed in (0, 0, 1):
        data = ArrayDataModule((images, labels), groups={"train": patients}, seed=seed)
        data.setup()
        numbers = number_groups({"train": patients})["train"]
        for name in ("train", "val"):
            rows = data.splits[name][0][:, 0, 0, 0].astype(int)
            assert np.array_equal(data.groups[name], numbers[rows])
            assert np.array_equal(data.splits[name][1], labels[rows])
        drawn.append(set(data.groups["val"].tolist()))
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_only_patient_of_a_class_stays_in_train():
    patients = [f"{p}x{p % 2}" for p in range(40)] + ["rare2"] * 5
    for seed in range(10):
        images, labels = split(patients, classes=3)
        data = ArrayDataModule((images, labels), groups={"train": patients}, seed=seed)
        data.setup()
        assert (data.splits["train"][1] == 2).sum() == 5


def test_targets_of_several_classes_are_carved_out_by_groups_too():
    patients = np.repeat(np.arange(50), 4)
    targets = np.random.default_rng(0).integers(0, 2, (200, 5))
    images, _ = split(patients)
    data = ArrayDataModule((images, targets), groups={"train": patients}, val_fraction=0.2)
    data.setup()
    assert not np.intersect1d(data.groups["train"], data.groups["val"]).size
    assert len(data.splits["val"][1]) == 40


@pytest.mark.parametrize("patients", [["a1"] * 20, ["a1"] * 10 + ["b2"] * 10])
def test_too_few_groups_to_carve_from_are_refused(patients):
    images, _ = split(patients)
    with pytest.raises(ValueError, match=r"cannot carve val_fraction=0.1 out of 20 training images of [12] groups"):
        ArrayDataModule((images, np.arange(20) % 2), groups={"train": patients}).setup()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"train": [1, 2, 3]}, "train has 4 images but 3 groups; give each image"),
        ({"train": [1, 2, 3, 4], "tset": [5]}, "groups of 'tset', but the splits are train, val, test"),
    ],
)
def test_groups_that_do_not_fit_the_images_are_refused(groups, message):
    data = ArrayDataModule(*(split(patients) for patients in CLEAN.values()), groups=groups)
    with pytest.raises(ValueError, match=message):
        data.setup()


def test_an_unknown_word_for_overlaps_is_refused_at_once():
    with pytest.raises(ValueError, match="unknown on_overlap='ignore'; use one of error, warn, drop"):
        ArrayDataModule(on_overlap="ignore")


def test_dropping_from_mapped_images_and_carving_out_leaves_them_on_disk(tmp_path):
    patients = [f"{p}x{p % 2}" for p in range(60)]
    images, labels = split(patients)
    np.save(tmp_path / "x.npy", images)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    groups = {"train": patients, "test": patients[:7]}
    data = ArrayDataModule((mapped, labels), test=split(patients[:7]), groups=groups, on_overlap="drop")
    with pytest.warns(UserWarning, match="leaves out 7 of train's 60 images"):
        train, labels_left = data.train_arrays()
    assert isinstance(train.array, FileArray), "the training images were copied into memory"
    rows = train.rows
    assert np.array_equal(np.asarray(train)[:, 0], images[rows])
    assert np.array_equal(labels_left, labels[rows])


def test_a_subclass_that_sets_numbers_in_load_is_held_to_them():
    class Mine(ArrayDataModule):
        def load_raw(self):
            self.groups = {name: number_groups(LEAKY)[name] for name in LEAKY}
            return {name: split(patients) for name, patients in LEAKY.items()}

    with pytest.raises(ValueError, match="train and val share 1 group"):
        Mine().setup()
    data = Mine(on_overlap="drop")
    with pytest.warns(UserWarning, match="leaves out"):
        data.setup()
    assert len(data.groups["train"]) == 3


def npz(folder, patients, kind="patient_id", **more):
    arrays = {}
    for seed, (name, members) in enumerate(patients.items()):
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = split(members, seed=seed)
        arrays[f"{name}_{kind}"] = np.array(members)
    np.savez(folder / "p.npz", **arrays, **more)
    return str(folder / "p.npz")


@pytest.mark.parametrize("kind", ["patient_id", "patient", "lesion_id", "group"])
def test_a_file_that_names_patients_is_held_to_them(tmp_path, kind):
    path = npz(tmp_path, LEAKY, kind)
    with pytest.raises(ValueError, match="train and val share 1 group"):
        NpzDataModule(path).setup()
    data = NpzDataModule(path, on_overlap="drop")
    with pytest.warns(UserWarning, match="leaves out 4 of train's 7"):
        data.setup()
    assert data.reproducible_args == {"on_overlap": "drop"}
    assert NpzDataModule(path).reproducible_args == {}


def test_patients_of_one_split_are_not_held_against_lesions_of_another():
    arrays = {"train_lesion_id": np.array([1, 2]), "test_lesion_id": np.array([3]), "test_patient": np.array([1])}
    assert {name: numbers.tolist() for name, numbers in groups_of(arrays).items()} == {"train": [0, 1], "test": [2]}
    assert groups_of({}) == {}


def test_what_to_do_is_said_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    patients = {name: [f"{p}x{p % 2}" for p in range(start, start + 12)] for name, start in (("train", 0), ("val", 12))}
    patients["test"] = ["0x0", "90x0", "91x1"]
    npz(tmp_path, patients)
    arguments = ["coreset", "--method=random", "--ipc=2", "--data=NpzDataModule", "--data.path=p.npz", "--out=c"]
    with pytest.raises(SystemExit):
        main(arguments)
    assert "train and test share 1 group" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="share 1 group"):
        main([*arguments, "--data.on_overlap", "warn"])
    with pytest.warns(UserWarning, match="leaves out 1 of train's 12 images"):
        main([*arguments, "--data.on_overlap=drop"])


def test_the_derma_file_beside_the_project_is_disjoint_and_says_so(real_medmnist):
    data = MedMNISTDataModule("dermamnist", root=str(real_medmnist), download=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.setup()
    assert [len(np.unique(data.groups[name])) for name in ("train", "val", "test")] == [5221, 771, 1478]
    assert not overlaps(data.groups)
    data = MedMNISTDataModule("dermamnist", root=str(real_medmnist), download=False, on_overlap="drop")
    assert data.reproducible_args == {"name": "dermamnist", "source": "not the official file", "on_overlap": "drop"}


def test_predictions_with_other_numbers_for_the_same_groups_can_be_compared(make_data):
    import torch

    logits, targets = torch.randn(2, 6, 2), torch.tensor([0, 1] * 3)
    numbers = (torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([7, 7, 3, 3, 9, 9]), torch.tensor([0, 0, 0, 1, 2, 2]))
    one, other, another = (
        Predictions(logits, targets, make_data().spec, [0, 1], ["convnet"] * 2, groups, "test") for groups in numbers
    )
    uncertainty.paired_bootstrap(one, other, "acc", resamples=20)
    with pytest.raises(ValueError, match="the groups differ"):
        uncertainty.paired_bootstrap(one, another, "acc", resamples=20)
