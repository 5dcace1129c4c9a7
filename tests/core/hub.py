"""A hub on this machine: the ranges, redirects and faults of the real one."""

from __future__ import annotations

import contextlib
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """Serves byte ranges of `data`, unless `fault` says otherwise; remembers what was asked and how much was sent."""

    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), Answer)
        self.data, self.fault, self.asked, self.sent = data, "", [], 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        hub = self.server
        hub.asked.append((self.path, self.headers["Range"]))
        if hub.fault == "404":
            return self.send_error(404)
        if self.path.endswith("/model.safetensors") and hub.fault != "direct":
            self.send_response(302)  # as the real hub does, to its storage
            self.send_header("Location", f"{hub.address}/storage?signed=1")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start, end = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        part = hub.data[start : end + 1]
        ranged = hub.fault not in ("whole", "lies")
        self.send_response(200 if hub.fault == "whole" else 206)
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(hub.data)}")
        else:
            part = hub.data * 20  # more than fits in the buffers between the two
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if hub.fault == "cut" and len(part) > 10**6:
            part = part[:100_000]
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(part), 2**16):
                hub.sent += self.wfile.write(part[at : at + 2**16])
        return None
