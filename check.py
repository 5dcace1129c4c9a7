#!/usr/bin/env python3
"""Every check there is: `python check.py`, or `python check.py --fast` for the current releases alone.

Sets up its own environments in this folder on first use; `main` below is the whole list.
"""

import sys

from tools.environments import ROOT, TORCH, environment, find_python, run

#: What AUTOMATIC1111 v1.10.1 pins: the oldest that anything of ours runs with.
A1111 = ["torch==2.1.2", "transformers==4.30.2", "numpy==1.26.2", "safetensors==0.4.2", "Pillow==9.5.0"]
OPEN_CLIP = "open_clip_torch==2.20.0"  # its text tower alone: the rest wants torchvision
TESTS = ["pytest>=8", "pytest-xdist", "hypothesis"]
PARALLEL = ["-n", "2"]


def main() -> None:
    python = environment("check", [TORCH, "--editable", f"{ROOT}[dev]"], alone=["open_clip_torch==3.3.0"])

    print("== lint", flush=True)
    run(python, "-m", "ruff", "check", ".")
    run(python, "-m", "ruff", "format", "--check", ".")

    print("== types of the core", flush=True)
    run(python, "-m", "mypy")

    print("== tests, current releases", flush=True)
    run(python, "-m", "pytest", *PARALLEL)

    if "--fast" in sys.argv:
        return
    print("== tests of the core, with what AUTOMATIC1111 pins", flush=True)
    old = find_python("3.10", "3.11")
    if old is None:
        sys.exit("Python 3.10 or 3.11 is needed for this: torch 2.1.2 has no build for others. --fast leaves it out.")
    run(environment("a1111", [*A1111, *TESTS], old, alone=[OPEN_CLIP]), "-m", "pytest", *PARALLEL, "tests/core")


if __name__ == "__main__":
    main()
