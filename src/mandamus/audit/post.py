"""One HTTP POST: no redirect, no proxy, bounded in time and size; all that is sent here is signed or public."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from mandamus.kernel.errors import Code, MandamusError

_ANSWER_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """What a server said: HTTP status, content type without parameters, body."""

    status: int
    type: str
    body: bytes


def post(url: str, body: bytes, timeout_s: float, content_type: str = "text/plain") -> Answer:
    """The answer to the body; raises ``audit_unavailable`` when nothing answers in time."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _unreachable(url, str(error)) from error
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=timeout_s, context=ssl.create_default_context()
        )
    elif parts.scheme == "http" and host:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    else:
        raise _unreachable(url, "it is no http or https URL")
    try:
        connection.request("POST", parts.path or "/", body, {"Content-Type": content_type})
        answer = connection.getresponse()
        data = answer.read(_ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    return Answer(answer.status, (answer.headers.get("Content-Type") or "").partition(";")[0].strip(), data)


def _unreachable(url: str, why: str) -> MandamusError:
    return MandamusError(
        Code.AUDIT_UNAVAILABLE,
        f"{url} gives no answer: {why}",
        remedy="see whether it runs and can be reached from here",
        context={"url": url},
        retryable=True,
    )
