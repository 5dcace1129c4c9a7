"""ComfyUI loads this file from its `custom_nodes`. The WebUIs and the Python package enter by other doors."""

import sys

if "folder_paths" in sys.modules:  # ComfyUI's
    from .aesthetic_embeddings.comfy.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
