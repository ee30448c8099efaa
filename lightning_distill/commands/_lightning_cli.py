"""``fit``, ``validate`` and ``test`` of Lightning, with the checks and options of a distillation."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from jsonargparse import ActionYesNo
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info

from lightning_distill.callbacks import SyntheticSetExport
from lightning_distill.callbacks.monitors import check_monitors
from lightning_distill.commands._checkpoint_class import check_class
from lightning_distill.commands._configs import with_config_paths
from lightning_distill.commands._help import FIT, FIT_OPTIONS
from lightning_distill.commands._quiet import quiet_lightning
from lightning_distill.commands._run_defaults import complete_run
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import Distiller
from lightning_distill.distillers.registry import distillers_by_name
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
                f"with lightning-distill evaluate --set {self.out}/best --data ..."
            )


def full_method_names(argv: list[str]) -> list[str]:
    """Replace the short name of a method in ``--model dm`` or ``--model=dm`` by that of its class.

    Args:
        argv: Words of the command line.

    Example:
        >>> full_method_names(["fit", "--model", "dm", "--model.ipc=1"])
        ['fit', '--model', 'DMDistiller', '--model.ipc=1']
    """
    names = {short: method.__name__ for short, method in distillers_by_name().items()}
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
    with quiet_lightning():
        DistillCLI(
            Distiller,
            ArrayDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=False,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "lightning-distill", "exit_on_error": False, "fit": FIT},
            args=None if words == sys.argv[1:] else words,
        )
