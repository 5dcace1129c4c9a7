"""Run by the host at every start. Hosts bring all that the extension imports; this only fills gaps in unusual ones.

What is there is left at its version, and torch is the host's own business.
"""

import importlib.util

#: module -> what pip calls it
NEEDED = {
    "safetensors": "safetensors",
    "PIL": "pillow",
    "transformers": "transformers",
    "huggingface_hub": "huggingface_hub",
}
missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]

if missing:
    import launch  # the host's

    launch.run_pip(f"install {' '.join(missing)}", f"{', '.join(missing)} for aesthetic gradients")
