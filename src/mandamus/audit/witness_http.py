"""Sends a request to a witness over HTTP: one POST, no redirect, no proxy, bounded in time and size."""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import urlsplit

from mandamus.audit.witness_client import Answer
from mandamus.kernel.errors import Code, MandamusError

_ANSWER_BYTES_MAX = 64 * 1024


def send(url: str, body: bytes, timeout_s: float) -> Answer:
    """Post the body to ``<url>/add-checkpoint``; raises ``audit_unavailable`` when nothing answers."""
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
        connection.request("POST", f"{parts.path.rstrip('/')}/add-checkpoint", body)
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
        f"the witness at {url} gives no answer: {why}",
        remedy="see whether it runs and can be reached from here",
        context={"url": url},
        retryable=True,
    )
