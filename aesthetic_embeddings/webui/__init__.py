"""The extension for AUTOMATIC1111's WebUI and for Forge: `scripts/aesthetic_gradients.py` imports it.

host.py         all that is asked of the host; the only module that imports the host's `modules`
plan.py         what the user wants for one job
seam.py         where a job's conditioning is made and cached, and how ours gets in
conditioner.py  one prompt, encoded by the host's own code and tuned in between
report.py       what is said under the picture
tags.py  network.py             the prompt's tags
xyz.py          axes of the X/Y/Z plot
pictures.py     pictures in place of an embedding
presets.py      the user's own presets
cards.py        cards among the host's extra networks
options.py      a section of the host's settings
api.py          endpoints beside the host's
infotext.py     what is written into a picture, and pasted from it
accordion.py  tab.py  creating.py    the page
script.py       the host's callbacks
"""
