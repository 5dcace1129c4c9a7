"""Nodes for ComfyUI. The `__init__.py` at the top of the repository registers them.

host.py         all that is asked of ComfyUI; the only module that imports its modules
conditioner.py  a CLIP's prompts, encoded by ComfyUI's own code and tuned in between
widgets.py      the widgets of the settings, from the one table that describes them
nodes.py        the nodes
"""
