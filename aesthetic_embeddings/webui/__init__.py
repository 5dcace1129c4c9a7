"""The extension for AUTOMATIC1111's WebUI and for Forge: `scripts/aesthetic_gradients.py` imports it.

host.py                 everything asked of the host; the only module that imports the host's `modules`
request.py              what the user requests for one job: the accordion's values, checked
conditioning_hook.py    where a job's conditioning is made and cached, and how ours gets in
conditioner.py          one prompt, encoded by the host's own code and tuned in between
picture_report.py       the text under the picture
infotext.py             what is written into a picture, and pasted from it
tags.py                 the tags in a prompt
extra_network.py        the tags, registered with the host
xyz.py                  axes of the X/Y/Z plot
reference_pictures.py   pictures instead of an embedding
presets.py              the user's own presets
cards.py                cards among the host's extra networks
options.py              a section of the host's settings
api.py                  endpoints beside the host's
accordion.py            the accordion in txt2img and img2img
tab.py                  the tab "Create aesthetic embedding", as widgets and HTML
creation.py             what the tab does, without gradio
script.py               the host's callbacks
"""
