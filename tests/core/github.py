"""GitHub's files on this machine: one of them, by default LAION's vector, of 768 random numbers."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

NUMBERS = torch.randn(768, generator=torch.Generator().manual_seed(3))
RATING_5 = "/LAION-AI/aesthetic-predictor/main/vit_l_14_embeddings/rating5.npy"
HEAD = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 768), }".ljust(127) + b"\n"
FILE = HEAD + struct.pack("<768f", *NUMBERS.tolist())


class GitHub(BaseHTTPRequestHandler):
    answer, address = FILE, ""

    def do_GET(self) -> None:
        found = self.path == self.address
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(self.answer if found else b"")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def github(answer: bytes, address: str = RATING_5) -> Iterator[str]:
    handler = type("Answer", (GitHub,), {"answer": answer, "address": address})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
