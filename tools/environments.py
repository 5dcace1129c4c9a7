"""Virtual environments for the commands at the repository's root; only the standard library is there to make them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"  # one release for everybody; other versions work, see pyproject.toml


def environment(name: str, requirements: Sequence[str], python: str = sys.executable, alone: Sequence[str] = ()) -> str:
    """The Python of the virtual environment `.venv-<name>`, made on first use, and anew when the requirements change.

    alone: what to install without its dependencies.
    """
    folder = ROOT / f".venv-{name}"
    executable = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    package = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.")[0]
    package = package if "--editable" in requirements else ""  # whose own requirements stand there
    done, wanted = folder / "requirements.txt", "\n".join([python, *requirements, *alone, package])
    if not (done.is_file() and done.read_text(encoding="utf-8") == wanted):
        print(f"setting up {folder.name} (once): {', '.join(requirements)}", flush=True)
        if python == sys.executable:
            venv.create(folder, clear=True, with_pip=True)
        else:
            run(python, "-m", "venv", "--clear", folder)
        install = (executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*install, *requirements)
        if alone:
            run(*install, "--no-deps", *alone)
        done.write_text(wanted, encoding="utf-8")
    return str(executable)


def run(*command: object, **environment: str) -> None:
    """Run a command in the repository's root, with more environment variables; its failure is ours."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env={**os.environ, **environment})
    if done.returncode:
        sys.exit(done.returncode)


def find_python(*versions: str) -> str | None:
    """The first of these Python versions, such as "3.11", that is on this machine."""
    for version in versions:
        if sys.version.startswith(version + "."):
            return sys.executable
        found = shutil.which(f"python{version}")
        stub = found is None or subprocess.run([found, "-c", ""], capture_output=True).returncode  # of version managers
        if not stub:
            return found
    return None
