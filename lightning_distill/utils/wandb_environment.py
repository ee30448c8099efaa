"""Settings of W&B that keep the machine out of its runs."""

from __future__ import annotations

import os

#: Environment variables of wandb: no host name, user, command line, folders, git state or captured output.
WANDB_ENVIRONMENT = {
    "WANDB_HOST": "machine",
    "WANDB_X_DISABLE_META": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_CONSOLE": "off",
}


def keep_machine_out_of_wandb() -> None:
    """Set `WANDB_ENVIRONMENT` for this process and those it starts; variables that the user set are kept."""
    for name, value in WANDB_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
