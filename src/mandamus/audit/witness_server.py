"""The witness as a program: remembers in a folder what it cosigned, and answers over HTTP (C2SP tlog-witness)."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mandamus.audit import cosign, note
from mandamus.audit.cosign import Cosigner
from mandamus.audit.signer import Signer
from mandamus.audit.trust import Trust, TrustedKey
from mandamus.audit.witness import Refusal, Seen, judge, parse_request
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.keys import sync_folder

BODY_BYTES_MAX = 80 * 1024
"""A signed note of at most 64 KiB and 63 proof lines."""
ADD_CHECKPOINT = "/add-checkpoint"
_SIZE_TYPE = "text/x.tlog.size"
_TEXT_TYPE = "text/plain; charset=utf-8"
_IDLE_S = 15
_AT_ONCE_MAX = 64


class Witness:
    """The memory of one witness: a folder with the newest checkpoint it cosigned of each log. For many threads.

    One process at a time may use a folder. What is cosigned is on the disk before anybody learns of it.
    """

    def __init__(self, folder: Path, signer: Signer, logs: Sequence[Trust], clock: Clock) -> None:
        """Raises ``home_locked`` when another process uses the folder, ``audit_tampered`` for a file that is broken."""
        self.cosigner = Cosigner(signer.name, signer.verifier.public)
        self._folder = folder
        self._signer = signer
        self._clock = clock
        self._logs = _by_origin(logs)
        self._turn = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(folder)
        self._seen = dict(self._load(origin) for origin in self._logs)

    def add_checkpoint(self, body: bytes) -> str:
        """The cosignature line for what the request asks; raises `Refusal`."""
        request = parse_request(body)
        with self._turn:
            checkpoint = judge(request, self._logs, self._seen)
            self._write(self._path(checkpoint.origin), checkpoint.note)
            self._seen[checkpoint.origin] = Seen(checkpoint.size, checkpoint.root)
        text = note.parse(checkpoint.note).text
        return cosign.cosign(self._signer, text, self._clock.now_us() // 1_000_000)

    def close(self) -> None:
        """Let another process use the folder."""
        os.close(self._lock)

    def _path(self, origin: str) -> Path:
        return self._folder / f"{hashlib.sha256(origin.encode()).hexdigest()}.checkpoint"

    def _load(self, origin: str) -> tuple[str, Seen]:
        path = self._path(origin)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return origin, Seen()
        head = note.head(note.parse(data).text, data)
        if head.origin != origin:
            raise MandamusError(
                Code.AUDIT_TAMPERED,
                f"{path} is not the newest checkpoint of {origin}",
                remedy="restore the witness's folder; a witness that forgot what it saw is worth nothing",
            )
        return origin, Seen(head.size, head.root)

    def _write(self, path: Path, data: bytes) -> None:
        partial = self._folder / ".writing"
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(self._folder)


def _by_origin(logs: Sequence[Trust]) -> Mapping[str, Trust]:
    found: dict[str, list[TrustedKey]] = {}
    for trust in logs:
        for key in trust.keys:
            found.setdefault(key.verifier.name, []).append(key)
    return {origin: Trust(tuple(dict.fromkeys(keys))) for origin, keys in found.items()}


def _locked(folder: Path) -> int:
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise MandamusError(
            Code.HOME_LOCKED,
            f"another witness works in {folder}",
            remedy="end it first, or give this one a folder of its own with --state DIR",
        ) from error
    return lock


class WitnessServer(ThreadingHTTPServer):
    """Answers ``POST /add-checkpoint``; ``address`` is ``(host, port)``, port 0 for any that is free."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], witness: Witness) -> None:
        super().__init__(address, _Handler)
        self.witness = witness
        self._places = threading.BoundedSemaphore(_AT_ONCE_MAX)

    def process_request_thread(self, request: object, client_address: object) -> None:
        """As the base class, but so many at once; the others wait."""
        with self._places:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    server_version = "mandamus-witness"
    sys_version = ""
    timeout = _IDLE_S
    server: WitnessServer

    def do_POST(self) -> None:
        """Every answer there is."""
        try:
            body = self._body()
            if self.path != ADD_CHECKPOINT:
                raise Refusal(404, f"there is only {ADD_CHECKPOINT}")
            line = self.server.witness.add_checkpoint(body)
        except Refusal as refusal:
            known = refusal.size is not None
            self._answer(refusal.status, f"{refusal.size if known else refusal.why}\n", known=known)
        except (OSError, MandamusError) as error:
            self.close_connection = True
            self._answer(500, f"the witness cannot write or sign: {error}\n")
        else:
            self._answer(200, line)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's signature
        """Nothing."""

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 10):
            self.close_connection = True
            raise Refusal(411, "give the length of the body")
        if int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            raise Refusal(413, f"a request has at most {BODY_BYTES_MAX} bytes")
        return self.rfile.read(int(length))

    def _answer(self, status: int, text: str, *, known: bool = False) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", _SIZE_TYPE if known else _TEXT_TYPE)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
