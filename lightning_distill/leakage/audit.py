"""``audit_set``: measure what sets of a recipe reveal about the images they are made from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.leakage.audit_run import Audit
from lightning_distill.leakage.baselines import baseline_recipes, check_baselines
from lightning_distill.leakage.canaries import CanaryKind, check_canaries
from lightning_distill.leakage.config import Config, check_belongs, check_halves, fitted_to, read_recipe, recipe_of_card
from lightning_distill.leakage.halves import check_shadows, draw_halves
from lightning_distill.leakage.members import members_of
from lightning_distill.leakage.result import AuditResult
from lightning_distill.leakage.shadows import ShadowMaker
from lightning_distill.networks import check_network
from lightning_distill.sets.leakage_record import attach_audit, check_attachable
from lightning_distill.sets.storage import check_writable, read_set
from lightning_distill.utils.arguments import check_choices, check_number
from lightning_distill.utils.hardware import resolve_device
from lightning_distill.utils.progress import ProgressCounter, ProgressReport


def audit_set(
    config: Config | None,
    datamodule: ArrayDataModule,
    *,
    shadows: int = 16,
    minutes: float | None = None,
    out: str | os.PathLike[str] = "audit",
    synthetic_set: str | os.PathLike[str] | None = None,
    attach: bool = False,
    ipc: int | list[int] | None = None,
    steps: int | None = None,
    baselines: list[str] | None = None,
    dp_epsilon: float = 8.0,
    network: str = "convnet_w32",
    protocol: str = "quick",
    students: int = 1,
    queries: int = 2,
    recovery: bool = True,
    canaries: int = 0,
    canary_kind: CanaryKind = "mislabelled",
    claimed_epsilon: float | None = None,
    claimed_delta: float = 0.0,
    seed: int = 0,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    together: bool = True,
    maker: ShadowMaker | None = None,
    on_progress: ProgressReport | None = None,
    on_rows: Callable[[AuditResult, str], object] = lambda result, recipe: None,
) -> AuditResult:
    """Measure by attacks what sets of a recipe reveal about the images they are made from.

    The recipe is repeated on random halves of the patients (shadow sets). Networks trained on each set, and the set's
    images themselves, are then asked which patients it was made from: every shadow set is the target once, with the
    others as references. Baselines are measured in the same way. An interrupted audit goes on where it stopped, and
    more shadows can be added.

    The folder ``out`` holds ``audit.json``, the score of every image and attack (``scores-NAME.npz``), a picture of the
    images that resemble a training image most, and the shadow sets. Keep it under the rules of the data.

    Args:
        config: Configuration that makes the set: a YAML file of ``fit``, its content, a distiller (with ``steps``), or
            a pick of real images: ``random``, ``herding``, ``kcenter``, ``kmeans`` or ``full`` (all). ``None`` takes
            the recipe in the card of ``synthetic_set``.
        datamodule: Data that the set is made from. Its validation images are the images that nothing was made from.
        shadows: Number of shadow sets, even and at least 8; with ``minutes`` the largest number.
        minutes: Time budget in minutes for shadow sets and baselines: the first shadow set is timed, and as many are
            made as fit, at least 8. Baselines that are distilled are left out where they do not fit. The same command
            with more minutes adds to what is there.
        out: Folder of the audit.
        synthetic_set: Finished set, made from all training images, that is attacked too.
        attach: Whether the result is written into the card of ``synthetic_set``.
        ipc: Images per class of a pick. Default: 10.
        steps: Number of steps in place of ``trainer.max_steps`` of the configuration.
        baselines: Names of `baselines.Baseline`. Default: ``random``, ``herding``, ``full`` and ``noise``.
        dp_epsilon: Epsilon of the baseline ``dp``.
        network: Network of the students.
        protocol: Training protocol of the students: ``quick``, ``reference`` or ``tiny`` (for tests).
        students: Number of students of each set.
        queries: Number of views of an image that a student is asked about, 1 to 6.
        recovery: Whether the recovery of the starts is measured as steps grow, for sets that start from real images.
        canaries: Number of canaries of a one-run audit; 0 leaves it out. A claimed epsilon needs it.
        canary_kind: Kind of the canaries: ``mislabelled`` or ``out_of_distribution``.
        claimed_epsilon: Epsilon of differential privacy that the recipe claims per image.
        claimed_delta: Delta of the claim.
        seed: Seed of the halves and of the canaries.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        together: Whether the shadow sets of distribution matching are distilled in one pass, many times faster. They
            then have the mean and standard deviation of all data; only the attack on the statistics themselves takes
            those of each half.
        maker: Function that makes the shadow sets of several halves, see `shadows.ShadowMaker`. Default:
            `together.make_together` with ``together``, else `shadows.make_one_by_one`.
        on_progress: Function that receives a description, the finished and the total number of shadow sets.
        on_rows: Function that receives the result so far and the name of the recipe whose rows are new.

    Returns:
        Rows of all attacks, and the sentences drawn from them.

    Raises:
        FileNotFoundError: The configuration or the set does not exist.
        ValueError: There are fewer than 8 shadows, a half would lack a class, set and configuration or data do not
            belong together, the folder holds another audit, the minutes are too few (the message names those
            that are needed), or an option is unknown.
        OSError: The folder cannot be written.

    Example:
        >>> from lightning_distill import DigitsDataModule, DMDistiller, audit_set
        >>> result = audit_set(DMDistiller(ipc=1), DigitsDataModule(), steps=100)  # doctest: +SKIP
        >>> result.sentences()  # doctest: +SKIP
    """
    check_choices(audit_set, {**locals()})
    check_shadows(shadows)
    check_network(network)
    get_protocol(protocol)
    check_number("students", students, 1, integer=True)
    check_number("queries", queries, 1, 7, integer=True)
    check_number("canaries", canaries, 0, integer=True)
    check_number("dp_epsilon", dp_epsilon, 0, open_low=True)
    if minutes is not None:
        check_number("minutes", minutes, 0, open_low=True)
    if claimed_epsilon is not None:
        check_number("claimed_epsilon", claimed_epsilon, 0)
    check_number("claimed_delta", claimed_delta, 0, 1)
    if claimed_epsilon is not None and not canaries:
        raise ValueError("a claimed epsilon is tested by canaries; give their number, e.g. canaries=100")
    names, device = check_baselines(baselines), resolve_device(accelerator)
    finished, card = (None, {}) if synthetic_set is None else read_set(synthetic_set)
    if attach:
        if synthetic_set is None:
            raise ValueError("attach writes the result into the card of a set; give synthetic_set")
        check_attachable(synthetic_set)
    if config is None and finished is None:
        raise ValueError("give the configuration that makes the set, or a set whose card holds it")
    if config is None and (given := [name for name, value in (("ipc", ipc), ("steps", steps)) if value is not None]):
        raise ValueError(f"{given[0]} is that of the card; leave it out, or give the configuration")
    recipe = (
        recipe_of_card(card, device) if config is None else read_recipe(config, ipc=ipc, steps=steps, device=device)
    )
    members = members_of(datamodule)
    recipe = fitted_to(recipe, datamodule)
    if finished is not None:
        check_belongs(recipe, members, finished, card)
    if canaries:
        check_canaries(members, canary_kind, canaries)
    halves = draw_halves(members.strata, members.units, shadows, seed, members.spec.balance_groups)
    check_halves(recipe, members, halves)
    others = baseline_recipes(recipe, names, network=network, protocol=protocol, epsilon=dp_epsilon)
    check_writable(out)
    asked = {
        "shadows": shadows, "students": students, "queries": queries, "network": network, "protocol": protocol,
        "seed": seed, "claimed_epsilon": claimed_epsilon, "claimed_delta": claimed_delta,
    }  # fmt: skip
    audit = Audit(
        recipe,
        datamodule,
        members,
        halves,
        Path(out),
        finished=finished,
        asked=asked,
        device=device,
        maker=maker,
        together=together,
        recovers=recovery,
        canaries=canaries,
        progress=ProgressCounter(on_progress, shadows * (1 + len(others))),
        on_rows=on_rows,
    )
    audit.check_folder(others)
    if minutes is not None:
        others = list(audit.plan(minutes, others))
    audit.measure_all(others)
    if recovery:
        audit.measure_recovery()
    if canaries:
        audit.measure_canaries(canary_kind)
    result = audit.finish()
    if attach and synthetic_set is not None:
        attach_audit(synthetic_set, result.to_dict(public=True))
    return result
