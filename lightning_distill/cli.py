"""``lightning-distill``: Lightning's fit, validate and test on any distiller, and commands of our own beside them."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from lightning_distill._version import __version__

OVERVIEW = f"""lightning-distill {__version__}

  quickstart   distil scikit-learn's digits and compare: no network, a few minutes
  audit-data   leaks and faults in data, before anything is trained on them
  fit          distil:  lightning-distill fit --config benchmarks/configs/breastmnist_dm.yaml
  validate     train students on a checkpoint's set and score them on the validation split
  test         the same on the test split: look once
  evaluate     score a set file beside its baselines
  coreset      chosen real images as a set file, to hold a distilled one against
  concat       several set files as one:  lightning-distill concat A B --out both
  compare      two evaluated sets on the same test images:  lightning-distill compare A.safetensors B.safetensors
  mix          does somebody's set help a student that has real images of its own?
  report       runs and result tables as one page:  lightning-distill report RUN_OR_CSV ... --out report.html
  indicator    what distillation may reach on some data, before any is done
  experts      train networks on real data and keep every epoch, for trajectory matching
  bench        what a step takes on this machine, and which knob to turn: under five minutes

Each has --help; fit --model.help DMDistiller and --data.help FolderDataModule show what a method or data can take."""
#: Commands of our own: each is a function in a module of its name, with ``_`` for ``-``.
COMMANDS = (
    "quickstart", "audit-data", "evaluate", "coreset", "concat", "compare", "mix", "report", "indicator", "experts",
    "bench",
)  # fmt: skip
#: Lightning's own.
LIGHTNING_COMMANDS = ("fit", "validate", "test")
#: The option that words before the first option are a list for.
POSITIONAL = {"concat": "sets", "compare": "files", "report": "inputs"}


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
    from lightning_distill.commands._errors import format_parser_error

    try:
        if argv[0] not in (*COMMANDS, *LIGHTNING_COMMANDS) and not argv[0].startswith("-"):
            close = get_close_matches(argv[0], (*COMMANDS, *LIGHTNING_COMMANDS)) or ["lightning-distill --help"]
            raise ValueError(f"there is no command {argv[0]!r}; see {', '.join(close)}")
        if argv[0] in COMMANDS:
            from jsonargparse import auto_cli

            import lightning_distill.data  # noqa: F401  (short class names in --data)
            from lightning_distill.commands._argv import normalize_argv

            name = argv[0].replace("-", "_")
            command = getattr(import_module(f"lightning_distill.commands.{name}"), name)
            words = normalize_argv(argv[1:], command, POSITIONAL.get(argv[0]))
            prog = f"lightning-distill {argv[0]}"
            auto_cli(command, args=words, as_positional=False, prog=prog, exit_on_error=False)
        else:
            _lightning(argv)
    except (ArgumentError, ValueError, TypeError, OSError, FloatingPointError) as error:
        if os.environ.get("LIGHTNING_DISTILL_DEBUG"):
            raise
        print(f"lightning-distill: {format_parser_error(str(error), argv[0])}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        print("lightning-distill: stopped", file=sys.stderr)
        raise SystemExit(130) from None


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
            return {name: skipped for name, skipped in LightningCLI.subcommands().items() if name in LIGHTNING_COMMANDS}

        def before_instantiate_classes(self) -> None:
            if self.subcommand in ("validate", "test") and self.config[self.subcommand].ckpt_path is None:
                raise ValueError(
                    f"{self.subcommand} needs --ckpt_path FILE, a checkpoint of fit: without one it would score the "
                    "images that a run begins with; `lightning-distill evaluate --set` scores a set file"
                )

    DistillCLI(
        Distiller,
        ArrayDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=False,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"prog": "lightning-distill", "exit_on_error": False},
        args=None if argv == sys.argv[1:] else argv,
    )
