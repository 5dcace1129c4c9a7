import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the network is a bug
os.environ.setdefault("TQDM_DISABLE", "1")  # bars of the libraries, which the command line keeps quiet too
sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
collect_ignore = [] if importlib.util.find_spec("gradio") else ["webui"]  # what a page is made of: see check.py


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
