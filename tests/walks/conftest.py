"""One fresh environment for all walks, and the transcript that they leave."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from walks.walk import ROOT, Environment, Walk

from lightning_distill.utils.hardware import machine_description

HEAD = """| way | commands | lines typed | lines printed | minutes |
| --- | --- | --- | --- | --- |"""


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Virtual environment with the package of this checkout."""
    environment = Environment(tmp_path_factory.mktemp("environment"))
    environment.install(str(ROOT))
    return environment


@pytest.fixture(scope="session")
def start_walk(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Walk]]:
    """Start a walk in an empty folder. At the end, the transcript goes to the file ``$WALKS`` if it is given."""
    walks: list[Walk] = []

    def start(title: str) -> Walk:
        walks.append(Walk(title, tmp_path_factory.mktemp("walk"), environment))
        return walks[-1]

    yield start
    if target := os.environ.get("WALKS"):
        made = f"{machine_description()}, {datetime.date.today()}; the environment was installed in "
        made += f"{environment.seconds:.0f} s. `WALKS=benchmarks/results/walks.md pytest -m walk tests/walks`"
        table = "\n".join([HEAD, *(walk.row() for walk in walks)])
        Path(target).write_text("\n\n".join([table, made, *(walk.transcript() for walk in walks)]))
