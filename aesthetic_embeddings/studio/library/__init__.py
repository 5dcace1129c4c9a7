"""The tab Library: all aesthetics, blends of them, and their similarity.

tab.py         the page and its event handlers
cards.py       the aesthetics as cards, and the facts of one, as HTML
blend.py       the part that blends aesthetics
similarity.py  the part that shows how similar they are
files.py       saving, deleting, restoring, importing and exporting
"""
