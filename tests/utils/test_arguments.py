"""Arguments out of range or unknown end in one line that names the value, before any work."""

from __future__ import annotations

import math
from typing import Literal, Optional

import pytest
import torch

from lightning_distill import (
    DataSpec,
    DCDistiller,
    DigitsDataModule,
    DMDistiller,
    IDMDistiller,
    KRRDistiller,
    MTTDistiller,
    Protocol,
    StudentEvaluation,
    distill,
    evaluate,
)
from lightning_distill.evaluation import LabeledSet, StudentEvaluator
from lightning_distill.utils.arguments import check_choices, check_number

SPEC = {"name": "t", "shape": (1, 8, 8), "class_names": ("a", "b"), "mean": (0.0,), "std": (1.0,)}
SET = LabeledSet(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), DataSpec(**SPEC))
STUDENTS = {"protocol": "tiny", "students": 1, "architectures": ["convnet_w16"]}
BAD = {
    "lr_schedule='cos'": lambda: DMDistiller(lr_schedule="cos"),
    "compile='yes'": lambda: DMDistiller(compile="yes"),
    "gradient_precision='16'": lambda: DCDistiller(gradient_precision="16"),
    "distance='l1'": lambda: DCDistiller(distance="l1"),
    "optimizer='lamb'": lambda: KRRDistiller(optimizer="lamb"),
    "preset='book'": lambda: DMDistiller(preset="book"),
    "init='hurding'": lambda: DMDistiller(init="hurding"),
    "augmentation='dsb'": lambda: DMDistiller(augmentation="dsb"),
    "class_ratio='odd'": lambda: MTTDistiller(class_ratio="odd"),
    "on_small_class='skip'": lambda: DMDistiller(on_small_class="skip"),
    "chunk=0": lambda: DMDistiller(chunk=0),
    "chunk=-5": lambda: DMDistiller(chunk=-5),
    "gradient_clip=-1": lambda: DMDistiller(gradient_clip=-1),
    "momentum=2": lambda: DMDistiller(momentum=2),
    "momentum=-1": lambda: DMDistiller(momentum=-1),
    "lr=-1": lambda: DMDistiller(lr=-1),
    "lr='1'": lambda: DMDistiller(lr="1"),
    "lr=nan": lambda: DMDistiller(lr=math.nan),
    "lr=inf": lambda: DMDistiller(lr=math.inf),
    "formation=1.5": lambda: DMDistiller(formation=1.5),
    "seed='a'": lambda: DMDistiller(seed="a"),
    "ipc=2.5": lambda: DMDistiller(ipc=2.5),
    "ipc='3'": lambda: DMDistiller(ipc="3"),
    "ipc=[]": lambda: DMDistiller(ipc=[]),
    "ipc=True": lambda: DMDistiller(ipc=True),
    "network_lr=-1": lambda: IDMDistiller(network_lr=-1),
    "soft_lr=-1": lambda: KRRDistiller(soft_lr=-1),
    "student_lr=-1": lambda: MTTDistiller(student_lr=-1),
    "task='zap'": lambda: DataSpec(**SPEC, task="zap"),
    "class_names": lambda: DataSpec(**SPEC | {"class_names": ()}),
    "std=(0.0,)": lambda: DataSpec(**SPEC | {"std": (0.0,)}),
    "mean=(nan,)": lambda: DataSpec(**SPEC | {"mean": (math.nan,)}),
    "split='zap'": lambda: evaluate(data=DigitsDataModule(), ipc=1, baselines=["herding"], split="zap"),
    "precision='zap'": lambda: evaluate(data=DigitsDataModule(), ipc=1, baselines=["herding"], precision="zap"),
    "accelerator='tpu'": lambda: evaluate(data=DigitsDataModule(), ipc=1, baselines=["herding"], accelerator="tpu"),
    "ipc=1.5": lambda: evaluate(data=DigitsDataModule(), ipc=1.5, baselines=["herding"]),
    "architectures=[]": lambda: evaluate(data=DigitsDataModule(), ipc=1, baselines=["herding"], architectures=[]),
    "students='3'": lambda: StudentEvaluator("tiny", students="3"),
    "compile='x'": lambda: StudentEvaluation(compile="x"),
    "epochs=-1": lambda: Protocol("x", -1),
    "batch_size=0": lambda: Protocol("x", 1, batch_size=0),
    "minutes='3'": lambda: distill(DigitsDataModule(), minutes="3"),
    "labels='softer'": lambda: distill(DigitsDataModule(), labels="softer"),
    "0 images": lambda: StudentEvaluator(**STUDENTS).train(
        lambda _: LabeledSet(SET.pixels[:0], SET.labels[:0], SET.spec)
    ),
    "labels from 0 to 7": lambda: StudentEvaluator(**STUDENTS).train(
        lambda _: LabeledSet(SET.pixels, torch.tensor([0, 7]), SET.spec)
    ),
}


@pytest.mark.parametrize("named", BAD)
def test_bad_arguments_are_refused_in_one_line_that_names_them(named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the message is compared below
        BAD[named]()
    message = str(refused.value)
    assert "\n" not in message
    name, _, value = named.partition("=")
    assert f"{name}={value}" in message or f"unknown {name} {value}" in message or (not value and name in message)
    assert not list(tmp_path.iterdir()), "nothing was written"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named():
    with pytest.raises(ValueError, match="accelerator='cuda', but PyTorch finds no GPU; use auto or cpu"):
        evaluate(data=DigitsDataModule(), ipc=1, baselines=["herding"], accelerator="cuda")


def test_choices_of_unions_and_defaults():
    def function(a: Literal["x", "y"] | None = None, b: Optional[Literal[1]] = None, c: str = "z", d: Missing = 0):  # noqa: F821, UP045
        """Do nothing."""

    check_choices(function, {"a": None, "b": 1, "c": "anything", "d": 3, "other": 5})
    with pytest.raises(ValueError, match="unknown a 'z'; use one of x, y, None"):
        check_choices(function, {"a": "z"})
    with pytest.raises(ValueError, match="unknown b True; use one of 1, None"):
        check_choices(function, {"b": True})


def test_numbers_and_their_bounds():
    check_number("x", 0, 0)
    check_number("x", 0.999, 0, 1)
    for value, options, message in [
        (0, {"low": 0, "open_low": True}, "x=0; it must be a number above 0"),
        (1, {"low": 0, "high": 1}, "x=1; it must be a number from 0 to below 1"),
        (1.0, {"low": 1, "integer": True}, r"x=1\.0; it must be an integer of at least 1"),
        (True, {"low": 0}, "x=True"),
        (None, {"low": 0}, "x=None"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_number("x", value, **options)
