"""The tab Create: makes an aesthetic from pictures.

tab.py          the page and its event handlers
uploads.py      the uploaded pictures, and their embeddings
report.py       their similarity, as HTML
"""
