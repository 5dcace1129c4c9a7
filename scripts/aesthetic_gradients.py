"""The host loads this file; the extension itself is the package `aesthetic_embeddings.webui`."""

from aesthetic_embeddings.webui.script import AestheticGradients  # noqa: F401  # the host looks for the class here
