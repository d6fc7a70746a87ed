"""What a token exchange answers, in the words of RFC 8693."""

from __future__ import annotations

from mandamus.wire.base import Wire


class ExchangedToken(Wire):
    """The token that was given (RFC 8693, 2.2.1); ``scope`` are its permissions, with blanks between them."""

    access_token: str
    issued_token_type: str
    token_type: str
    expires_in: int
    scope: str


class ExchangeError(Wire):
    """Why there is none (RFC 8693, 2.2.2; RFC 6749, 5.2)."""

    error: str
    error_description: str
