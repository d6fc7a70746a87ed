"""Signs in from a terminal: asks the server for a code, and for the token that a person lets it have (RFC 8628)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2
from pydantic import ValidationError

from mandamus.client.address import checked_url
from mandamus.client.problems import error_of, misread, unreachable
from mandamus.client.transport import Sleep, tls_context
from mandamus.kernel.errors import Code, MandamusError
from mandamus.wire.device import DeviceCode, DeviceError, DeviceToken

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SLOWER_S = 5
"""RFC 8628, 3.5: so much longer a device waits after ``slow_down``, and after every answer that did not come."""
TIMEOUT_S = 30.0
_CODE, _TOKEN, _REVOKE = "/api/v1/device/code", "/api/v1/device/token", "/api/v1/device/revoke"
_REMEDY = "start anew with `mandamus login`"

Show = Callable[[DeviceCode], None]
"""Shows a person the code, and where to type it."""


def sign_in(
    url: str,
    name: str,
    permissions: Sequence[str],
    show: Show,
    *,
    sleep: Sleep,
    monotonic_s: Callable[[], float],
    roots: Path | None,
) -> str:
    """The token of whoever lets this device have one; ``name`` is what it calls itself.

    Raises ``forbidden`` when it was refused, ``unauthenticated`` when nobody answered in time, ``unavailable``.
    """
    server = checked_url(url)
    with httpx2.Client(
        base_url=server, timeout=TIMEOUT_S, verify=tls_context(roots), trust_env=False, follow_redirects=False
    ) as http:
        form = {"client_id": name} | ({"scope": " ".join(permissions)} if permissions else {})
        asked = _code(server, http, form)
        show(asked)
        until_s, wait_s = monotonic_s() + asked.expires_in, asked.interval
        while monotonic_s() < until_s:
            sleep(wait_s)
            try:
                answer = http.post(_TOKEN, data={"grant_type": GRANT, "device_code": asked.device_code})
            except httpx2.RequestError:
                wait_s += SLOWER_S
                continue
            if answer.is_success:
                return _token(answer)
            if _slower(answer):
                wait_s += SLOWER_S
    raise _expired()


def sign_out(url: str, token: str, *, roots: Path | None) -> None:
    """End a token on its server (RFC 7009), which says the same of one that was no good; raises ``unavailable``."""
    server = checked_url(url)
    with httpx2.Client(
        base_url=server, timeout=TIMEOUT_S, verify=tls_context(roots), trust_env=False, follow_redirects=False
    ) as http:
        try:
            answer = http.post(_REVOKE, data={"token": token})
        except httpx2.RequestError as error:
            raise unreachable(server, error) from error
    if not answer.is_success:
        raise error_of(answer)


def _code(server: str, http: httpx2.Client, form: dict[str, str]) -> DeviceCode:
    try:
        answer = http.post(_CODE, data=form)
    except httpx2.RequestError as error:
        raise unreachable(server, error) from error
    if not answer.is_success:
        said = _said(answer)
        if said is None:
            raise error_of(answer)
        raise MandamusError(Code.USAGE, f"the server refuses to be asked: {said.error_description}", remedy=_REMEDY)
    try:
        return DeviceCode.model_validate_json(answer.content)
    except ValidationError as error:
        raise misread(_CODE, error) from error


def _token(answer: httpx2.Response) -> str:
    try:
        return DeviceToken.model_validate_json(answer.content).access_token
    except ValidationError as error:
        raise misread(_TOKEN, error) from error


def _slower(answer: httpx2.Response) -> bool:
    """Whether to wait longer from now on; raises what ends the waiting."""
    said = _said(answer)
    if said is None:
        problem = error_of(answer)
        if not problem.retryable:
            raise problem
        return True
    if said.error == "access_denied":
        raise MandamusError(Code.FORBIDDEN, "this device was refused in the console", remedy=_REMEDY)
    if said.error == "expired_token":
        raise _expired()
    if said.error not in {"authorization_pending", "slow_down"}:
        raise MandamusError(Code.UNAUTHENTICATED, f"there is no token: {said.error_description}", remedy=_REMEDY)
    return said.error == "slow_down"


def _said(answer: httpx2.Response) -> DeviceError | None:
    try:
        return DeviceError.model_validate_json(answer.content)
    except ValidationError:
        return None


def _expired() -> MandamusError:
    return MandamusError(Code.UNAUTHENTICATED, "nobody let this device in in time", remedy=_REMEDY)
