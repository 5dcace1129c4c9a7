"""The tab Evaluate: the paper's experiment on the loaded model.

tab.py   the page, and what its events do
run.py   what is asked for, and the run
"""
