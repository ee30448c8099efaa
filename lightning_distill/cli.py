"""``lightning-distill``: fit, validate and test of Lightning for any distiller, and the commands of this package."""

from __future__ import annotations

import ast
import os
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pkgutil import get_data

from lightning_distill._version import __version__
from lightning_distill.utils.errors import CLOSED_OUTPUT, INTERRUPTED, TERMINATED, NoGainError, UntrustedSetError

#: Commands of this package: each is a function in a module of its name, with ``_`` for ``-``.
COMMANDS = (
    "quickstart", "distill", "generate", "audit-data", "audit-set", "evaluate", "coreset", "relabel", "fidelity",
    "filter", "signals", "signals-merge", "signals-audit", "concat", "compare", "mix", "report", "indicator", "experts",
    "bench", "inspect", "export", "reader-study", "reader-study-score",
)  # fmt: skip
#: Commands of Lightning and their descriptions.
LIGHTNING_COMMANDS = {
    "fit": "Distil a set, or train a generator (--model flow): lightning-distill fit --config breastmnist_dm",
    "validate": "Train students on the set of a checkpoint and score them on the validation split.",
    "test": "Train students on the set of a checkpoint and score them on the test split.",
}
#: Option that receives the words before the first option; ``data`` takes a folder, an npz file or a MedMNIST name.
POSITIONAL = {
    **dict.fromkeys(("audit-data", "coreset", "distill", "experts", "indicator", "signals", "signals-audit"), "data"),
    "audit-set": "recipe", "concat": "sets", "compare": "files", "export": "synthetic_set", "fidelity": "sets",
    "filter": "synthetic_set", "generate": "ckpt", "inspect": "synthetic_set", "reader-study-score": "files",
    "report": "inputs", "signals-merge": "banks",
}  # fmt: skip


def main(args: Sequence[str] | None = None) -> None:
    """Run one command.

    Args:
        args: Words of the command line after the program's name. Default: ``sys.argv[1:]``.

    Raises:
        SystemExit: Exit status 1 for a damaged, unsigned or wrongly signed set in ``inspect``, 2 for a wrong command
            line or invalid input, 3 for ``--require_gain true`` and a set
            that does not beat its start, 130 after Ctrl-C and 143 after SIGTERM; each after one line on standard error.
            141, without a line, where the reader of a help text (``| head``) has closed standard output.
    """
    try:
        _dispatch(_join_command(list(sys.argv[1:] if args is None else args)))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed again at exit
        raise SystemExit(CLOSED_OUTPUT) from None


def _dispatch(argv: list[str]) -> None:
    """Print what is asked for, or run a command."""
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
    elif argv[0] in ("-V", "--version"):
        print(__version__)
    elif argv[0] in COMMANDS and {"-h", "--help"} & set(argv[1:]):
        from lightning_distill.commands._help import command_help

        print(command_help(argv[0], POSITIONAL.get(argv[0])))
    elif argv[0] == "fit" and {"-h", "--help"} & set(argv[1:]):
        from lightning_distill.commands._help import fit_help

        print(fit_help())
    else:
        _run(argv)


def _join_command(argv: list[str]) -> list[str]:
    """Return the words with a command of two words as one: ``reader-study score`` is ``reader-study-score``."""
    joined = "-".join(argv[:2])
    return [joined, *argv[2:]] if argv and argv[0] not in POSITIONAL and joined in COMMANDS else argv


def overview() -> str:
    """Return the list of commands, each with the first line of its docstring."""
    lines = {name: _summary(name) for name in COMMANDS} | LIGHTNING_COMMANDS
    width = max(map(len, lines))
    return "\n".join([
        f"lightning-distill {__version__}", "", *(f"  {name:<{width}} {text}" for name, text in lines.items()), "",
        "Each command has --help; fit --model.help DMDistiller and --data.help FolderDataModule list their options.",
    ])  # fmt: skip


def _summary(command: str) -> str:
    """Return the first docstring line of a command without importing its module."""
    name = command.replace("-", "_")
    source = get_data("lightning_distill.commands", f"{name}.py")
    functions = [node for node in ast.parse(source or b"").body if isinstance(node, ast.FunctionDef)]
    return next((ast.get_docstring(node) or "").partition("\n")[0] for node in functions if node.name == name)


def _run(argv: list[str]) -> None:
    from lightning_distill.commands._errors import format_parser_error
    from lightning_distill.commands._lightning_errors import explain_lightning_error

    try:
        if argv[0] not in (*COMMANDS, *LIGHTNING_COMMANDS) and not argv[0].startswith("-"):
            close = get_close_matches(argv[0], (*COMMANDS, *LIGHTNING_COMMANDS)) or ["lightning-distill --help"]
            raise ValueError(f"there is no command {argv[0]!r}; see {', '.join(close)}")
        if argv[0] in COMMANDS:
            from jsonargparse import auto_cli

            import lightning_distill.data  # noqa: F401  (classes can be given by name alone)
            from lightning_distill.commands._argv import normalize_argv
            from lightning_distill.commands._quiet import quiet_lightning

            name = argv[0].replace("-", "_")
            command = getattr(import_module(f"lightning_distill.commands.{name}"), name)
            words = normalize_argv(argv[1:], command, POSITIONAL.get(argv[0]))
            prog = f"lightning-distill {argv[0]}"
            with quiet_lightning():
                auto_cli(command, args=words, as_positional=False, prog=prog, exit_on_error=False)
        else:
            from lightning_distill.commands._lightning_cli import run_lightning

            run_lightning(argv)
    except UntrustedSetError as error:
        print(f"lightning-distill: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except (ArgumentError, ValueError, TypeError, OSError, FloatingPointError) as error:
        if os.environ.get("LIGHTNING_DISTILL_DEBUG"):
            raise
        print(f"lightning-distill: {format_parser_error(str(error), argv[0])}", file=sys.stderr)
        raise SystemExit(2) from error
    except NoGainError as error:
        print(f"lightning-distill: {error}", file=sys.stderr)
        raise SystemExit(3) from error
    except Exception as error:
        message = explain_lightning_error(error)
        if message is None or os.environ.get("LIGHTNING_DISTILL_DEBUG"):
            raise
        print(f"lightning-distill: {message}", file=sys.stderr)
        raise SystemExit(2) from error
    except (KeyboardInterrupt, SystemExit) as stop:
        status = _stop_status(stop)
        if status is None:
            raise
        print("lightning-distill: stopped", file=sys.stderr)
        raise SystemExit(status) from None


def _stop_status(stop: BaseException) -> int | None:
    """Return the exit status of a command that Ctrl-C or SIGTERM ended; ``None`` for another end.

    Lightning turns Ctrl-C into exit status 1, and SIGTERM into 0, which tells a shell that all went well.
    """
    if isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
        return INTERRUPTED
    return TERMINATED if type(stop).__name__ == "SIGTERMException" else None
