"""Which sub-package or module of `aesthetic_embeddings` imports which, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

Graph = dict[str, set[str]]


def imports(package: Path) -> Graph:
    """Sub-package or module -> those that it imports, at the top of a file or inside of a function."""
    graph: Graph = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        if parts[0] in ("__init__", "__main__"):
            continue
        found = graph.setdefault(parts[0], set())
        for module in _imported(file, parts):
            if module and module[0] != parts[0] and _exists(package / module[0]):
                found.add(module[0])
    return graph


def _imported(file: Path, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The relative imports of a file, each as a path below the package."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = parts[: len(parts) - node.level] + tuple((node.module or "").split(".")) * bool(node.module)
            yield from ((*base, name.name) for name in node.names) if not base else [base]


def _exists(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()


def floors(graph: Graph) -> list[list[str]]:
    """The parts from the ground up: each imports only parts on lower floors. Raises graphlib.CycleError for a cycle."""
    height: dict[str, int] = {}
    for part in TopologicalSorter(graph).static_order():
        height[part] = 1 + max((height[below] for below in graph.get(part, ())), default=0)
    return [sorted(part for part in height if height[part] == n) for n in range(1, max(height.values()) + 1)]


def without_shortcuts(graph: Graph) -> Graph:
    """The graph without arrows that a longer way replaces: what a picture needs."""
    return {
        part: {a for a in below if not any(a in _reachable(graph, b) for b in below if b != a)}
        for part, below in graph.items()
    }


def _reachable(graph: Graph, start: str) -> set[str]:
    found, todo = set[str](), list(graph.get(start, ()))
    while todo:
        part = todo.pop()
        if part not in found:
            found.add(part)
            todo += graph.get(part, ())
    return found


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart; an arrow points at what is imported."""
    lines = [f"    {part} --> {below}" for part, all_ in sorted(graph.items()) for below in sorted(all_)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"]) + "\n"
