"""OPA's REST API over HTTP, a process of its own: the shell is ours, what evaluates is the real OPA of the library.

Offers what a policy server is asked: /health, /v1/policies, /v1/data. Prints its port when it listens.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mandamus.kernel import canonical
from mandamus.policy.pool import Limits, WorkerPool, engine_name, worker_command

ERROR = re.compile(r"(?P<file>[^\n:]*):(?P<row>\d+): (?P<code>[a-z_]+): (?P<message>.*)")


class Clock:
    """The machine's."""

    def now_us(self) -> int:
        """Nobody asks."""
        return 0

    def monotonic_s(self) -> float:
        """For deadlines."""
        return time.monotonic()


class Store:
    """What a server holds; changed and asked by one thread at a time."""

    def __init__(self, session: Any) -> None:
        self.lock = threading.Lock()
        self.session = session
        self.policies: dict[str, str] = {}
        self.data: dict[str, Any] = {}
        self.slots: list[tuple[str, bool]] = []

    def change(self, policies: dict[str, str]) -> str:
        """Take the policies when they compile; what is wrong with them, otherwise."""
        refused = self.session.load("true", canonical.dumps(self.data), list(policies.items()), 2)
        if refused:
            return refused.message
        self.policies = policies
        self.slots.clear()
        return ""

    def put(self, path: list[str], value: Any) -> None:
        """Put a document, or None for taking it away."""
        at = self.data
        for part in path[:-1]:
            at = at.setdefault(part, {})
        if value is None:
            at.pop(path[-1], None)
        else:
            at[path[-1]] = value
        self.slots.clear()

    def ask(self, path: list[str], data: bytes, *, strict: bool) -> Any:
        """The reply about a path of ``data``."""
        query = "data" + "".join(f"[{json.dumps(part)}]" for part in path)
        key = (query, strict)
        if key not in self.slots:
            if len(self.slots) == 2:
                self.slots.clear()
            self.slots.append(key)
            slot = self.slots.index(key)
            self.session.load(query, canonical.dumps(self.data), list(self.policies.items()), slot)
            if not strict:
                self.session.be_lenient(query, slot)
        return self.session.ask(data, self.slots.index(key), deadline_s=60)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    store: Store
    token = ""

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def answer(self) -> None:
        """Whatever the method is."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        place = urlsplit(self.path)
        path = [unquote(part) for part in place.path.strip("/").split("/")]
        if path == ["health"]:
            return self._send(200, {})
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            return self._send(401, {"code": "unauthorized", "message": "request rejected by administrative policy"})
        with self.store.lock:
            if path[:2] == ["v1", "policies"]:
                return self._policy("/".join(path[2:]), body)
            if path[:2] == ["v1", "data"] and self.command in ("PUT", "DELETE"):
                self.store.put(path[2:], canonical.loads(body) if self.command == "PUT" else None)
                return self._send(204, None)
            return self._data(path[2:], body, parse_qs(place.query))

    def _policy(self, name: str, body: bytes) -> None:
        policies = dict(self.store.policies)
        if self.command == "GET":
            return self._send(200, {"result": [{"id": each} for each in policies]})
        if self.command == "DELETE":
            if policies.pop(name, None) is None:
                return self._send(404, {"code": "resource_not_found", "message": "storage_not_found_error"})
        elif policies.get(name) == body.decode():
            return self._send(200, {})
        else:
            policies[name] = body.decode()
        refused = self.store.change(policies)
        if not refused:
            return self._send(200, {})
        message = "error(s) occurred while compiling module(s)"
        return self._send(400, {"code": "invalid_parameter", "message": message, "errors": errors(refused)})

    def _data(self, path: list[str], body: bytes, params: dict[str, list[str]]) -> None:
        data = canonical.dumps(canonical.loads(body)["input"])
        reply = self.store.ask(path, data, strict="strict-builtin-errors" in params)
        if reply.refusal:
            message = "error(s) occurred while evaluating query"
            return self._send(500, {"code": "internal_error", "message": message, "errors": [error(reply.refusal)]})
        said = {} if reply.value is None else {"result": reply.value}
        if "provenance" in params:
            said["provenance"] = {"version": engine_name().split("-")[1].split("+")[0], "build_commit": ""}
        return self._send(200, said)

    def _send(self, status: int, document: Any) -> None:
        data = b"" if document is None else canonical.dumps(document)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


for verb in ("GET", "PUT", "POST", "DELETE"):
    setattr(Handler, f"do_{verb}", Handler.answer)


def error(refusal: Any) -> dict[str, Any]:
    """One error of an evaluation, whose message can have many lines."""
    match = re.fullmatch(
        r"(?P<file>[^\n]*?):(?P<row>\d+): (?P<code>[a-z_]+): (?P<message>.*)", refusal.message, re.DOTALL
    )
    if match is None:
        return {"code": refusal.code, "message": refusal.message}
    place = {"file": match["file"], "row": int(match["row"]), "col": 1}
    return {"code": match["code"], "message": match["message"], "location": place}


def errors(message: str) -> list[dict[str, Any]]:
    """The library's text as the REST API's list."""
    found: list[dict[str, Any]] = []
    for match in ERROR.finditer(message):
        at = match["file"].split(" ")[-1] if "occurred" in match["file"] else match["file"]
        place = {"file": at.strip(), "row": int(match["row"]), "col": 1}
        found.append({"code": match["code"], "message": match["message"], "location": place})
    return found or [{"code": "eval_error", "message": message}]


def main() -> None:
    """``opa_http PORT [TOKEN [CERTIFICATE KEY]]``"""
    port, token, *tls = [*sys.argv[1:], "", ""][: max(2, len(sys.argv) - 1)]
    limits = Limits()
    pool = WorkerPool(Clock(), limits, worker_command(limits))
    with pool.session() as session:
        Handler.store = Store(session)
        Handler.token = token
        server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
        if len(tls) == 2 and tls[0]:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        print(server.server_address[1], flush=True)  # noqa: T201 - the port is what it is asked for
        server.serve_forever()


if __name__ == "__main__":
    main()
