"""Successive halving over recipes, on the validation split."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.evaluation.metrics.registry import get_metric
from lightning_distill.portfolio.budget import Costs, Plan, make_plan
from lightning_distill.portfolio.candidate import CandidateRun, median
from lightning_distill.portfolio.scoring import PortfolioStudents
from lightning_distill.portfolio.state import PortfolioState, Snapshot
from lightning_distill.sets.card import make_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import save_set

#: Steps of each candidate from which the seconds of a step are estimated.
PROBE_STEPS = 4
#: Function that is called when anything has changed, with a description of what is done now.
OnUpdate = Callable[[str], object]


@dataclass
class Search:
    """Candidates, their students and the state of a portfolio.

    Args:
        candidates: Candidates by name, the most promising first.
        students: Students that score the snapshots.
        state: State on disk.
        metric: Name of the metric that selects.
        seconds: Time budget.
        real: All real images.
        picks: Number of sets of picked images in the final scores.
        on_update: Function that is called when anything has changed.
    """

    candidates: dict[str, CandidateRun]
    students: PortfolioStudents
    state: PortfolioState
    metric: str
    seconds: float
    real: LabeledSet
    picks: int
    on_update: OnUpdate
    _clock: float = field(default_factory=time.perf_counter)

    def run(self) -> Snapshot:
        """Run all rounds that are missing, and return the snapshot with the best score.

        Raises:
            ValueError: The budget does not hold one candidate.
        """
        plan = self.plan()
        alive = list(plan.recipes)
        for rung in range(len(plan.round_seconds)):
            costs = self.costs()  # a pool makes later steps cheaper
            for name in alive:
                self._advance(name, rung, plan, costs, len(alive))
            alive = self._ranked(rung)[: max(1, (len(alive) + 1) // 2)]
        return self.best(self.state.snapshots)

    def best(self, snapshots: list[Snapshot]) -> Snapshot:
        """Return the snapshot with the best score, of equal ones the one with more steps."""
        sign = -1 if get_metric(self.metric, self.real.spec).higher_is_better is False else 1
        return max(snapshots, key=lambda s: (sign * s.score, s.steps))

    def plan(self) -> Plan:
        """Measure the costs, unless they are known, and divide the budget."""
        costs = self.costs()
        if not self.state.plan:
            names, students = list(self.candidates), len(self.students.final.seeds)
            plan = make_plan(self.seconds, self.state.seconds, names, costs, self.picks, students)
            self.state.plan = asdict(plan)
            self.save("the plan is made")
        saved = self.state.plan
        return Plan(tuple(saved["recipes"]), tuple(saved["round_seconds"]), int(saved["full_students"]))  # type: ignore[arg-type, call-overload]

    def costs(self) -> Costs:
        """Return the latest measured costs; those that are unknown are measured with a few steps and epochs."""
        known = self.state.costs
        for name, candidate in self.candidates.items():
            if f"step/{name}" not in known:
                self.on_update(f"timing {name}")
                candidate.restart()
                _, seconds = candidate.distil(PROBE_STEPS)
                known[f"step/{name}"] = median(seconds)
                self.save(f"{name} is timed")
        for formation in sorted({1, *(c.recipe.formation for c in self.candidates.values())}):
            if f"epoch/{formation}" not in known:
                self.on_update("timing students")
                sample = next((c for c in self.candidates.values() if c.recipe.formation == formation), None)
                start = self.candidates[next(iter(self.candidates))].start() if sample is None else sample.start()
                if sample is None and start.formation > 1:  # students of picks see the stored number of images
                    start = LabeledSet(start.pixels, start.labels, start.spec)
                known[f"epoch/{formation}"], known["scoring"] = self.students.epoch_seconds(start)
                known[f"images/{formation}"] = float(len(start.targets))
                self.save("students are timed")
        return self._costs()

    def _costs(self) -> Costs:
        known, students = self.state.costs, self.students

        def trained(formation: int, evaluator_epochs: int, count: int) -> float:
            return count * (known[f"epoch/{formation}"] * evaluator_epochs + known["scoring"])

        formations = {name: candidate.recipe.formation for name, candidate in self.candidates.items()}
        long = students.final
        short = {name: students.for_search(int(known[f"images/{f}"])) for name, f in formations.items()}
        image = min(known[f"epoch/{f}"] / known[f"images/{f}"] for f in {1, *formations.values()})
        images = len(self.real.labels)
        epochs = long.protocol.for_real_data(images).epochs + 1
        return Costs(
            step={name: known[f"step/{name}"] for name in formations},
            search={n: trained(f, short[n].protocol.epochs + 1, len(short[n].seeds)) for n, f in formations.items()},
            final={n: trained(f, long.protocol.epochs + 1, len(long.seeds)) for n, f in formations.items()},
            pick=trained(1, long.protocol.epochs + 1, len(long.seeds)),
            full=image * images * epochs + known["scoring"],
        )

    def _advance(self, name: str, rung: int, plan: Plan, costs: Costs, alive: int) -> None:
        """Distil a candidate to the steps of a round, and score it, unless that is done."""
        if self.state.snapshot(name, rung) is not None:
            return
        earlier = [s for s in self.state.snapshots if s.recipe == name]
        key = f"{name}/{rung}"
        if key not in self.state.targets:
            done = max((s.steps for s in earlier), default=0)
            self.state.targets[key] = done + plan.steps(name, rung, alive, costs)
            self.save(f"{name}: {self.state.targets[key]} steps are planned")
        steps = self.state.targets[key]
        distiller, seconds = self.candidates[name].distil(
            steps, lambda step: self.on_update(f"{name}: step {step} of {steps}")
        )
        exported = exported_set(distiller.synthetic)
        self.on_update(f"{name}: students")
        scores = self.students.score(self.students.for_search(len(exported.targets)), lambda _: exported)
        if seconds:
            self.state.costs[f"step/{name}"] = median(seconds[len(seconds) // 2 :])
        spent = sum(seconds) + max((s.seconds for s in earlier), default=0.0)
        snapshot = Snapshot(name, rung, steps, scores.mean(self.metric), scores.std(self.metric), round(spent, 1))
        hyper_parameters = {key: value for key, value in distiller.hparams.items() if not key.startswith("_")}
        learnables = {"soft_labels": distiller.synthetic.soft_label_logits, "lr": distiller.synthetic.lr}
        learned = [key for key, tensor in learnables.items() if tensor is not None]
        card = make_card(type(distiller).__name__, hyper_parameters, {}, str(hyper_parameters["init"]), steps, learned)
        save_set(self.state.snapshot_folder(snapshot), exported, card)
        self.state.snapshots.append(snapshot)
        self.save(f"{name} is scored")

    def _ranked(self, rung: int) -> list[str]:
        """Return the candidates of a round, the best first."""
        left = [s for s in self.state.snapshots if s.rung == rung]
        names = []
        while left:
            names.append(self.best(left).recipe)
            left = [s for s in left if s.recipe != names[-1]]
        return names

    def save(self, message: str) -> None:
        """Write the state with the seconds spent, and report."""
        now = time.perf_counter()
        self.state.seconds += now - self._clock
        self._clock = now
        self.state.save()
        self.on_update(message)
