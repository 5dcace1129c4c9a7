"""The docs say what the code says, and what they link to is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import aesthetic_embeddings as ae

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


@pytest.mark.parametrize("name", ["README.md", "docs/api.md", "docs/architecture.md", "docs/command-line.md"])
def test_generated_pages_are_current(name):
    pytest.importorskip("griffe")
    from tools import docs

    path = ROOT / name
    assert path.read_text(encoding="utf-8") == docs.pages()[path], "run `python -m tools.docs`"


def test_public_functions_describe_every_parameter():
    griffe = pytest.importorskip("griffe")
    from tools import docs

    functions = [target for target in docs.public_objects() if isinstance(target, griffe.Function)]
    assert len(functions) > 8
    assert {f.name: missing for f in functions if (missing := docs.undocumented(f))} == {}


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    pytest.importorskip("diffusers")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["image"].size == (128, 128)
    assert len(names["run"].similarities) == ae.Settings().steps + 1


def test_on_pypi_every_link_of_the_readme_is_whole():
    pytest.importorskip("setuptools")
    whole = runpy.run_path(str(ROOT / "setup.py"))["with_whole_addresses"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = whole(readme, "https://github.com/one/two")
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", text)
    assert len(links) == len(re.findall(r"\]\(", readme)) > 20
    for mark, link in links:
        assert link.startswith("https://raw.githubusercontent.com/one/two/main/docs/" if mark else ("https://", "#"))
    assert "(https://github.com/one/two/blob/main/docs/pocket.md#what-to-make-of-it)" in text


def test_every_file_that_the_architecture_names_exists():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w./-]+\.(?:py|toml|md|js|json|css|html|txt)|[\w./-]+/)`", text)
    assert len(named) > 30
    places = (ROOT, ROOT / "aesthetic_embeddings")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_every_promise_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text(encoding="utf-8")))
    files = (file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/test_*.py"))
    assert len(named) > 30
    assert named - {name for text in files for name in re.findall(r"def (test_\w+)", text)} == set()


def test_the_version_is_the_same_everywhere():
    assert f"## [{ae.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^version: {ae.__version__}$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_linter_is_the_same_everywhere():
    pinned = re.search(r'"ruff==([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pinned
    assert f"rev: v{pinned[1]}\n" in (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
