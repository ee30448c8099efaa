"""``fit``, ``validate`` and ``test`` of Lightning, with the checks and options of a distillation."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lightning_distill.callbacks import SyntheticSetExport
from lightning_distill.callbacks.monitors import check_monitors
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import Distiller
from lightning_distill.signals import SignalsDataModule as SignalsDataModule  # can be given by name alone
from lightning_distill.utils.checkpoint_file import verify_file

#: Commands that this module runs.
COMMANDS = ("fit", "validate", "test")


class DistillCLI(LightningCLI):
    """LightningCLI of any `Distiller` on any `ArrayDataModule`."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the commands and the arguments of the Trainer's methods that they leave out."""
        return {name: skipped for name, skipped in LightningCLI.subcommands().items() if name in COMMANDS}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that no class has."""
        parser.add_argument(
            "--require_gain",
            type=bool,
            default=False,
            help="Whether fit ends with exit status 3 where the exported set does not beat its start.",
        )
        parser.add_argument(
            "--resume_with_changes",
            type=bool,
            default=False,
            help="Whether fit goes on from a checkpoint of another seed, rate, network or other data; the card "
            "then lists what changed.",
        )

    def _parse_ckpt_path(self) -> None:
        """Keep the given options in fit: Lightning 2.6 replaces them by the checkpoint's without a word.

        The distiller compares them with the checkpoint. ``validate`` and ``test`` take those of the checkpoint.
        """
        subcommand = self.config["subcommand"]
        if subcommand != "fit":
            verify_file(self.config[subcommand].ckpt_path or "")
            super()._parse_ckpt_path()

    def before_instantiate_classes(self) -> None:
        """Refuse options that do not belong to the command."""
        for name in ("require_gain", "resume_with_changes"):
            if self.config[self.subcommand][name] and self.subcommand != "fit":
                raise ValueError(f"--{name} is an option of fit, not of {self.subcommand}; leave it out")
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
            raise ValueError(
                "--require_gain needs the callback that compares the set with its start: "
                "--trainer.callbacks+=SyntheticSetExport --trainer.callbacks.dirpath=FOLDER"
            )
        for export in exports:
            export.require_gain = True


def run_lightning(argv: list[str]) -> None:
    """Run a command of Lightning.

    Args:
        argv: Words of the command line, the command first.
    """
    for method in entry_points(group="lightning_distill.distillers"):
        method.load()  # methods of other packages can then be given by name alone
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
