"""The tab Compare: pictures of a prompt, plain and personalized.

tab.py         the page and its event handlers
form.py        the input widgets
request.py     the form's values, validated
comparison.py  the job for a request: pairs, a strip, or a grid
results.py     runs a comparison and collects its results
saving.py      saves its pictures as files
display.py     the widgets that show it
history.py     the results of each page
restoring.py   restores the form from a saved picture
vocabulary.py  the words that the pocket model may not know
"""
