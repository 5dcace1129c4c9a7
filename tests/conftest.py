import importlib.metadata
import os
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the network is a bug
os.environ.setdefault("TQDM_DISABLE", "1")  # bars of the libraries, which the command line keeps quiet too
sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
hypothesis.settings.register_profile("any machine", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("any machine")


def _gradio() -> int:
    """The major version of gradio here, what a page is made of; 0 where there is none."""
    try:
        return int(importlib.metadata.version("gradio").split(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return 0


#: The hosts' pages are made of gradio 3 and 4, the studio's of the current one: see check.py.
collect_ignore = [] if _gradio() in (3, 4) else ["webui", "browser"]
collect_ignore += [] if _gradio() >= 6 else ["studio"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if collect_ignore:
        left_out = ", ".join(f"tests/{name}" for name in collect_ignore)
        terminalreporter.write_line(
            f"left out with gradio {_gradio() or 'missing'}: {left_out} (check.py runs them all)"
        )


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
