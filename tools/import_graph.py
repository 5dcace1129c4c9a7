"""The import graph of the sub-packages and modules of `aesthetic_embeddings`, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

Graph = dict[str, set[str]]


def imports(package: Path) -> Graph:
    """Sub-package or module -> those that it imports, at the top of a file or inside a function."""
    graph: Graph = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        if parts[0] in ("__init__", "__main__"):
            continue
        imported = graph.setdefault(parts[0], set())
        for module in _imported(file, parts):
            if module and module[0] != parts[0] and _exists(package / module[0]):
                imported.add(module[0])
    return graph


def _imported(file: Path, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The relative imports of a file, each as a path below the package."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = parts[: len(parts) - node.level] + tuple((node.module or "").split(".")) * bool(node.module)
            yield from ((*base, name.name) for name in node.names) if not base else [base]


def _exists(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()


def levels(graph: Graph) -> list[list[str]]:
    """The parts by level: each imports only parts of lower levels. Raises graphlib.CycleError for a cycle."""
    height: dict[str, int] = {}
    for part in TopologicalSorter(graph).static_order():
        height[part] = 1 + max((height[target] for target in graph.get(part, ())), default=0)
    return [sorted(part for part in height if height[part] == level) for level in range(1, max(height.values()) + 1)]


def transitive_reduction(graph: Graph) -> Graph:
    """The graph without the edges that a longer path implies, for the picture in the docs."""
    return {
        part: {
            target
            for target in targets
            if not any(target in _reachable(graph, other) for other in targets if other != target)
        }
        for part, targets in graph.items()
    }


def _reachable(graph: Graph, start: str) -> set[str]:
    reachable, pending = set[str](), list(graph.get(start, ()))
    while pending:
        part = pending.pop()
        if part not in reachable:
            reachable.add(part)
            pending += graph.get(part, ())
    return reachable


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart. An arrow points at the imported part."""
    lines = [f"    {part} --> {target}" for part, targets in sorted(graph.items()) for target in sorted(targets)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"]) + "\n"
