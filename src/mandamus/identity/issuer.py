"""Believes an OpenID Connect issuer: finds its keys, and verifies the tokens it signed for exactly one audience."""

from __future__ import annotations

import hmac
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from joserfc import jwk, jws, jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError

from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""What may have signed: public keys only. ``none`` and HMAC are no signature of an issuer."""
HEADER: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
"""What a header may say. A token names no key of its own (``jwk jku x5u x5c``) and asks for nothing (``crit b64``)."""
LEEWAY_S = 30
KEEP_S = 600.0
REFETCH_S = 30.0
FAILED_S = 5.0
"""How long an issuer's word is kept, and how soon it is asked again for a key nobody knows, and after it failed."""
TOKEN_CHARS_MAX = 32 * 1024
TEXT_CHARS_MAX = 1_024
RSA_BITS = (2_048, 8_192)
DISCOVERY = "/.well-known/openid-configuration"

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}

Claims = Mapping[str, Any]
Fetch = Callable[[str], Mapping[str, Any]]
"""``URL -> the JSON object there``; raises ``unavailable``."""


@dataclass(frozen=True)
class Expected:
    """What a token has to say beside who issued it.

    ``audience`` is whom it is for. ``nonce`` is what it has to repeat, None where nobody asked for one. ``required``
    names claims that must be there and say something: a text, or a list of texts. ``types`` are the media types of its
    header in lower case, an empty one for a header that names none.
    """

    audience: str
    nonce: str | None = None
    required: tuple[str, ...] = ()
    types: frozenset[str] = frozenset({"", "jwt"})


@dataclass(frozen=True)
class _Known:
    """What the issuer published, and when by the monotonic clock it was asked."""

    metadata: Claims
    keys: jwk.KeySet
    at_s: float


class Issuers:
    """The issuers that are believed, each asked once for all: `Issuer` by its URL. Their URLs are declared ones."""

    def __init__(self, clock: Clock, fetch: Fetch) -> None:
        self._clock = clock
        self._fetch = fetch
        self._lock = threading.Lock()
        self._known: dict[str, Issuer] = {}

    def of(self, url: str) -> Issuer:
        """The issuer with this identifier; nobody is asked yet."""
        with self._lock:
            return self._known.setdefault(url, Issuer(url, self._clock, self._fetch))


class Issuer:
    """One issuer, for many threads. ``url`` is its identifier, compared byte for byte."""

    def __init__(self, url: str, clock: Clock, fetch: Fetch) -> None:
        self.url = url
        self._clock = clock
        self._fetch = fetch
        self._lock = threading.Lock()
        self._known: _Known | None = None
        self._failed: tuple[float, MandamusError] | None = None

    def metadata(self) -> Claims:
        """What the issuer says of itself (OpenID Connect Discovery 1.0, 3); raises ``unavailable``."""
        return self._current().metadata

    def endpoint(self, name: str) -> str:
        """The URL the issuer gives for ``name``; raises ``unavailable`` when it gives none that can be trusted."""
        found = self.metadata().get(name)
        if not isinstance(found, str) or not is_secure(found):
            raise unavailable(self.url, f"it names no good {name}")
        return found

    def verify(self, token: str, expected: Expected) -> Claims:
        """What a token says, once all of it holds (OpenID Connect Core 1.0, 3.1.3.7; RFC 8725).

        Raises ``unauthenticated`` with ``why`` in its context for a token that is not good, ``unavailable`` when the
        issuer's keys cannot be had.
        """
        header = self._header(token, expected)
        keys = self._keys_for(header.get("kid"))
        try:
            payload = jws.deserialize_compact(token, keys, algorithms=ALGORITHMS).payload
        except (JoseError, ValueError, TypeError) as error:
            raise self._refused("signature") from error
        claims = self._claims(payload or b"")
        self._check_registered(claims, expected)
        if expected.nonce is not None and not _same(claims.get("nonce"), expected.nonce):
            raise self._refused("nonce")
        for name in expected.required:
            if not _says_something(claims.get(name)):
                raise self._refused(name)
        return MappingProxyType(claims)

    def _header(self, token: str, expected: Expected) -> Mapping[str, Any]:
        if len(token) > TOKEN_CHARS_MAX or _COMPACT.fullmatch(token) is None:
            raise self._refused("form")
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise self._refused("form") from error
        if not isinstance(header, dict) or not all(isinstance(value, str) for value in header.values()):
            raise self._refused("header")
        if not header.keys() <= HEADER or header.get("kid", "-") == "":
            raise self._refused("header")
        if header["alg"] not in ALGORITHMS:
            raise self._refused("alg")
        if header.get("typ", "").lower() not in expected.types:
            raise self._refused("typ")
        return header

    def _claims(self, payload: bytes) -> dict[str, Any]:
        """JSON that every reader understands alike: UTF-8, no key twice, no number that is none."""
        try:
            claims = json.loads(payload.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise self._refused("claims") from error
        if not isinstance(claims, dict):
            raise self._refused("claims")
        return claims

    def _check_registered(self, claims: dict[str, Any], expected: Expected) -> None:
        audiences = claims.get("aud")
        if isinstance(audiences, list) and len(audiences) != 1 and claims.get("azp") is None:
            # Made for several, it says for whom of them it was.
            raise self._refused("azp")
        registry = jwt.JWTClaimsRegistry(
            now=self._clock.now_us() // 1_000_000,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self.url},
            aud={"essential": True, "value": expected.audience},
            azp={"value": expected.audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            registry.validate(claims)
        except ExpiredTokenError as error:
            raise self._refused("exp") from error
        except (MissingClaimError, InvalidClaimError) as error:
            raise self._refused(str(error.claim)) from error
        except (JoseError, ValueError, TypeError, OverflowError) as error:
            raise self._refused("claims") from error
        if not isinstance(claims.get("azp", ""), str):
            raise self._refused("azp")
        if not _says_something(claims["sub"]) or not _says_something(audiences):
            raise self._refused("sub" if _says_something(audiences) else "aud")

    def _keys_for(self, kid: object) -> jwk.KeySet:
        """The issuer's keys; asked for again when none has this id, though not for every forged one."""
        known = self._current()
        if kid is not None and all(key.kid != kid for key in known.keys):
            known = self._current(older_than_s=REFETCH_S)
        return known.keys

    def _current(self, older_than_s: float = KEEP_S) -> _Known:
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._known is not None and now_s - self._known.at_s < older_than_s:
                return self._known
            if self._failed is not None and now_s - self._failed[0] < FAILED_S:
                raise self._failed[1]
            try:
                self._known, self._failed = self._asked(now_s), None
            except MandamusError as error:
                # Whoever asks meanwhile would only wait as long again.
                self._failed = (self._clock.monotonic_s(), error)
                raise
            return self._known

    def _asked(self, now_s: float) -> _Known:
        where = self.url.rstrip("/") + DISCOVERY
        metadata = self._fetch(where)
        if metadata.get("issuer") != self.url:
            raise unavailable(where, f"it is of another issuer, {str(metadata.get('issuer'))[:200]!r}")
        place = metadata.get("jwks_uri")
        if not isinstance(place, str) or not is_secure(place):
            raise unavailable(where, "it names no good jwks_uri")
        listed = self._fetch(place).get("keys")
        keys = [key for each in listed if (key := _usable(each))] if isinstance(listed, list) else []
        if not keys:
            raise unavailable(place, "there is no key that could have signed")
        return _Known(MappingProxyType(dict(metadata)), jwk.KeySet(keys), now_s)

    def _refused(self, why: str) -> MandamusError:
        return MandamusError(
            Code.UNAUTHENTICATED,
            f"what {self.url} signed is not good here: {why}",
            remedy="sign in again, and have the provider's client and claims looked at when that does not help",
            context={"issuer": self.url, "why": why},
        )


def is_secure(url: object) -> bool:
    """Whether what comes from there can be believed: https, or http that never leaves this machine."""
    if not isinstance(url, str) or not url.isascii() or not url.isprintable():
        return False
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc and not parts.fragment
    except ValueError:
        return False
    return good and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(str(parts.hostname))))


def unavailable(url: str, why: str) -> MandamusError:
    """The error for a provider that does not say what it has to."""
    return MandamusError(
        Code.UNAVAILABLE,
        f"the identity provider does not answer as it has to at {url[:200]}: {why[:200]}",
        remedy="see whether it runs and can be reached from here, then try again",
        context={"url": url[:200]},
        retryable=True,
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _usable(found: object) -> jwk.Key | None:
    """A public key that may have signed with one of `ALGORITHMS`; None for any other."""
    if not isinstance(found, dict) or "d" in found or found.get("use", "sig") != "sig":
        return None
    kind = found.get("kty")
    if kind not in {"RSA", "EC", "OKP"} or found.get("crv") != _CURVES.get(str(kind)):
        return None
    try:
        key = jwk.import_key(found)
    except (JoseError, ValueError, TypeError):
        return None
    if isinstance(key, jwk.RSAKey) and not RSA_BITS[0] <= key.raw_value.key_size <= RSA_BITS[1]:
        return None
    return key


def _same(claim: object, wanted: str) -> bool:
    return isinstance(claim, str) and claim.isascii() and hmac.compare_digest(claim, wanted)


def _says_something(claim: object) -> bool:
    """A text of a line that is not blank, or a list of such texts that is not empty."""
    texts = claim if isinstance(claim, list) else [claim]
    return bool(texts) and all(
        isinstance(each, str) and each.strip() and each.isprintable() and len(each) <= TEXT_CHARS_MAX for each in texts
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
