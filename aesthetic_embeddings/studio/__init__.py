"""The stand-alone page, on current gradio and diffusers: `aesthetic-gradients studio`.

app.py           the page with its four tabs
server.py        serves the page, and limits requests
state.py         state that the tabs share
engine.py        the model, and its queue of jobs
compare/         the tab Compare
create/          the tab Create
library/         the tab Library
evaluate/        the tab Evaluate
try_button.py    the button that tries an aesthetic just saved
plots.py         plots and tables
picture_html.py  pictures with captions and buttons
"""
