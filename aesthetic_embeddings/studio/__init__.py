"""The stand-alone page, on current gradio and diffusers: `aesthetic-gradients studio`.

app.py           the page of four tabs
server.py        how it is served
state.py         what the tabs share
engine.py        the model, and the queue before it
compare/         the tab Compare
create/          the tab Create
library/         the tab Library
evaluate/        the tab Evaluate
trial.py         the button that tries an aesthetic which was just saved
plots.py         plots and tables
picture_html.py  pictures with words and buttons
"""
