"""The extension for AUTOMATIC1111's WebUI, Forge and SD.Next: `scripts/aesthetic_gradients.py` imports it.

host.py                 everything used of the host; the only module that imports the host's `modules`
request.py              the request for one job: the accordion's values, checked
conditioning_hook.py    wraps the methods of a job that make and cache its conditioning
sdnext.py               the same for SD.Next, which encodes both sides of a prompt at once
conditioner.py          one prompt, encoded by the host's own code and tuned in between
picture_report.py       the text under the picture
infotext.py             writes a picture's infotext, and reads pasted infotext
tags.py                 the tags in a prompt
extra_network.py        registers the tags with the host
xyz.py                  axes of the X/Y/Z plot
reference_pictures.py   reference pictures instead of an embedding
presets.py              the user's own presets
cards.py                cards on the host's extra networks page
options.py              our section in the host's settings
api.py                  endpoints in the host's API
accordion.py            the accordion in txt2img and img2img
tab.py                  the tab "Create aesthetic embedding", as widgets and HTML
creation.py             the tab's actions, without gradio
script.py               the script and the callbacks that the host calls
"""
