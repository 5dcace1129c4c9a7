"""`python -m aesthetic_embeddings` is the command `aesthetic-gradients`."""

from .cli import main

main(prog_name="aesthetic-gradients")
