"""Answers that are errors, as the house's own error."""

from __future__ import annotations

import httpx2
from pydantic import ValidationError

from mandamus.kernel.errors import Code, MandamusError
from mandamus.wire.base import Problem, Stopped

RETRYABLE = frozenset({429, 502, 503, 504})
"""What may be otherwise a moment later when something between us and the server says it; ours says so itself."""

_CODES = {code.text: code for code in Code}


def error_of(answer: httpx2.Response) -> MandamusError:
    """The problem (RFC 9457) in an answer; of one that holds none, what its status says."""
    try:
        said = Problem.model_validate_json(answer.content)
    except ValidationError:
        return _foreign(answer)
    code = _CODES.get(said.code)
    context = said.context if code else {**said.context, "code": said.code}
    return MandamusError(
        code or Code.INTERNAL, said.detail, remedy=said.remedy, context=context, retryable=said.retryable
    )


def stopped(data: bytes | str) -> MandamusError:
    """Why the server ended a stream before its end."""
    try:
        said = Stopped.model_validate_json(data)
    except ValidationError as error:
        return misread("a stream", error)
    code = _CODES.get(said.code, Code.INTERNAL)
    return MandamusError(code, said.detail, remedy=said.remedy, retryable=code.http_status in RETRYABLE)


def unreachable(url: str, error: httpx2.RequestError) -> MandamusError:
    """No answer came."""
    why = str(error) or type(error).__name__
    return MandamusError(
        Code.UNAVAILABLE,
        f"{url} does not answer: {why}",
        remedy="see that the address is right and that `mandamus up` runs there, and try again",
        context={"url": url},
        retryable=True,
    )


def invalid(error: ValidationError) -> MandamusError:
    """What was given cannot be sent; it is not repeated, for it may be a secret in the wrong place."""
    return MandamusError(Code.VALUE_INVALID, _found(error), remedy="correct what is named")


def misread(path: str, error: ValidationError) -> MandamusError:
    """An answer came that is none this client knows."""
    found = _found(error)
    return MandamusError(
        Code.INTERNAL,
        f"the answer to {path} is not what this version knows: {found}",
        remedy="use the same version here as on the server; GET /version tells which that is",
    )


def _found(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])


def _foreign(answer: httpx2.Response) -> MandamusError:
    retryable = answer.status_code in RETRYABLE
    return MandamusError(
        Code.UNAVAILABLE if retryable else Code.INTERNAL,
        f"{answer.request.url.host} answers {answer.status_code}, and not as a server of ours does",
        remedy="see that the address is that of `mandamus up`, and what stands between",
        context={"status": answer.status_code},
        retryable=retryable,
    )
