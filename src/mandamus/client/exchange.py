"""Exchanges the token that a CI system signed for a job for a short one of the server (RFC 8693)."""

from __future__ import annotations

from pathlib import Path

import httpx2
from pydantic import ValidationError

from mandamus.client.address import checked_token, checked_url
from mandamus.client.problems import error_of, misread, unreachable
from mandamus.client.transport import tls_context
from mandamus.kernel.errors import Code, MandamusError
from mandamus.wire.exchange import ExchangedToken, ExchangeError

PATH = "/api/v1/token-exchange"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
TIMEOUT_S = 30.0


def exchange(url: str, token: str, *, roots: Path | None = None) -> ExchangedToken:
    """The short token; raises ``unauthenticated`` for one that the server does not take, and ``unavailable``."""
    server, shown = checked_url(url), checked_token(token)
    form = {"grant_type": GRANT, "subject_token": shown, "subject_token_type": JWT}
    with httpx2.Client(
        base_url=server, timeout=TIMEOUT_S, verify=tls_context(roots), trust_env=False, follow_redirects=False
    ) as http:
        try:
            answer = http.post(PATH, data=form)
        except httpx2.RequestError as error:
            raise unreachable(server, error) from error
    if not answer.is_success:
        raise _refused(answer)
    try:
        return ExchangedToken.model_validate_json(answer.content)
    except ValidationError as error:
        raise misread(PATH, error) from error


def _refused(answer: httpx2.Response) -> MandamusError:
    try:
        said = ExchangeError.model_validate_json(answer.content)
    except ValidationError:
        return error_of(answer)
    return MandamusError(
        Code.UNAUTHENTICATED if said.error == "invalid_grant" else Code.USAGE,
        said.error_description,
        remedy="compare the claims of this job with `exchange` in the platform file; docs/how-to/run-in-ci.md says how",
    )
