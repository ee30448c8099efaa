"""The recorded command: defaults and local folders left out, quoted for a shell."""

from __future__ import annotations

import shlex

from lightning_distill.utils.command_line import command_line


class Data:
    @property
    def reproducible_args(self):
        return {"name": "breastmnist", "size": 28}


def mix(data=None, synthetic_set="", real=(), ratio=None, map_classes=None, resize=False, seed=0, out=None):
    """Stand in for a command."""


def test_options_are_in_order_and_defaults_are_left_out():
    arguments = {
        "data": Data(), "synthetic_set": "/home/somebody/runs/both", "real": [4, 10], "ratio": [0.1, 1.0],
        "map_classes": {"a b": "ü"}, "resize": True, "seed": 0, "out": "/tmp/x.csv",
    }  # fmt: skip
    assert shlex.split(command_line(mix, arguments)) == [
        "lightning-distill", "mix", "--data", "Data", "--data.name", "breastmnist", "--data.size", "28",
        "--set", "both", "--real", "[4,10]", "--ratio", "[0.1,1.0]", "--map_classes", '{"a b": "ü"}',
        "--resize", "true",
    ]  # fmt: skip
    assert command_line(mix, {"real": ["a b"]}, without=()) == """lightning-distill mix --real '["a b"]'"""


def test_dashes_replace_underscores_in_the_name():
    def audit_data(near: float = 0.9) -> None: ...

    assert command_line(audit_data, {"near": 0.95}) == "lightning-distill audit-data --near 0.95"
