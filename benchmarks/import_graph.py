"""Print units, edges, and edges against the import order of a package's import graph.

    python benchmarks/import_graph.py lightning_distill
    python benchmarks/import_graph.py lightning_distill --edges

A unit is a module or a sub-package directly below a folder. An edge from A to B exists if any file of A imports
anything of B, lazily or for type checking too. An edge runs back if it must be removed to order the units such that
each unit imports earlier units only; the smallest number of such edges is printed.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

Edges = set[tuple[str, str]]
#: Largest circle of units for which every order is tried.
MAX_EXACT = 8


def imported_names(path: Path, package: str) -> Iterator[str]:
    """Yield dotted names below the package that a file imports, at any depth of its code.

    Args:
        path: Python file to read.
        package: Name of the top-level package.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix(package + ".") for name in names if name.startswith(package + "."))


def graph(source: Path, folder: str = "") -> tuple[set[str], Edges]:
    """Return the units directly below a folder of a package and the edges between them.

    Args:
        source: Folder of the top-level package.
        folder: Sub-package to look into, such as ``data``; empty for the whole package.
    """
    root = source / folder
    units = {path.stem for path in root.glob("*.py")} | {path.parent.name for path in root.glob("*/__init__.py")}
    prefix = folder.replace("/", ".") + "." if folder else ""
    edges: Edges = set()
    for path in root.rglob("*.py"):
        unit = path.relative_to(root).parts[0].removesuffix(".py")
        for name in imported_names(path, source.name):
            if name.startswith(prefix):
                target = name.removeprefix(prefix).split(".")[0]
                edges.add((unit, target if target in units else "__init__"))
    if folder:  # the package's own exports are no unit
        units.discard("__init__")
    return units, {(a, b) for a, b in edges if a != b and {a, b} <= units}


def circles(units: set[str], edges: Edges) -> list[set[str]]:
    """Return the sets of units that import each other, directly or through others."""
    reach = {unit: {b for a, b in edges if a == unit} for unit in units}
    for middle in units:
        for unit in units:
            if middle in reach[unit]:
                reach[unit] |= reach[middle]
    groups: list[set[str]] = []
    for unit in sorted(units):
        group = {other for other in reach[unit] if unit in reach[other]}
        if len(group) > 1 and group not in groups:
            groups.append(group)
    return groups


def back_edges(units: set[str], edges: Edges) -> Edges:
    """Return a smallest set of edges whose removal leaves no circle (for large circles: a small set)."""
    back: Edges = set()
    for group in circles(units, edges):
        inside = {(a, b) for a, b in edges if {a, b} <= group}
        if len(group) <= MAX_EXACT:
            orders: Iterator[tuple[str, ...]] = permutations(sorted(group))
        else:
            orders = iter([greedy_order(group, inside)])
        back |= min(({(a, b) for a, b in inside if order.index(a) < order.index(b)} for order in orders), key=len)
    return back


def greedy_order(units: set[str], edges: Edges) -> tuple[str, ...]:
    """Order units from the most imported to the most importing one (heuristic of Eades, Lin and Smyth)."""
    first: list[str] = []
    last: list[str] = []
    left = set(units)
    while left:
        known = {(a, b) for a, b in edges if {a, b} <= left}
        imports = {unit: sum(a == unit for a, _ in known) for unit in left}
        imported = {unit: sum(b == unit for _, b in known) for unit in left}
        if bottom := sorted(unit for unit in left if not imports[unit]):
            first.append(bottom[0])
            left.remove(bottom[0])
        elif top := sorted(unit for unit in left if not imported[unit]):
            last.insert(0, top[0])
            left.remove(top[0])
        else:
            unit = max(sorted(left), key=lambda unit: imported[unit] - imports[unit])
            first.append(unit)
            left.remove(unit)
    return (*first, *last)


def main(args: list[str] | None = None) -> None:
    """Print one line for the package and one for each sub-package with more than two units."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the package, for example lightning_distill")
    parser.add_argument("--edges", action="store_true", help="print the edges between the units of the root too")
    options = parser.parse_args(args)
    source = options.source.resolve()
    folders = ["", *sorted(path.parent.name for path in source.glob("*/__init__.py"))]
    print("| package | units | edges | edges that run back |\n| --- | --- | --- | --- |")
    for folder in folders:
        units, edges = graph(source, folder)
        if not folder or len(units) > 2:
            back = back_edges(units, edges)
            names = ", ".join(f"{a} -> {b}" for a, b in sorted(back))
            print(
                f"| {folder or source.name} | {len(units)} | {len(edges)} | {len(back)}{f' ({names})' * bool(back)} |"
            )
    if options.edges:
        units, edges = graph(source)
        for unit in sorted(units):
            print(f"{unit}: {', '.join(sorted(b for a, b in edges if a == unit)) or '-'}")


if __name__ == "__main__":
    main()
