"""Generates the parts of the docs that come from the code: `python -m tools.docs`. tests/test_docs.py checks them.

docs/api.md             the public names, from their signatures and docstrings
docs/command-line.md    every command's help, from click
docs/architecture.md    the graph of the packages, from their imports
README.md               the tables of commands and settings, between `<!-- NAME: ... -->` and `<!-- end -->`
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import click
import griffe

from aesthetic_embeddings import Settings
from aesthetic_embeddings.cli import main as command_line

from . import import_graph
from .environments import ROOT

PACKAGE = "aesthetic_embeddings"
#: Sub-package or module -> the heading of its public names.
SECTIONS = {
    "aesthetics": "Aesthetics",
    "settings": "Settings",
    "text_encoder": "Text encoders",
    "diffusion": "Diffusers pipelines",
    "evaluation": "Evaluation",
    "errors": "Errors",
}


def pages() -> dict[Path, str]:
    """The expected text of every generated page."""
    docs = ROOT / "docs"
    rooms = import_graph.mermaid(import_graph.transitive_reduction(import_graph.imports(ROOT / PACKAGE)))
    return {
        ROOT / "README.md": _with_parts(ROOT / "README.md", commands=commands_table(), settings=settings_table()),
        docs / "api.md": api_page(),
        docs / "command-line.md": command_line_page(),
        docs / "architecture.md": _with_parts(docs / "architecture.md", rooms=rooms),
    }


def _with_parts(page: Path, **parts: str) -> str:
    """A page with new text between its markers `<!-- NAME: ... -->` and `<!-- end -->`."""
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        pattern = re.compile(rf"(<!-- {name}: .*?-->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda match, part=part: match[1] + part + match[2], text)  # type: ignore[misc]
        assert count == 1, f"{page} has {count} places for {name}"
    return text


# ---- tables of the README -------------------------------------------------------------------------------------------


def settings_table() -> str:
    rows = ["| setting | default | range | |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(Settings):
        info, default = field.metadata, field.default
        values = ", ".join(info["choices"] or ())
        if info["low"] is not None:
            values = f"{info['low']:g} to {info['high']:g}"
        default_text = f"{default:g}" if isinstance(default, float) else str(default).lower()
        rows.append(f"| `{field.name}` | {default_text} | {values} | {info['help']} |")
    return "\n".join(rows) + "\n"


def commands_table() -> str:
    rows = ["| command | what it does |", "| --- | --- |"]
    for name, command in command_line.commands.items():
        arguments = [
            parameter.make_metavar(_context(name, command))
            for parameter in command.params
            if isinstance(parameter, click.Argument)
        ]
        rows.append(f"| `{' '.join([name, *arguments])}` | {_summary(command)} |")
    return "\n".join(rows) + "\n"


def _summary(command: click.Command) -> str:
    """The first paragraph of a command's help."""
    return " ".join((command.help or "").split("\n\n")[0].split())


# ---- docs/command-line.md -------------------------------------------------------------------------------------------


def command_line_page() -> str:
    parts = ["# Command line\n\nWritten by `python -m tools.docs` from the commands themselves.\n"]
    for name, command in (("", command_line), *command_line.commands.items()):
        parts.append(f"## aesthetic-gradients {name}".rstrip() + "\n")
        parts.append(f"```\n{command.get_help(_context(name, command)).rstrip()}\n```\n")
    return "\n".join(parts)


def _context(name: str, command: click.Command) -> click.Context:
    root = click.Context(
        command_line, info_name="aesthetic-gradients", terminal_width=100, **command_line.context_settings
    )
    return click.Context(command, parent=root, info_name=name, terminal_width=100) if name else root


# ---- docs/api.md ----------------------------------------------------------------------------------------------------


def public_objects() -> list[griffe.Object]:
    """The objects in `aesthetic_embeddings.__all__`, without the version."""
    package = griffe.load(PACKAGE, search_paths=[ROOT], docstring_parser="google")
    members = [package[str(name)] for name in package.exports or () if not str(name).startswith("__")]
    return [member.final_target if isinstance(member, griffe.Alias) else member for member in members]


def api_page() -> str:
    """The public names by section. Members of classes without a docstring are left out."""
    by_section: dict[str, list[griffe.Object]] = {section: [] for section in SECTIONS}
    for target in public_objects():
        by_section[target.canonical_path.split(".")[1]].append(target)
    parts = [
        "# Python API\n\nWritten by `python -m tools.docs` from the docstrings. `import aesthetic_embeddings as ae`\n"
    ]
    for section, title in SECTIONS.items():
        parts.append(f"## {title}\n")
        for target in by_section[section]:
            parts += _object_lines(target, f"ae.{target.name}", "###")
    return "\n".join(parts)


def undocumented(function: griffe.Function) -> list[str]:
    """The parameters that a function's docstring does not describe. "As `other`" refers to another docstring."""
    if function.docstring and function.docstring.value.startswith("As `"):
        return []
    sections = function.docstring.parsed if function.docstring else []
    parameters = [section.value for section in sections if section.kind is griffe.DocstringSectionKind.parameters]
    described = {item.name for items in parameters for item in items}
    return [parameter.name for parameter in function.parameters if parameter.name not in described]


def _object_lines(target: griffe.Object, path: str, heading: str) -> Iterator[str]:
    yield f"{heading} {path}\n"
    if isinstance(target, griffe.Function):
        yield f"```python\n{_signature(target, path)}\n```\n"
    elif isinstance(target, griffe.Class):
        if "dataclass" in target.labels:
            fields = [
                attribute
                for attribute in target.attributes.values()
                if "property" not in attribute.labels and attribute.annotation is not None
            ]
            lines = [
                f"    {attribute.name}: {attribute.annotation}{f' = {attribute.value}' if _is_short(attribute) else ''}"
                for attribute in fields
            ]
            yield "\n".join(["```python", f"class {target.name}:", *lines, "```\n"])
        elif isinstance(init := target.members.get("__init__"), griffe.Function):
            yield f"```python\n{_signature(init, path)}\n```\n"
    elif isinstance(target, griffe.Attribute):
        yield f"```python\n{target.name}: {target.annotation}\n```\n"
    yield from _docstring(target)
    if isinstance(target, griffe.Class):
        for member in target.members.values():
            if isinstance(member, griffe.Object) and member.is_public and member.docstring:
                yield from _object_lines(member, f"{target.name}.{member.name}", heading + "#")


def _is_short(attribute: griffe.Attribute) -> bool:
    """Whether a field's default is worth showing, rather than a call that creates it."""
    value = str(attribute.value) if attribute.value is not None else ""
    return bool(value) and not value.startswith(("_setting(", "field("))


def _signature(function: griffe.Function, path: str) -> str:
    lines, seen_keyword_only = [], False
    for parameter in function.parameters:
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and not seen_keyword_only:
            seen_keyword_only = True
            lines.append("*")
        stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(
            parameter.kind, ""
        )
        default = f" = {parameter.default}" if parameter.default is not None and not stars else ""
        lines.append(
            f"{stars}{parameter.name}"
            + (f": {parameter.annotation}" if parameter.annotation is not None else "")
            + default
        )
    returns = f" -> {function.returns}" if function.returns is not None else ""
    signature = f"{path}({', '.join(lines)}){returns}"
    return (
        signature
        if len(signature) <= 100
        else "\n".join([f"{path}(", *(f"    {line}," for line in lines), f"){returns}"])
    )


def _docstring(target: griffe.Object) -> Iterator[str]:
    for section in target.docstring.parsed if target.docstring else ():
        if section.kind is griffe.DocstringSectionKind.text:
            yield section.value + "\n"
        elif section.kind is griffe.DocstringSectionKind.examples:
            yield (
                "\n".join(
                    text if kind is griffe.DocstringSectionKind.text else f"```python\n{text}\n```"
                    for kind, text in section.value
                )
                + "\n"
            )
        elif section.kind is griffe.DocstringSectionKind.admonition:
            raise ValueError(f"{target.path}: {section.title!r} reads as a section: write Args: above it")
        else:
            yield f"**{section.kind.value.title()}**\n"
            yield "\n".join(_item(item) for item in section.value) + "\n"


def _item(item: griffe.DocstringNamedElement | griffe.DocstringElement) -> str:
    name = getattr(item, "name", "") or (str(item.annotation) if isinstance(item, griffe.DocstringRaise) else "")
    text = " ".join(item.description.split())
    return f"- `{name}`: {text}" if name else f"- {text}"


def main() -> None:
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
