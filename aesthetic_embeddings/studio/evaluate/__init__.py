"""The tab Evaluate: the paper's experiment on the loaded model.

tab.py   the page and its event handlers
run.py   validates and runs an evaluation
"""
