"""Run by the host before it reads its command line."""

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--aesthetic-embeddings-dir",
        metavar="FOLDER",
        default=None,
        help="where aesthetic embeddings are looked for first, and new ones are saved",
    )
    parser.add_argument(
        "--aesthetic-allow-pickle",
        action="store_true",
        help="load encoders of the tab Create aesthetic embedding from pytorch_model.bin too, which can run code",
    )
