"""What is said to a provider when somebody signs in: Authlib's requests (RFC 6749, RFC 7636), our HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from authlib.common.errors import AuthlibBaseError  # type: ignore[import-untyped]  # Authlib comes without types
from authlib.integrations.httpx_client import OAuth2Client  # type: ignore[import-untyped]  # the same
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # type: ignore[import-untyped]  # the same
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]  # the same

from mandamus.identity.issuer import is_secure, unavailable
from mandamus.identity.issuer_http import TROUBLE, options
from mandamus.identity.sign_in import SignIn
from mandamus.kernel.errors import Code, MandamusError

_BASIC, _POST, _NONE = "client_secret_basic", "client_secret_post", "none"


def authorization_url(declared: SignIn, endpoint: str, *, state: str, verifier: str, **more: str) -> str:
    """Where the browser goes: the provider's page, with a challenge that only whoever has the verifier can meet."""
    made = prepare_grant_uri(
        endpoint,
        declared.client_id,
        "code",
        redirect_uri=declared.redirect_uri,
        scope=" ".join(declared.scopes),
        state=state,
        code_challenge=create_s256_code_challenge(verifier),
        code_challenge_method="S256",
        **more,
    )
    return str(made)


def redeem(
    monotonic_s: Callable[[], float],
    declared: SignIn,
    metadata: Mapping[str, Any],
    secret: str,
    *,
    code: str,
    verifier: str,
) -> str:
    """The ID token that a code is worth.

    Raises ``unauthenticated`` for a code that the provider does not take, ``unavailable`` when it does not answer.
    """
    endpoint = metadata.get("token_endpoint")
    if not isinstance(endpoint, str) or not is_secure(endpoint):
        raise unavailable(declared.issuer, "it names no good token_endpoint")
    try:
        with _client(declared, secret, metadata, options(monotonic_s)) as client:
            found = client.fetch_token(endpoint, grant_type="authorization_code", code=code, code_verifier=verifier)
    except AuthlibBaseError as error:
        raise MandamusError(
            Code.UNAUTHENTICATED,
            "the identity provider does not take what the browser brought back from it",
            remedy="sign in again",
            context={"issuer": declared.issuer, "why": "code"},
        ) from error
    except (*TROUBLE, ValueError) as error:
        raise unavailable(endpoint, type(error).__name__) from error
    token = found.get("id_token")
    if not isinstance(token, str):
        raise unavailable(endpoint, "its answer holds no id_token")
    return token


def _client(declared: SignIn, secret: str, metadata: Mapping[str, Any], how: Mapping[str, Any]) -> Any:
    listed = metadata.get("token_endpoint_auth_methods_supported")
    takes_post_alone = isinstance(listed, list) and _BASIC not in listed and _POST in listed
    return OAuth2Client(
        client_id=declared.client_id,
        client_secret=secret or None,
        token_endpoint_auth_method=(_POST if takes_post_alone else _BASIC) if secret else _NONE,
        redirect_uri=declared.redirect_uri,
        **how,
    )
