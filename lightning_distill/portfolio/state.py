"""State of a portfolio on disk: what was measured so far, so that a killed run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lightning_distill.utils.atomic_files import write_files_atomically

STATE = "portfolio.json"
#: What an error says of an argument that is not among the settings of a run.
DEFAULT = "the default"


@dataclass(frozen=True)
class Snapshot:
    """A candidate's set after some steps, scored on validation.

    Args:
        recipe: Name of the recipe.
        rung: Number of the round, from 0.
        steps: Distillation steps from the start.
        score: Mean score of the students, a fraction.
        std: Standard deviation of the score over students.
        seconds: Seconds of distillation from the start.
    """

    recipe: str
    rung: int
    steps: int
    score: float
    std: float
    seconds: float


@dataclass
class PortfolioState:
    """All measurements of a portfolio run; `save` writes them.

    Args:
        folder: Folder of the run.
        settings: Arguments that must agree when a run goes on.
        seconds: Seconds spent so far, over all attempts.
        costs: Measured seconds by name, see `budget.Costs`.
        plan: The plan, as plain data; empty before the costs are known.
        targets: Steps of each candidate, by ``recipe/rung``.
        snapshots: Scored snapshots.
        full: Mean of the metric over students of all real images; None where it was not measured.
        final: Final scores, as plain data; None before they are measured.
    """

    folder: Path
    settings: Mapping[str, object]
    seconds: float = 0.0
    costs: dict[str, float] = field(default_factory=dict)
    plan: dict[str, object] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)
    full: float | None = None
    final: dict[str, object] | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike[str], settings: Mapping[str, object]) -> PortfolioState:
        """Read the state of a folder, or begin a new one.

        Args:
            folder: Folder of the run.
            settings: Arguments of this run.

        Raises:
            ValueError: The folder holds a run with other settings, or its state cannot be read.
        """
        path = Path(folder) / STATE
        settings = json.loads(json.dumps(settings))
        if not path.is_file():
            return cls(Path(folder), settings)
        try:
            content = json.loads(path.read_text())
            before = content["settings"]
            state = cls(
                Path(folder),
                settings,
                float(content["seconds"]),
                dict(content["costs"]),
                dict(content["plan"]),
                dict(content["targets"]),
                [Snapshot(**snapshot) for snapshot in content["snapshots"]],
                content["full"],
                content["final"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{STATE} in {folder} cannot be read; remove it or use another --out") from error
        free = () if state.plan else ("minutes",)  # too few minutes for a plan may be raised
        names = [name for name in {**settings, **before} if name not in free]  # some are there only where they are set
        if changed := [name for name in names if before.get(name) != settings.get(name)]:
            old, new = (values.get(changed[0], DEFAULT) for values in (before, settings))
            raise ValueError(
                f"{folder} holds a run with {changed[0]}={old}, not {new}; use another --out, or the same arguments to "
                "go on"
            )
        return state

    @property
    def minutes(self) -> float:
        """Time budget in minutes."""
        return float(self.settings["minutes"])  # type: ignore[arg-type]

    def save(self) -> None:
        """Write the state."""
        content = {key: value for key, value in vars(self).items() if key != "folder"}
        content["snapshots"] = [asdict(snapshot) for snapshot in self.snapshots]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_files_atomically({self.folder / STATE: json.dumps(content, indent=1).encode()})

    def snapshot(self, recipe: str, rung: int) -> Snapshot | None:
        """Return the snapshot of a recipe in a rung, or None."""
        return next((s for s in self.snapshots if (s.recipe, s.rung) == (recipe, rung)), None)

    def snapshot_folder(self, snapshot: Snapshot) -> Path:
        """Return the folder of a snapshot's set file."""
        return self.folder / "candidates" / snapshot.recipe / f"step_{snapshot.steps}"
