"""A loopback HTTP receiver in a process of its own: what it is told goes to the ledger, as the scripts' lines do."""

from __future__ import annotations

import os
import signal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def serve(folder: Path) -> tuple[int, str]:
    """Start it; gives its process id and its address. Call it before there are threads: it forks."""
    server = HTTPServer(("127.0.0.1", 0), _handler(folder))
    pid = os.fork()
    if pid == 0:
        server.serve_forever()
    url = f"http://127.0.0.1:{server.server_port}/"
    server.socket.close()
    return pid, url


def _handler(folder: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            run, step, attempt = self.headers["Idempotency-Key"].rsplit("-", 2)
            if _dies(folder, f"{step}.before"):
                return
            with (folder / "ledger").open("a") as ledger:
                ledger.write(f"{run} {step} {attempt} none\n")
            if _dies(folder, f"{step}.after"):
                return
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing."""

    return Handler


def _dies(folder: Path, when: str) -> bool:
    """Kill the process that sent this, when that was asked for."""
    try:
        (folder / f"die.{when}").unlink()
    except FileNotFoundError:
        return False
    os.kill(int((folder / "victim").read_text()), signal.SIGKILL)
    return True
