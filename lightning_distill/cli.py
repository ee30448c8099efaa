"""``lightning-distill``: Lightning's fit, validate and test on any distiller, and commands of our own beside them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from lightning_distill import __version__

OVERVIEW = f"""lightning-distill {__version__}

  quickstart   distil scikit-learn's digits and compare: no network, under three minutes
  fit          distil:  lightning-distill fit --config benchmarks/configs/breastmnist_dm.yaml
  validate     train students on a checkpoint's set and score them on the validation split
  test         the same on the test split: look once
  evaluate     score a set file beside its baselines
  experts      train networks on real data and keep every epoch, for trajectory matching
  bench        what a step takes on this machine, and which knob to turn: under five minutes

Each has --help."""


def main(args: Sequence[str] | None = None) -> None:
    """Run one command; ``args`` defaults to the command line.

    Raises:
        SystemExit: 2 for a wrong command line or bad input, with one line that says what and how to mend it.
    """
    argv = list(sys.argv[1:] if args is None else args)
    if not argv or argv[0] in ("-h", "--help"):
        print(OVERVIEW)
    elif argv[0] in ("-V", "--version"):
        print(__version__)
    else:
        _run(argv)


def _run(argv: list[str]) -> None:
    try:
        if argv[0] in ("quickstart", "evaluate", "experts", "bench"):
            from jsonargparse import auto_cli

            auto_cli(_command(argv[0]), args=argv[1:], as_positional=False, prog=f"lightning-distill {argv[0]}")
        else:
            _lightning(argv)
    except (ValueError, TypeError, FileNotFoundError, PermissionError, FloatingPointError) as error:
        if os.environ.get("LIGHTNING_DISTILL_DEBUG"):
            raise
        print(f"lightning-distill: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def _command(name: str) -> Callable[..., object]:
    import lightning_distill.data  # noqa: F401  (short class names in --data)

    if name == "evaluate":
        from lightning_distill.commands.evaluate import evaluate

        return evaluate
    if name == "experts":
        from lightning_distill.commands.experts import experts

        return experts
    if name == "bench":
        from lightning_distill.commands.bench import bench

        return bench
    from lightning_distill.commands.quickstart import quickstart

    return quickstart


def _lightning(argv: list[str]) -> None:
    from importlib.metadata import entry_points

    from lightning.pytorch.cli import LightningCLI

    from lightning_distill.callbacks import StudentEvaluation  # noqa: F401  (short class names in YAML)
    from lightning_distill.data import ArrayDataModule
    from lightning_distill.distillers import Distiller

    for method in entry_points(group="lightning_distill.distillers"):
        method.load()  # methods of other packages then have short names too

    class DistillCLI(LightningCLI):
        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            return {
                name: skipped
                for name, skipped in LightningCLI.subcommands().items()
                if name in ("fit", "validate", "test")
            }

    DistillCLI(
        Distiller,
        ArrayDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=False,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"prog": "lightning-distill"},
        args=None if argv == sys.argv[1:] else argv,
    )
