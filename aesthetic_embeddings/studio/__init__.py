"""The stand-alone page, on current gradio and diffusers: `aesthetic-gradients studio`.

app.py      the page of three tabs, and how it is served
state.py    what the tabs share
said.py     what handlers say: results, and faults in plain words
engine.py   the pipeline, and what is done with it
compare.py  the tab Compare
create.py   the tab Create
shelf.py    the tab Library
plots.py    what is drawn
tiles.py    pictures with words and buttons
"""
