"""Architecture rules: direction of imports, cost of importing the package, public names."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import lightning_distill

PACKAGE = ROOT / "lightning_distill"
FILES = sorted(PACKAGE.rglob("*.py"))
LIGHTNING = {"lightning", "lightning_utilities", "pytorch_lightning"}

#: Units of the package, lowest layer first. A unit imports from layers below its own, never from its own or above.
LAYERS = [
    {"_version", "_renamed"},
    {"spec", "utils", "augmentation", "networks", "objectives"},
    {"functional", "sets"},
    {"checkpoints", "data"},
    {"evaluation", "signals"},
    {"generators"},
    {"indicator", "visualization"},
    {"audit", "distillers", "reader_study", "report"},
    {"callbacks"},
    {"portfolio"},
    {"leakage"},
    {"bench"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
#: Units that must work without Lightning.
WITHOUT_LIGHTNING = set().union(*LAYERS[:3]) | {"indicator", "visualization"}


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports: at the top, inside functions, and for type checking."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_of(unit: str) -> int:
    return next(i for i, units in enumerate(LAYERS) if unit in units)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    unit = unit_of(path)
    if unit == "__init__":
        return
    own = {name.split(".")[1] for name in imports(path) if name.startswith("lightning_distill.")} - {unit}
    above = {other for other in own if layer_of(other) >= layer_of(unit)}
    assert not above, f"{unit} imports {above}, which is not below it"
    if unit in WITHOUT_LIGHTNING:
        assert not {name.split(".")[0] for name in imports(path)} & (LIGHTNING - {"lightning_utilities"})


def test_no_files_import_each_other_not_even_for_types():
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    del modules["lightning_distill"]

    def needs(path: Path) -> set[str]:
        lines = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = [f"{node.module}.{alias.name}" for node in lines for alias in node.names]
        return {name if name in modules else name.rpartition(".")[0] for name in names} & modules.keys()

    order = graphlib.TopologicalSorter({name: needs(path) for name, path in modules.items()})
    assert len(list(order.static_order())) == len(modules)  # else CycleError names the circle


def test_every_unit_has_one_layer():
    units = {unit_of(path) for path in FILES} - {"__init__"}
    assert units == set().union(*LAYERS)
    assert sum(map(len, LAYERS)) == len(units)


def test_importing_the_package_is_cheap_and_every_name_is_there():
    code = (
        "import sys, lightning_distill as d;"
        "heavy = {'torch', 'lightning', 'wandb', 'medmnist', 'timm', 'kornia'} & set(sys.modules);"
        "assert not heavy, heavy;"
        "names = [getattr(d, name) for name in d.__all__];"
        "assert 'medmnist' not in sys.modules, 'medmnist';"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_public_names_are_the_inventory():
    assert sorted(lightning_distill.__all__) == [
        "ArrayDataModule", "BalancedDataModule", "CombinedDataModule", "DCDistiller", "DMDistiller", "DSADistiller",
        "DataSpec", "DigitsDataModule", "DistillCheckpoint", "Distiller", "ExpertTrajectoryRecorder",
        "FlowGenerator", "FolderDataModule", "FunctionalNetwork", "GANGenerator", "Generator",
        "GeneratorProgress", "IDMDistiller", "KRRDistiller", "LoadedSet", "MNISTDataModule",
        "MTTDistiller",
        "MedMNIST3DDataModule", "MedMNISTDataModule", "NpzDataModule", "Predictions", "Protocol", "RealBatch",
        "SitesDataModule", "StudentEvaluation", "SyntheticImageLogger", "SyntheticSet", "SyntheticSetExport",
        "TeacherEnsemble", "__version__", "audit_set", "audit_signals", "check_distiller", "create_network",
        "distill", "evaluate", "export_set", "inspect_set", "list_distillers", "list_networks", "load_generator",
        "load_set", "load_teachers", "measure_fidelity", "paired_bootstrap", "relabel", "save_set", "save_teachers",
        "train_teachers",
    ]  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lightning_distill.nothing  # noqa: B018


def test_no_pickle_and_no_claims_of_privacy():
    for path in [*FILES, ROOT / "README.md"]:
        text = path.read_text()
        assert "import pickle" not in text, path
        assert "allow_pickle=True" not in text, path
        assert "weights_only=False" not in text, path
        if path.name != "test_architecture.py":
            lowered = text.lower()
            for claim in ("privacy-preserving", "anonymous", "anonymis", "is private"):
                assert claim not in lowered, f"{path}: {claim}"
