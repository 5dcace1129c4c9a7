"""The host loads this file; the extension itself is the package `aesthetic_embeddings.webui`."""

from aesthetic_embeddings.webui.script import AestheticGradients, register  # noqa: F401  # the host finds the class here

register()
