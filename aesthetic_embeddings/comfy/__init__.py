"""Nodes for ComfyUI. The `__init__.py` at the top of the repository registers them.

host.py         everything used of ComfyUI; the only module that imports its modules
conditioner.py  prompts encoded by ComfyUI's own code, and tuned in between
widgets.py      the widgets of the settings, from the table in settings.py
nodes.py        the nodes
"""
