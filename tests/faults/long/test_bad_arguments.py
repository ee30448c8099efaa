"""More than 125 bad arguments: each ends in one line that names the argument, before any work."""

from __future__ import annotations

import math
import time

import pytest
from faults.long.harness import record
from utils.test_arguments import BAD

from lightning_distill import DCDistiller, DMDistiller, DSADistiller, IDMDistiller, KRRDistiller, MTTDistiller

pytestmark = pytest.mark.long
METHODS = (DMDistiller, IDMDistiller, DCDistiller, DSADistiller, KRRDistiller, MTTDistiller)
#: Bad values of the arguments that all methods have.
VALUES = {
    "ipc": (0, -1, 2.5, "3", [], True), "lr": (-1, "1", math.nan, math.inf), "momentum": (2, -1, math.nan),
    "gradient_clip": (-1, math.nan), "chunk": (0, -5), "formation": (0, 1.5, -1), "seed": ("a", 1.5),
    "lr_schedule": ("cos",), "compile": ("yes",), "init": ("hurding",), "augmentation": ("dsb",),
    "network": ("convnett",), "preset": ("book",), "class_ratio": ("odd",), "on_small_class": ("skip",),
}  # fmt: skip


def test_bad_arguments_are_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = {f"{method.__name__}({name}={value!r})": (name, lambda m=method, n=name, v=value: m(**{n: v}))
             for method in METHODS for name, values in VALUES.items() for value in values}  # fmt: skip
    calls |= {named: (named.partition("=")[0], call) for named, call in BAD.items()}
    began, wrong = time.monotonic(), []
    for text, (name, call) in calls.items():
        try:
            call()
            wrong.append(f"{text}: accepted")
        except ValueError as error:
            wrong += [f"{text}: {error}"] if "\n" in str(error) or name not in str(error) else []
        except BaseException as error:
            wrong.append(f"{text}: {type(error).__name__} {error}")
    record("bad arguments", len(calls), len(wrong), "one line that names the argument", began)
    assert len(calls) > 125
    assert not list(tmp_path.iterdir())
    assert not wrong, wrong
