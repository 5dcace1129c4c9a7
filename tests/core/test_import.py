"""The core knows neither hosts, nor pages, nor pipelines, and importing it is light."""

import subprocess
import sys

BLOCKED = ("gradio", "modules", "diffusers", "transformers", "click", "rich", "aesthetic_embeddings.pocket")


def test_the_core_imports_alone():
    block = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r}))"
    everything = "import aesthetic_embeddings as ae; [getattr(ae, name) for name in ae.__all__]"
    subprocess.run([sys.executable, "-c", f"{block}; {everything}"], check=True)
