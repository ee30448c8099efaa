"""``fit``, ``validate`` and ``test`` of Lightning, with the checks and options of a distillation."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path

import yaml
from jsonargparse import ActionYesNo
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info

from lightning_distill.callbacks import SyntheticSetExport
from lightning_distill.callbacks.monitors import check_monitors
from lightning_distill.commands._checkpoint_class import check_class
from lightning_distill.commands._configs import with_config_paths
from lightning_distill.commands._help import FIT, FIT_OPTIONS
from lightning_distill.commands._quiet import quiet_lightning
from lightning_distill.commands._run_defaults import complete_generator_run, complete_run
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import Distiller
from lightning_distill.distillers.registry import distillers_by_name
from lightning_distill.generators import Generator
from lightning_distill.generators.load import generators_by_name
from lightning_distill.signals import SignalsDataModule as SignalsDataModule  # can be given by name alone
from lightning_distill.utils.checkpoint_file import verify_file
from lightning_distill.utils.wandb_environment import keep_machine_out_of_wandb

#: Commands that this module runs.
COMMANDS = ("fit", "validate", "test")


class DistillCLI(LightningCLI):
    """LightningCLI of any `Distiller` on any `ArrayDataModule`."""

    #: Folder of the run; ``None`` where no set is exported.
    out: str | None = None

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the commands and the arguments of the Trainer's methods that they leave out."""
        return {name: skipped for name, skipped in LightningCLI.subcommands().items() if name in COMMANDS}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that no class has."""
        parser.add_argument(
            "--out",
            type=str | None,
            help=FIT_OPTIONS["out"],
        )
        parser.add_argument(
            "--export", action=ActionYesNo(no_prefix="no_"), default=True, help="Whether fit writes the set as files."
        )
        parser.add_argument("--students", type=int | None, help=FIT_OPTIONS["students"])
        parser.add_argument(
            "--protocol",
            type=str | None,
            help=FIT_OPTIONS["protocol"],
        )
        parser.add_argument(
            "--require_gain",
            type=bool,
            default=False,
            help=FIT_OPTIONS["require_gain"],
        )
        parser.add_argument(
            "--resume_with_changes",
            type=bool,
            default=False,
            help=FIT_OPTIONS["resume_with_changes"],
        )

    def _parse_ckpt_path(self) -> None:
        """Keep the given options in fit: Lightning 2.6 replaces them by the checkpoint's without a word.

        The distiller compares them with the checkpoint. ``validate`` and ``test`` take those of the checkpoint.
        """
        subcommand = self.config["subcommand"]
        if subcommand != "fit":
            verify_file(self.config[subcommand].ckpt_path or "")
            check_class(self.config[subcommand].ckpt_path or "")
            super()._parse_ckpt_path()

    def before_instantiate_classes(self) -> None:
        """Refuse options that do not belong to the command, and add what makes fit leave a set."""
        given = self.config[self.subcommand]
        for name in ("require_gain", "resume_with_changes", "out"):
            if given[name] and self.subcommand != "fit":
                raise ValueError(f"--{name} is an option of fit, not of {self.subcommand}; leave it out")
        self.out = complete_run(given, fit=self.subcommand == "fit")
        if self.config[self.subcommand].get("resume_with_changes") and self.config["fit"].ckpt_path is None:
            raise ValueError("--resume_with_changes needs --ckpt_path FILE, the checkpoint to go on from")
        if self.subcommand in ("validate", "test") and self.config[self.subcommand].ckpt_path is None:
            raise ValueError(
                f"{self.subcommand} needs --ckpt_path FILE, a checkpoint of fit; "
                "`lightning-distill evaluate --set FILE` scores a set file"
            )

    def before_fit(self) -> None:
        """Check what callbacks monitor, and hand the options on."""
        check_monitors(self.trainer, self.model)
        self.model.resume_with_changes = self.config["fit"].resume_with_changes
        if not self.config["fit"].require_gain:
            return
        callbacks: list[object] = self.trainer.callbacks  # type: ignore[attr-defined]
        exports = [each for each in callbacks if isinstance(each, SyntheticSetExport)]
        if not exports:
            raise ValueError("--require_gain needs an exported set, which is compared with its start; add --out FOLDER")
        for export in exports:
            export.require_gain = True

    def after_fit(self) -> None:
        """Say where the set is, or that there is none."""
        if self.out is None:
            rank_zero_info("no set was exported; --out FOLDER exports it")
        else:
            rank_zero_info(
                f"set and card: {self.out}/last, the best one: {self.out}/best; score it on the test split "
                f"with lightning-distill evaluate --set {shlex.quote(f'{self.out}/best')} --data ..."
            )


class GeneratorCLI(LightningCLI):
    """LightningCLI of any `Generator` on any `ArrayDataModule`."""

    out: str

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return ``fit`` and the arguments of the Trainer's method that it leaves out."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the option that no class has."""
        parser.add_argument("--out", type=str | None, help=FIT_OPTIONS["out"])

    def _parse_ckpt_path(self) -> None:
        """Keep the given options: the generator compares them with the checkpoint."""

    def before_instantiate_classes(self) -> None:
        """Add what makes fit leave pictures, scores and checkpoints."""
        self.out = complete_generator_run(self.config["fit"])

    def after_fit(self) -> None:
        """Say how to draw a set."""
        best: str = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        rank_zero_info(
            f"draw a set: lightning-distill generate --ckpt {best or 'CHECKPOINT'} --ipc 100 --out {self.out}/set"
        )


def names_generator(words: list[str]) -> bool:
    """Return True if a command line, or the last configuration file that names a model, names a generator.

    Args:
        words: Words of the command line with full class names.

    Example:
        >>> names_generator(["fit", "--model", "FlowGenerator"]), names_generator(["fit", "--model=DMDistiller"])
        (True, False)
    """
    model, pairs = "", [word.partition("=")[::2] for word in words]
    for (option, value), following in zip(pairs, [*words[1:], ""], strict=True):
        if option in ("--model", "--model.class_path", "--model.help"):
            model = value or following
        elif option in ("--config", "-c"):
            model = configured_model(value or following) or model
    return model.rpartition(".")[2] in {kind.__name__ for kind in generators_by_name().values()}


def configured_model(path: str) -> str:
    """Return the class of the model that a configuration file names; empty where it cannot be read or names none.

    Args:
        path: Path of the file. Its errors are left to the parser.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return ""
    model = content.get("model") if isinstance(content, dict) else None
    return str(model.get("class_path", "") if isinstance(model, dict) else model or "")


def full_method_names(argv: list[str]) -> list[str]:
    """Replace the short name of a method or generator in ``--model dm`` or ``--model=dm`` by that of its class.

    Args:
        argv: Words of the command line.

    Example:
        >>> full_method_names(["fit", "--model", "dm", "--model.ipc=1"])
        ['fit', '--model', 'DMDistiller', '--model.ipc=1']
    """
    kinds: dict[str, type] = {**distillers_by_name(), **generators_by_name()}
    names = {short: kind.__name__ for short, kind in kinds.items()}
    words = [f"--model={names.get(word[8:], word[8:])}" if word.startswith("--model=") else word for word in argv]
    return [
        names.get(word, word) if before == "--model" else word
        for before, word in zip(["", *words], words, strict=False)
    ]


def run_lightning(argv: list[str]) -> None:
    """Run a command of Lightning.

    Args:
        argv: Words of the command line, the command first.
    """
    keep_machine_out_of_wandb()
    for method in entry_points(group="lightning_distill.distillers"):
        method.load()  # methods of other packages can then be given by name alone
    argv = ["--help" if word == "--help_all" else word for word in argv]
    words = with_config_paths(full_method_names(argv))
    generator = names_generator(words)
    if generator and words[0] != "fit":
        raise ValueError(
            f"{words[0]} scores the set of a distiller; draw one by `lightning-distill generate --ckpt FILE`"
        )
    cli, model = (GeneratorCLI, Generator) if generator else (DistillCLI, Distiller)
    with quiet_lightning():
        cli(
            model,
            ArrayDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=False,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "lightning-distill", "exit_on_error": False, "fit": FIT},
            args=None if words == sys.argv[1:] else words,
        )
