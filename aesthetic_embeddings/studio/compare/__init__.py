"""The tab Compare: a prompt as it is, and personalized.

tab.py         the page, and what its events do
form.py        the widgets that ask
request.py     what they ask for, checked
comparison.py  the job for a request: pairs, a strip, or a grid
results.py     a comparison while it is made, and when it is done
saving.py      its pictures as files
display.py     the widgets that show it
history.py     what each page has made
restoring.py   the request that a saved picture came from
vocabulary.py  the words that the pocket model may not know
"""
