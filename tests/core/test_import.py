"""The core knows neither hosts, nor pages, nor pipelines, and importing it is light."""

import subprocess
import sys
from pathlib import Path

import aesthetic_embeddings
from tools.import_graph import imports, levels

BLOCKED = ("gradio", "modules", "diffusers", "transformers", "click", "rich", "aesthetic_embeddings.pocket")


def test_the_core_imports_alone():
    block = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r}))"
    everything = "import aesthetic_embeddings as ae; [getattr(ae, name) for name in ae.__all__]"
    subprocess.run([sys.executable, "-c", f"{block}; {everything}"], check=True)


def test_imports_point_downward_only():
    graph = imports(Path(aesthetic_embeddings.__file__).parent)
    ground = [part for level in levels(graph)[:-1] for part in level]  # raises for a cycle
    assert "text_encoder" in ground
    surfaces = {"webui", "studio", "cli", "ui", "evaluation"}
    core = {"aesthetics", "diffusion", "errors", "settings", "storage", "text_encoder", "torch_states"}
    assert [part for part in core if graph[part] & surfaces] == []
