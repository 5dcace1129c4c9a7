#!/usr/bin/env python3
"""Every check there is: `python check.py`, or `python check.py --fast` for the current releases alone.

Sets up its own environments in this folder on first use; `main` below is the whole list.
"""

import argparse
import sys

from tools.environments import ROOT, TORCH, environment, find_python, run

#: What the hosts pin, as far as we touch it. AUTOMATIC1111's are the oldest that anything of ours runs with.
#: Forge's torch, 2.3.1, lies between that and ours, and would bring another 4 GB of CUDA libraries.
BOTH = ["numpy==1.26.2", "safetensors==0.4.2", "Pillow==9.5.0", "httpx==0.24.1", "httpcore==0.15"]
HOSTS = {
    "a1111": ["torch==2.1.2", "transformers==4.30.2", "gradio==3.41.2", "fastapi==0.94.0", "pydantic<2", *BOTH],
    "forge": [
        TORCH,
        "transformers==4.46.1",
        "gradio==4.40.0",
        "fastapi==0.104.1",
        "pydantic==2.8.2",
        "huggingface-hub==0.26.2",
        *BOTH,
    ],
}
OPEN_CLIP = "open_clip_torch==2.20.0"  # its text tower alone: the rest wants torchvision
TESTS = ["pytest>=8", "pytest-xdist", "pytest-timeout", "hypothesis", "playwright"]
PARALLEL = ["-n", "2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fast", action="store_true", help="the current releases alone, not what the hosts pin")
    fast = parser.parse_args().fast

    python = environment(
        "check", [TORCH, "--editable", f"{ROOT}[dev]"], without_dependencies=["open_clip_torch==3.3.0"]
    )

    print("== lint", flush=True)
    run(python, "-m", "ruff", "check", ".")
    run(python, "-m", "ruff", "format", "--check", ".")

    print("== types", flush=True)
    run(python, "-m", "mypy")

    print("== tests, current releases", flush=True)
    run(python, "-m", "pytest", *PARALLEL)

    if fast:
        return
    old = find_python("3.10", "3.11")
    if old is None:
        sys.exit("Python 3.10 or 3.11 is needed for this: torch 2.1.2 has no build for others. --fast leaves it out.")
    for host, pins in HOSTS.items():
        print(f"== the core, and the page in gradio and in Chromium, with what {host} pins", flush=True)
        python = environment(host, [*pins, *TESTS], old, without_dependencies=[OPEN_CLIP])
        # these old releases warn a lot of one another; in current releases a warning is an error
        run(python, "-m", "pytest", *PARALLEL, "-W", "default", "tests/core", "tests/webui", "tests/browser")


if __name__ == "__main__":
    main()
