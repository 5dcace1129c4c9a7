"""The tab Compare: a prompt as it is, and personalized.

tab.py         the page, and what its events do
form.py        the widgets that ask
request.py     what they ask for, checked
comparison.py  the job for a request: pairs, a strip, or a grid
saving.py      pictures of a job as files
display.py     the widgets that show pictures
restoring.py   the request that a saved picture came from
"""
