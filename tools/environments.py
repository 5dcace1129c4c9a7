"""Virtual environments for the commands at the repository's root. Uses only the standard library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"  # the release that checks use; others work too, see pyproject.toml


def environment(
    name: str, requirements: Sequence[str], python: str = sys.executable, without_dependencies: Sequence[str] = ()
) -> str:
    """The Python of the virtual environment `.venv-<name>`, created on first use or when the requirements change.

    without_dependencies: packages to install without their dependencies.
    """
    folder = ROOT / f".venv-{name}"
    executable = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    package = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.")[0]
    package = package if "--editable" in requirements else ""  # the package's own requirements are in pyproject.toml
    marker, expected = folder / "requirements.txt", "\n".join([python, *requirements, *without_dependencies, package])
    if not (marker.is_file() and marker.read_text(encoding="utf-8") == expected):
        print(f"setting up {folder.name} (once): {', '.join(requirements)}", flush=True)
        if python == sys.executable:
            venv.create(folder, clear=True, with_pip=True)
        else:
            run(python, "-m", "venv", "--clear", folder)
        install = (executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*install, *requirements)
        if without_dependencies:
            run(*install, "--no-deps", *without_dependencies)
        marker.write_text(expected, encoding="utf-8")
    return str(executable)


def run(*command: object, **environment: str) -> None:
    """Run a command in the repository's root, with extra environment variables. Exits if it fails."""
    process = subprocess.run([str(part) for part in command], cwd=ROOT, env={**os.environ, **environment})
    if process.returncode:
        sys.exit(process.returncode)


def find_python(*versions: str) -> str | None:
    """The first of these Python versions, such as "3.11", that is on this machine."""
    for version in versions:
        if sys.version.startswith(version + "."):
            return sys.executable
        path = shutil.which(f"python{version}")
        unusable = (
            path is None or subprocess.run([path, "-c", ""], capture_output=True).returncode
        )  # a version manager's stub
        if not unusable:
            return path
    return None
