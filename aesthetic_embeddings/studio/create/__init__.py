"""The tab Create: pictures in, an aesthetic out.

tab.py          the page, and what its events do
uploads.py      the pictures that a page was given, embedded
report.py       how alike they are, as HTML
"""
