#!/usr/bin/env python3
"""Pictures in, a picture in their taste out: `python try.py [FOLDER] [PROMPT]`.

The first run sets up an environment in this folder. The pictures are the bundled samples by default. The model is
always the bundled pocket model, so no weights are downloaded and no GPU is needed.
"""

import sys
from pathlib import Path

from tools.environments import ROOT, TORCH, environment, run

samples = ROOT / "aesthetic_embeddings" / "pocket" / "samples" / "aivazovsky"
folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else samples
prompt = sys.argv[2] if len(sys.argv) > 2 else "a castle in a meadow"
python = environment("try", [TORCH, "--editable", f"{ROOT}[cli]"])
command = [python, "-m", "aesthetic_embeddings", "--library", ROOT / "out" / "aesthetics"]
run(*command, "create", "mine", folder, "--overwrite")
options = "--aesthetic mine --seed 1 --count 4 --compare --output out/compare.png"
run(*command, "generate", prompt, *options.split())
