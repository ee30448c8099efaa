"""The house rules, as tests: which way imports go, how long a file may be, what importing costs."""

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

#: What each layer may import of the package itself; the lowest come first.
LAYERS = {
    "lowest": {"_renamed", "_version", "augmentation", "functional", "networks", "objectives", "spec", "utils"},
    "middle": {"sets", "evaluation", "indicator", "visualization"},
    "upper": {"audit", "distillers", "callbacks", "data", "report"},
    "top": {"bench", "commands", "cli", "__main__"},
}  # fmt: skip
ORDER = list(LAYERS)


def imports(path: Path) -> set[str]:
    """Full names of modules imported at the top level of a file, not below ``TYPE_CHECKING``."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_of(part: str) -> int:
    return next(i for i, name in enumerate(ORDER) if part in LAYERS[name])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    part = part_of(path)
    if part == "__init__":
        return
    own = {name.split(".")[1] for name in imports(path) if name.startswith("lightning_distill.")}
    own -= {"__version__"}
    above = {other for other in own if other != part and layer_of(other) > layer_of(part)}
    assert not above, f"{part} imports {above} of a higher layer"
    roots = {name.split(".")[0] for name in imports(path)}
    if part in LAYERS["lowest"]:
        foreign = roots - set(sys.stdlib_module_names) - {"torch", "kornia", "lightning_distill"}
        assert not foreign, f"{part} imports {foreign}; the lowest layer knows torch and kornia only"
    if part in LAYERS["middle"]:
        assert not roots & (LIGHTNING - {"lightning_utilities"}), f"{part} imports Lightning"


def test_no_files_import_each_other_not_even_for_types():
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    del modules["lightning_distill"]  # the version is asked of it everywhere

    def needs(path: Path) -> set[str]:
        lines = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = [f"{node.module}.{alias.name}" for node in lines for alias in node.names]
        return {name if name in modules else name.rpartition(".")[0] for name in names} & modules.keys()

    order = graphlib.TopologicalSorter({name: needs(path) for name, path in modules.items()})
    assert len(list(order.static_order())) == len(modules)  # else CycleError names the circle


def test_every_part_has_a_layer():
    parts = {part_of(path) for path in FILES} - {"__init__"}
    assert parts == set().union(*LAYERS.values())


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
        "DataSpec", "DigitsDataModule", "Distiller", "ExpertTrajectoryRecorder", "FolderDataModule",
        "FunctionalNetwork", "MNISTDataModule", "MTTDistiller", "MedMNIST3DDataModule", "MedMNISTDataModule",
        "NpzDataModule", "Predictions", "Protocol", "RealBatch", "SitesDataModule", "StudentEvaluation",
        "SyntheticImageLogger", "SyntheticSet", "SyntheticSetExport", "__version__", "create_network", "evaluate",
        "list_networks", "load_set", "paired_bootstrap", "save_set",
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
