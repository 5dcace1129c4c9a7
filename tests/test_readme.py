"""The README says what the code says. `python -m tests.test_readme` writes the table of settings anew."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from aesthetic_embeddings import Settings

README = Path(__file__).parent.parent / "README.md"
BETWEEN = re.compile(r"(<!-- settings: .*?-->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table() -> str:
    rows = ["| setting | default | range | |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(Settings):
        about, default = field.metadata, field.default
        span = ", ".join(about["choices"] or ())
        if about["low"] is not None:
            span = f"{about['low']:g} to {about['high']:g}"
        shown = f"{default:g}" if isinstance(default, float) else str(default).lower()
        rows.append(f"| `{field.name}` | {shown} | {span} | {about['help']} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_settings_is_current():
    found = BETWEEN.search(README.read_text(encoding="utf-8"))
    assert found
    assert found[2] == table(), "run `python -m tests.test_readme`"


def test_everything_it_links_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(BETWEEN.sub(lambda found: found[1] + table() + found[3], text), encoding="utf-8")
