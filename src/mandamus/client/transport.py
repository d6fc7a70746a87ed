"""Requests to one server: with the token, tried again where that is safe, and streams that go on where they broke."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from mandamus.client.address import checked_token, checked_url
from mandamus.client.messages import Message, messages
from mandamus.client.problems import error_of, stopped, unreachable
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy

TIMEOUT_S = 30.0
QUIET_S = 45.0
"""A stream that is silent for longer is broken: the server says something every 15 s."""
KEPT_S = 2.0
"""An idle connection is given up before the server does (after 5 s): else a request could meet its end."""
TRIES = 5
WAIT_S = 0.25
WAIT_MAX_S = 8.0

Params = Mapping[str, Any]
Sleep = Callable[[float], object]

_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout)
"""Nothing of the request has left: it may be sent again, whatever it is."""


def pause(seconds: float) -> None:
    """Wait, so that an interrupt is heard."""
    threading.Event().wait(seconds)


class Transport:
    """One server, and the token that is shown to it. No environment variable has a say in it, so no proxy has."""

    def __init__(
        self, url: str, token: str, *, entropy: Entropy, sleep: Sleep, timeout_s: float, roots: Path | None, ticket: str
    ) -> None:
        self.url = checked_url(url)
        headers = {"Authorization": f"Bearer {checked_token(token)}", "User-Agent": "mandamus-client"}
        self._entropy = entropy
        self._sleep = sleep
        self._timeout_s = timeout_s
        self._http = httpx2.Client(
            base_url=self.url,
            headers={**headers, "Ticket": ticket} if ticket else headers,
            timeout=timeout_s,
            verify=tls_context(roots),
            trust_env=False,
            limits=httpx2.Limits(keepalive_expiry=KEPT_S),
            follow_redirects=False,
        )

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def key(self) -> str:
        """A new Idempotency-Key."""
        return self._entropy(16).hex()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: Any = None,
        key: str | None = None,
        tries: int = TRIES,
        timeout_s: float | None = None,
    ) -> httpx2.Response:
        """The answer to a request; raises its problem, or ``unavailable`` when none comes.

        It is sent again when that does nothing twice: a GET, a request with a key, and any that was surely not heard.
        """
        headers = {} if key is None else {"Idempotency-Key": key}
        safe = method == "GET" or key is not None
        timeout = httpx2.Timeout(timeout_s or self._timeout_s)
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._http.request(
                    method, path, params=_given(params), json=json, headers=headers, timeout=timeout
                )
            except httpx2.RequestError as error:
                if attempt >= tries or not (safe or isinstance(error, _UNSENT)):
                    raise unreachable(self.url, error) from error
                self._sleep(self._wait_s(attempt))
                continue
            if answer.is_success:
                return answer
            problem = error_of(answer)
            # Who is told to ask less often was refused before anything was done.
            harmless = safe or problem.code is Code.RATE_LIMITED
            if attempt >= tries or not (problem.retryable and harmless):
                raise problem
            self._sleep(_asked_s(answer) or self._wait_s(attempt))

    def follow(self, path: str, *, params: Params | None = None, last: str | None = None) -> Iterator[Message]:
        """The events of a stream up to its ``end``, which is the last one given.

        Where it breaks it is opened again behind the last event that came. Raises ``unavailable`` after several tries
        that brought nothing.
        """
        fruitless = 0
        while True:
            trouble: Exception = httpx2.RemoteProtocolError("the stream ended before its end")
            try:
                with closing(self._open(path, params, last)) as opened:
                    for message in opened:
                        if message.kind == "stopped":
                            raise stopped(message.data)
                        fruitless = 0
                        last = message.id
                        yield message
                        if message.kind == "end":
                            return
            except httpx2.RequestError as error:
                trouble = error
            except MandamusError as problem:
                if not problem.retryable:
                    raise
                trouble = problem
            fruitless += 1
            if fruitless >= TRIES:
                if isinstance(trouble, httpx2.RequestError):
                    raise unreachable(self.url, trouble) from trouble
                raise trouble
            self._sleep(self._wait_s(fruitless))

    def _open(self, path: str, params: Params | None, last: str | None) -> Generator[Message, None, None]:
        headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
        timeout = httpx2.Timeout(self._timeout_s, read=QUIET_S)
        with self._http.stream("GET", path, params=_given(params), headers=headers, timeout=timeout) as answer:
            if not answer.is_success:
                answer.read()
                raise error_of(answer)
            yield from messages(answer.iter_lines())

    def _wait_s(self, attempt: int) -> float:
        """Twice as long each time, and never the same for all who were cut off together."""
        longest = min(WAIT_MAX_S, WAIT_S * 2.0 ** (attempt - 1))
        return longest * (0.5 + self._entropy(1)[0] / 510)


def segment(text: str) -> str:
    """A name as one segment of a path; raises ``usage`` for what could not be one."""
    if text in {"", ".", ".."}:
        raise MandamusError(Code.USAGE, f"{text!r} names nothing", remedy="give a name or an id")
    return quote(text, safe="")


def _given(params: Params | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def _asked_s(answer: httpx2.Response) -> float:
    """How long the server asks to wait, at most what we would; 0 when it says nothing."""
    said = answer.headers.get("retry-after", "")
    return min(WAIT_MAX_S, float(said)) if said.isdecimal() else 0.0


def tls_context(roots: Path | None) -> ssl.SSLContext:
    """The roots that are trusted: a PEM file, or those of the system."""
    try:
        return ssl.create_default_context(cafile=None if roots is None else str(roots))
    except (OSError, ssl.SSLError) as error:
        raise MandamusError(
            Code.USAGE, f"{roots} holds no certificates: {error}", remedy="name a file of certificates in PEM"
        ) from error
