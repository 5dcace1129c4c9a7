"""The tab Library: the aesthetics that there are, blends of them, and how alike they are.

tab.py       the page, and what its events do
cards.py     the aesthetics as cards, and the facts of one, as HTML
blend.py     the part that blends
likeness.py  the part that shows how alike they are
files.py     saving, deleting, restoring, importing and exporting
"""
