"""``COMMAND --help``, read from the source of a command: neither torch nor Lightning is imported for it."""

from __future__ import annotations

import ast
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docstring_parser import parse

from lightning_distill.utils.command_line import SHELL_NAMES

#: Library function that receives the ``**options`` of a command: its module and name, by the name of the command.
FORWARDED = {
    "audit_set": ("leakage.audit", "audit_set"),
    "distill": ("portfolio.distill", "distill"),
    "evaluate": ("evaluation.evaluate", "evaluate"),
    "fidelity": ("evaluation.fidelity.measure", "measure_fidelity"),
    "experts": ("distillers.mtt.train_experts", "train_experts"),
    "indicator": ("indicator.predict", "predict_accuracies"),
    "signals_audit": ("leakage.signal_audit", "audit_signals"),
    "mix": ("evaluation.mixing.measure", "measure_mixtures"),
}
#: Folder of the package.
PACKAGE = Path(__file__).parent.parent
#: Annotation of parameters that take a class and its arguments.
DATA_MODULE = "ArrayDataModule"
#: Usage and description of ``fit``, before Lightning's 200 options.
FIT = {
    "usage": "lightning-distill fit [--config FILE.yaml] --model METHOD --data DATA [options]",
    "description": "Distil a synthetic set, train students on it, and write set, scores and checkpoints to one folder. "
    "The options that matter: --model dm (--model.help DMDistiller lists its arguments), --model.ipc 10, "
    "--data FolderDataModule (--data.help FolderDataModule), --trainer.max_steps 300, --out runs/NAME, --students 3, "
    "--protocol quick. --config FILE.yaml holds any of them. --model flow or gan trains a generator in place of a set.",
}
#: Options of this package that ``fit`` has beside those of Lightning, with their descriptions.
FIT_OPTIONS = {
    "out": "Folder of the set, the checkpoints and the logs of fit; default: that of the configuration, "
    "else runs/DATA_METHOD.",
    "no_export": "Write no set.",
    "students": "Number of students that each validation trains; default: 3.",
    "protocol": "Training protocol of the students: reference, quick or tiny; default: quick.",
    "require_gain": "Whether fit ends with exit status 3 where the exported set does not beat its start.",
    "resume_with_changes": "Whether fit goes on from a checkpoint of another seed, rate, network or other data; the "
    "card then lists what changed.",
}


@dataclass(frozen=True)
class Option:
    """Option of a command.

    Args:
        name: Name of the parameter.
        annotation: Type of the parameter, as written.
        default: Default value as written; ``None`` if the option is required.
        description: Description of the parameter.
    """

    name: str
    annotation: str
    default: str | None
    description: str

    @property
    def help(self) -> str:
        """Text of ``--help``."""
        default = "required" if self.default is None else f"default: {self.default.replace('None', 'null')}"
        kind = self.annotation.replace("None", "null")
        return f"{self.description} (type: {kind}, {default})".replace("%", "%%").replace("``", "")


def command_help(command: str, first: str | None = None) -> str:
    """Return the help of a command.

    Args:
        command: Name of the command, such as ``audit-data``.
        first: Name of the option that receives the words before the first option.
    """
    name = command.replace("-", "_")
    options = list(options_of(name))
    text = parse(ast.get_docstring(Source(f"commands.{name}").function(name)) or "")
    about = "\n\n".join(filter(None, (text.short_description, text.long_description))).replace("``", "")
    if any(DATA_MODULE in option.annotation for option in options):
        about += "\n\nA data module is given by its class and arguments: --data FolderDataModule --data.root scans.\n"
        about += f"lightning-distill {command} --data.help FolderDataModule lists the arguments of a class."
    parser = ArgumentParser(
        f"lightning-distill {command}",
        usage=f"lightning-distill {command} {f'[{first.upper()}] ' if first else ''}[options]",
        description=about,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of these options")
    for option in options:
        shell = SHELL_NAMES.get(option.name, option.name)
        if shell != "config":
            metavar = "CLASS" if DATA_MODULE in option.annotation else shell.upper()
            parser.add_argument(f"--{shell}", metavar=metavar, help=option.help)
    return parser.format_help()


def fit_help() -> str:
    """Return the help of ``fit``: the options that matter. ``fit --help_all`` lists those of Lightning too."""
    parser = ArgumentParser("lightning-distill fit", usage=FIT["usage"], description=FIT["description"])
    parser.add_argument("--help_all", action="store_true", help="list the options of Lightning's Trainer too")
    parser.add_argument("--config", metavar="FILE", help="YAML file with any options, or the name of a packaged one")
    parser.add_argument("--ckpt_path", metavar="FILE", help="Checkpoint to go on from.")
    for name, description in FIT_OPTIONS.items():
        parser.add_argument(f"--{name}", help=description, metavar="" if name == "no_export" else name.upper())
    return parser.format_help()


def options_of(name: str) -> Iterator[Option]:
    """Yield the options of a command, and of the library function that it hands further options to.

    Args:
        name: Name of the command's function.
    """
    command = Source(f"commands.{name}")
    yield from command.options(name)
    if name in FORWARDED:
        module, forwarded = FORWARDED[name]
        library = Source(module)
        given = _given_by(command.function(name), library.function(forwarded))
        yield from (option for option in library.options(forwarded) if option.name not in given)


class Source:
    """Syntax tree of a module of this package, which is not imported.

    Args:
        module: Name of the module without ``lightning_distill.``.
    """

    def __init__(self, module: str) -> None:
        path = PACKAGE.joinpath(*module.split("."))
        source = path / "__init__.py" if path.is_dir() else path.parent / f"{path.name}.py"
        self.tree = ast.parse(source.read_text(encoding="utf-8"))

    def function(self, name: str) -> ast.FunctionDef:
        """Return a function of the module."""
        functions = (node for node in self.tree.body if isinstance(node, ast.FunctionDef))
        return next(node for node in functions if node.name == name)

    def options(self, name: str) -> Iterator[Option]:
        """Yield the parameters of a function, without ``**options``."""
        function = self.function(name)
        descriptions = {entry.arg_name: entry.description for entry in parse(ast.get_docstring(function) or "").params}
        arguments = function.args
        defaults: list[ast.expr | None] = [None] * (len(arguments.args) - len(arguments.defaults))
        pairs = [
            *zip(arguments.args, [*defaults, *arguments.defaults], strict=True),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        for argument, default in pairs:
            annotation = "Any" if argument.annotation is None else ast.unparse(argument.annotation)
            yield Option(
                argument.arg,
                self.literal(annotation) or annotation,
                None if default is None else ast.unparse(default),
                " ".join((descriptions.get(argument.arg) or "").split()),
            )

    def literal(self, name: str) -> str | None:
        """Return the values ``a|b`` of a type that is a ``Literal``, here or where it is imported from."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                values = ast.unparse(node.value)
                return "|".join(map(str, ast.literal_eval(values[7:]))) if values.startswith("Literal[") else None
            if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
                package, _, module = str(node.module).partition(".")
                return Source(module).literal(name) if package == "lightning_distill" and module else None
        return None


def _given_by(command: ast.FunctionDef, library: ast.FunctionDef) -> set[str]:
    """Return the parameters of a library function that its command sets: in the call that hands ``**options`` on."""
    calls = (node for node in ast.walk(command) if isinstance(node, ast.Call))
    call = next(call for call in calls if any(word.arg is None for word in call.keywords))
    by_place = [argument.arg for argument in library.args.args[: len(call.args)]]
    return {*by_place, *(word.arg for word in call.keywords if word.arg is not None)}
