"""Recorder of a newcomer's way: commands in a fresh environment, with their seconds and every line they print."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Environment:
    """Fresh virtual environment with the package, installed from its sources.

    Args:
        folder: Folder of the environment.
    """

    folder: Path
    seconds: float = 0.0

    def install(self, *packages: str) -> None:
        """Make the environment, and install packages into it."""
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "venv", self.folder], check=True)
        subprocess.run([self.folder / "bin" / "pip", "install", "-q", *packages], check=True)
        self.seconds = time.perf_counter() - began


@dataclass
class Step:
    """A command and what it printed.

    Args:
        command: Command line.
        seconds: Wall time.
        lines: Lines of standard output and standard error.
    """

    command: str
    seconds: float
    lines: list[str]


@dataclass
class Walk:
    """A way from an empty folder to its end.

    Args:
        title: Who walks, and where to.
        folder: Empty folder, the working folder of all commands.
        environment: Environment of the commands.
    """

    title: str
    folder: Path
    environment: Environment
    steps: list[Step] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)

    def type(self, file: str, text: str) -> None:
        """Write a file; its lines count as typed."""
        (self.folder / file).write_text(text)
        self.typed += [line for line in text.splitlines() if line.strip()]

    def run(self, command: str, status: int = 0) -> str:
        """Run a command as typed, assert its exit status, and return what it printed."""
        folder = self.environment.folder / "bin"
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        variables = {**os.environ, "PATH": path, "WANDB_MODE": "offline", "COLUMNS": "120"}
        variables = {name: value for name, value in variables.items() if name not in ("PYTHONPATH", "OMP_NUM_THREADS")}
        began = time.perf_counter()
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=variables, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        printed = done.stdout.replace(f"{self.environment.folder}/", "").replace(f"{self.folder}/", "")
        lines = [line.rstrip() for line in printed.splitlines() if line.strip()]
        self.steps.append(Step(command, time.perf_counter() - began, lines))
        assert done.returncode == status, f"{command} ended with {done.returncode}:\n{printed[-3000:]}"
        return printed

    @property
    def seconds(self) -> float:
        """Wall time of all commands."""
        return sum(step.seconds for step in self.steps)

    def row(self) -> str:
        """Return the line of the table of walks."""
        lines = len(self.typed) + len(self.steps)
        printed = sum(len(step.lines) for step in self.steps)
        return f"| {self.title} | {len(self.steps)} | {lines} | {printed} | {self.seconds / 60:.1f} |"

    def transcript(self) -> str:
        """Return commands and printed lines as Markdown."""
        text = [f"### {self.title}", ""]
        for step in self.steps:
            text += [f"`{step.command}` ({step.seconds:.0f} s)", "", "```text", *step.lines, "```", ""]
        return "\n".join(text)
