"""An issuer's tokens: the good one is believed, and no forged one is."""

import base64
import hashlib
import hmac
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from joserfc import jwk, jws

from mandamus.identity.issuer import (
    FAILED_S,
    KEEP_S,
    REFETCH_S,
    TOKEN_CHARS_MAX,
    Expected,
    Issuer,
    is_secure,
    unavailable,
)
from mandamus.kernel.errors import Code, MandamusError

URL = "https://login.example.org/realms/one"
CLIENT = "mandamus"
NONCE = "n-0S6_WzA2Mj"

RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = jwk.ECKey.generate_key("P-256", {"kid": "ec"})
OKP = jwk.OKPKey.generate_key("Ed25519", {"kid": "okp"})
STRANGE = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})
ENCRYPTING = jwk.RSAKey.generate_key(2048, {"kid": "enc", "use": "enc"})
P384 = jwk.ECKey.generate_key("P-384", {"kid": "p384"})
SHARED = jwk.OctKey.generate_key(256, {"kid": "oct"})

EXPECTED = Expected(CLIENT, NONCE, ("groups",))

Make = Callable[[dict[str, Any], int], str]


class Provider:
    """What an issuer publishes, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.down = False
        self.metadata: dict[str, Any] = {"issuer": URL, "jwks_uri": f"{URL}/jwks", "token_endpoint": f"{URL}/token"}
        self.keys: list[dict[str, Any]] = [key.as_dict(private=False) for key in (RSA, EC, OKP, ENCRYPTING, P384)]
        self.keys.append(SHARED.as_dict(private=True))

    def fetch(self, url: str) -> Mapping[str, Any]:
        """What stands at a URL of the issuer."""
        self.asked.append(url)
        if self.down:
            raise unavailable(url, "it is down")
        return self.metadata if url == f"{URL}/.well-known/openid-configuration" else {"keys": self.keys}


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def issuer(provider: Provider, clock) -> Issuer:
    return Issuer(URL, clock, provider.fetch)


def claims_at(now_s: int, **changed: Any) -> dict[str, Any]:
    made = {"iss": URL, "aud": CLIENT, "sub": "248289761001", "nonce": NONCE, "groups": ["ops"]}
    made |= {"iat": now_s, "exp": now_s + 300} | changed
    return {name: value for name, value in made.items() if value is not ...}


def b64(data: bytes | str | Mapping[str, Any]) -> str:
    raw = json.dumps(data).encode() if isinstance(data, Mapping) else data if isinstance(data, bytes) else data.encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(claims: Any, key: Any = RSA, alg: str = "RS256", **header: Any) -> str:
    """A compact JWS over whatever is given, without the checks a library makes of its own headers."""
    made = {"alg": alg, "kid": key.kid, "typ": "JWT"} | header
    made = {name: value for name, value in made.items() if value is not ...}
    start = f"{b64(made)}.{b64(claims)}"
    return f"{start}.{b64(signature(start, key, alg))}"


def signature(start: str, key: Any, alg: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return jws.JWSRegistry.algorithms[alg].sign(start.encode(), key)


def mac(claims: Any, secret: bytes, alg: str = "HS256", **header: Any) -> str:
    start = f"{b64({'alg': alg, 'kid': 'rsa', 'typ': 'JWT'} | header)}.{b64(claims)}"
    return f"{start}.{b64(hmac.digest(secret, start.encode(), hashlib.new(alg.replace('HS', 'sha')).name))}"


def changed(name: str, *values: Any) -> list[tuple[str, Make]]:
    """Forgeries whose one claim is each of the values; ``...`` leaves it out."""
    return [
        (f"{name}={str(value)[:40]!r}", lambda _c, now, value=value: signed(claims_at(now, **{name: value})))
        for value in values
    ]


def headed(name: str, value: Any, key: Any = RSA) -> tuple[str, Make]:
    return (f"header {name} {type(value).__name__}", lambda c, _n: signed(c, key, **{name: value}))


def twice(claims: dict[str, Any], name: str, second: str) -> str:
    text = json.dumps(claims)[:-1] + f', "{name}": {second}}}'
    return signed(text)


PUBLIC = RSA.as_pem(private=False)
HUGE = "x" * TOKEN_CHARS_MAX

FORGED: list[tuple[str, Make]] = [
    # No signature, or one that anybody could make.
    ("none", lambda c, _n: f"{b64({'alg': 'none', 'typ': 'JWT'})}.{b64(c)}."),
    ("none with a signature", lambda c, _n: f"{b64({'alg': 'none', 'kid': 'rsa'})}.{b64(c)}.{b64('x')}"),
    ("None", lambda c, _n: f"{b64({'alg': 'None', 'kid': 'rsa'})}.{b64(c)}.{b64('x')}"),
    ("nOnE", lambda c, _n: f"{b64({'alg': 'nOnE', 'kid': 'rsa'})}.{b64(c)}.{b64('x')}"),
    ("alg empty", lambda c, _n: f"{b64({'alg': '', 'kid': 'rsa'})}.{b64(c)}.{b64('x')}"),
    ("alg missing", lambda c, _n: _bare(c, {"kid": "rsa", "typ": "JWT"}, b"x")),
    ("alg null", lambda c, _n: f"{b64({'alg': None, 'kid': 'rsa'})}.{b64(c)}.{b64('x')}"),
    ("alg a list", lambda c, _n: f"{b64({'alg': ['RS256'], 'kid': 'rsa'})}.{b64(c)}.{b64('x')}"),
    ("HS256 with the public key", lambda c, _n: mac(c, PUBLIC)),
    ("HS256 with the public key, trimmed", lambda c, _n: mac(c, PUBLIC.strip())),
    ("HS384 with the public key", lambda c, _n: mac(c, PUBLIC, "HS384")),
    ("HS512 with the public key", lambda c, _n: mac(c, PUBLIC, "HS512")),
    ("HS256 with the modulus", lambda c, _n: mac(c, RSA.as_dict(private=False)["n"].encode())),
    ("HS256 with nothing", lambda c, _n: mac(c, b"")),
    ("HS256 with the published shared key", lambda c, _n: mac(c, SHARED.raw_value, kid="oct")),
    ("RS256 that says HS256", lambda c, _n: _relabelled(c, "HS256")),
    ("RS256 that says PS256", lambda c, _n: _relabelled(c, "PS256")),
    ("RS256 that says ES256", lambda c, _n: _relabelled(c, "ES256")),
    ("RS512 is not allowed", lambda c, _n: signed(c, alg="RS512")),
    ("PS512 is not allowed", lambda c, _n: signed(c, alg="PS512")),
    ("ES384 is not allowed", lambda c, _n: signed(c, P384, "ES384")),
    ("ES256 with r and s of zero", lambda c, _n: _bare(c, {"alg": "ES256", "kid": "ec"}, bytes(64))),
    ("ES256 with an empty signature", lambda c, _n: _bare(c, {"alg": "ES256", "kid": "ec"}, b"")),
    ("signature cut off", lambda c, _n: signed(c)[:-6]),
    ("signature of other claims", lambda c, n: _grafted(c, claims_at(n, sub="admin"))),
    ("signature of another header", lambda c, _n: _reheaded(c)),
    # Keys that are not the issuer's.
    ("a stranger's key under a known id", lambda c, _n: signed(c, STRANGE)),
    ("an unknown key id", lambda c, _n: signed(c, STRANGE, kid="other")),
    ("an empty key id", lambda c, _n: signed(c, kid="")),
    ("no key id among several keys", lambda c, _n: signed(c, kid=...)),
    ("the id of another key", lambda c, _n: signed(c, kid="ec")),
    ("the id of an encryption key", lambda c, _n: signed(c, ENCRYPTING)),
    ("a path as key id", lambda c, _n: signed(c, STRANGE, kid="../../../../dev/null")),
    ("SQL as key id", lambda c, _n: signed(c, STRANGE, kid="rsa' UNION SELECT 'x")),
    ("a number as key id", lambda c, _n: signed(c, kid=1)),
    headed("jwk", STRANGE.as_dict(private=False), STRANGE),
    headed("jku", "https://evil.example/jwks", STRANGE),
    headed("x5u", "https://evil.example/cert.pem", STRANGE),
    headed("x5c", ["MIIB"], STRANGE),
    headed("crit", ["exp"]),
    headed("b64", False),
    headed("zip", "DEF"),
    headed("cty", "JWT"),
    headed("iss", URL),
    ("jku, though signed well", lambda c, _n: signed(c, jku=f"{URL}/jwks")),
    # Another kind of token.
    headed("typ", "at+jwt"),
    headed("typ", "logout+jwt"),
    headed("typ", "secevent+jwt"),
    headed("typ", "JWE"),
    headed("typ", ["JWT"]),
    # Form.
    ("empty", lambda _c, _n: ""),
    ("no token", lambda _c, _n: "hello"),
    ("two parts", lambda c, _n: signed(c).rpartition(".")[0]),
    ("two signatures", lambda c, _n: f"{signed(c)}.{signed(c).rpartition('.')[2]}"),
    ("five parts", lambda c, _n: f"{signed(c)}.x.y"),
    ("two signatures in JSON", lambda c, _n: _general(c)),
    ("one signature in JSON", lambda c, _n: _flattened(c)),
    ("a token in a token", lambda c, _n: signed(signed(c))),
    ("padding", lambda c, _n: signed(c) + "=="),
    ("a blank before it", lambda c, _n: " " + signed(c)),
    ("a line break behind it", lambda c, _n: signed(c) + "\n"),
    ("other base64", lambda c, _n: signed(c).replace("-", "+").replace("_", "/") + "+"),
    ("oversized", lambda _c, n: signed(claims_at(n, more=HUGE))),
    ("oversized header", lambda c, _n: signed(c, x5t=HUGE[:5_000])),
    ("deeply nested", lambda _c, _n: signed("[" * 9_000 + "]" * 9_000)),
    ("claims that are a list", lambda c, _n: signed(json.dumps([c]))),
    ("claims that are a text", lambda _c, _n: signed('"sub"')),
    ("claims that are no JSON", lambda _c, _n: signed("{sub: 1}")),
    ("claims in UTF-16", lambda c, _n: signed(json.dumps(c).encode("utf-16"))),
    ("claims with bytes that are no text", lambda c, _n: signed(json.dumps(c).encode() + b"\xff")),
    ("the audience twice", lambda c, _n: twice(c | {"aud": "evil"}, "aud", f'"{CLIENT}"')),
    ("the subject twice", lambda c, _n: twice(c, "sub", '"admin"')),
    ("an expiry that is no number", lambda c, _n: signed(json.dumps(c | {"exp": "@"}).replace('"@"', "NaN"))),
    ("an endless expiry", lambda c, _n: signed(json.dumps(c | {"exp": "@"}).replace('"@"', "Infinity"))),
    # Claims.
    *changed("iss", ..., None, "", "https://evil.example", URL + "/", URL.upper(), [URL], URL.replace("https", "http")),
    *changed("aud", ..., None, "", [], "other", "mandamus2", ["other"], [""], {"mandamus": 1}, 1, [CLIENT, 1]),
    *changed("aud", [CLIENT, "other"]),
    *changed("azp", "other", "", [CLIENT], 1),
    *changed("sub", ..., None, "", "  ", 1, ["a"], {"a": 1}, "a\nb", "\ud800", "x" * 2_000),
    *changed("exp", ..., None, 0, 1, -1, "9999999999", True, [9_999_999_999], {}),
    *changed("iat", ..., None, "1", 99_999_999_999, False),
    *changed("nbf", 99_999_999_999, "1", None, []),
    *changed("nonce", ..., None, "", "other", NONCE + "x", [NONCE], NONCE.upper(), 1, "\ud800"),
    *changed("groups", ..., None, "", [], [""], ["ops", ""], ["ops", 1], {"ops": 1}, [["ops"]], ["a\nb"], 1, True),
    ("expired by a minute", lambda _c, n: signed(claims_at(n, exp=n - 60))),
    ("not yet", lambda _c, n: signed(claims_at(n, nbf=n + 120))),
    ("issued tomorrow", lambda _c, n: signed(claims_at(n, iat=n + 86_400, exp=n + 90_000))),
    ("for two, and made for the other", lambda _c, n: signed(claims_at(n, aud=[CLIENT, "b"], azp="b"))),
]


def _bare(claims: Any, header: Mapping[str, Any], end: bytes) -> str:
    return f"{b64(header)}.{b64(claims)}.{b64(end)}"


def _relabelled(claims: Any, alg: str) -> str:
    start = f"{b64({'alg': alg, 'kid': 'rsa', 'typ': 'JWT'})}.{b64(claims)}"
    return f"{start}.{b64(signature(start, RSA, 'RS256'))}"


def _grafted(claims: Any, other: Any) -> str:
    head, _, end = signed(claims).split(".")
    return f"{head}.{b64(other)}.{end}"


def _reheaded(claims: Any) -> str:
    _, body, end = signed(claims).split(".")
    return f"{b64({'alg': 'RS256', 'kid': 'rsa'})}.{body}.{end}"


def _general(claims: Any) -> str:
    head, body, end = signed(claims).split(".")
    one = {"protected": head, "signature": end}
    return json.dumps({"payload": body, "signatures": [one, one]})


def _flattened(claims: Any) -> str:
    head, body, end = signed(claims).split(".")
    return json.dumps({"payload": body, "protected": head, "signature": end})


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (OKP, "EdDSA")])
def test_a_good_token_is_believed(issuer, clock, key, alg):
    """What the issuer signed for us, now, and with what was asked for, is believed, by each algorithm of the list."""
    claims = issuer.verify(signed(claims_at(clock.now_us() // 1_000_000), key, alg), EXPECTED)
    assert claims["sub"] == "248289761001"
    assert claims["groups"] == ["ops"]


def test_what_providers_leave_open_is_believed(issuer, clock):
    """A header without a type, a thumbprint, an audience of one in a list, and of two with who it is for, are good."""
    now_s = clock.now_us() // 1_000_000
    for token in (
        signed(claims_at(now_s), typ=...),
        signed(claims_at(now_s), typ="jwt", x5t="abc"),
        signed(claims_at(now_s, aud=[CLIENT])),
        signed(claims_at(now_s, aud=[CLIENT, "other"], azp=CLIENT)),
        signed(claims_at(now_s, groups="ops", exp=now_s - 10)),
    ):
        assert issuer.verify(token, EXPECTED)["sub"]


@pytest.mark.parametrize(("name", "make"), FORGED, ids=[name for name, _ in FORGED])
def test_a_forged_token_is_refused(issuer, clock, name, make):
    """Whatever is wrong with a token, it is refused as such: never an error of another kind, and never believed."""
    now_s = clock.now_us() // 1_000_000
    token = make(claims_at(now_s), now_s)
    with pytest.raises(MandamusError) as caught:
        issuer.verify(token, EXPECTED)
    assert caught.value.code is Code.UNAUTHENTICATED
    assert caught.value.context["why"]


def test_there_are_enough_forgeries():
    """At least 60 different ones are tried, and no two are the same."""
    assert len({name for name, _ in FORGED}) >= 60


def test_a_token_without_a_key_id_is_good_when_there_is_one_key(issuer, provider, clock):
    """Who has one key need not name it."""
    provider.keys = [RSA.as_dict(private=False)]
    assert issuer.verify(signed(claims_at(clock.now_us() // 1_000_000), kid=...), EXPECTED)


def test_new_keys_are_found_and_forged_ids_do_not_hammer_the_issuer(issuer, provider, clock):
    """An unknown key id has the keys fetched again, at most once in a while, however many such tokens come."""
    now_s = clock.now_us() // 1_000_000
    issuer.verify(signed(claims_at(now_s)), EXPECTED)
    new = jwk.ECKey.generate_key("P-256", {"kid": "new"})
    provider.keys = [new.as_dict(private=False)]
    for _ in range(5):
        with pytest.raises(MandamusError):
            issuer.verify(signed(claims_at(now_s), STRANGE, kid="forged"), EXPECTED)
    assert len(provider.asked) == 2
    clock.advance(REFETCH_S + 1)
    now_s = clock.now_us() // 1_000_000
    assert issuer.verify(signed(claims_at(now_s), new, "ES256"), EXPECTED)
    with pytest.raises(MandamusError):
        issuer.verify(signed(claims_at(now_s)), EXPECTED)
    assert len(provider.asked) == 4


def test_keys_are_kept_for_a_while_and_not_longer(issuer, provider, clock):
    """A key that the issuer took away is good for no longer than keys are kept, and never when nobody answers."""
    issuer.verify(signed(claims_at(clock.now_us() // 1_000_000)), EXPECTED)
    clock.advance(KEEP_S + 1)
    provider.down = True
    for _ in range(5):
        with pytest.raises(MandamusError) as caught:
            issuer.verify(signed(claims_at(clock.now_us() // 1_000_000)), EXPECTED)
        assert caught.value.code is Code.UNAVAILABLE
    assert len(provider.asked) == 3, "one that is down is not asked by everybody who waits"
    provider.down = False
    clock.advance(FAILED_S + 1)
    assert issuer.verify(signed(claims_at(clock.now_us() // 1_000_000)), EXPECTED)


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"issuer": URL + "/"},
        {"issuer": None},
        {"jwks_uri": "http://login.example.org/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
    ],
)
def test_a_provider_that_is_not_who_it_should_be_is_no_provider(issuer, provider, clock, change):
    """Metadata of another issuer, and keys that anybody on the way could change, are not believed."""
    provider.metadata |= change
    with pytest.raises(MandamusError) as caught:
        issuer.verify(signed(claims_at(clock.now_us() // 1_000_000)), EXPECTED)
    assert caught.value.code is Code.UNAVAILABLE


def test_keys_that_could_not_have_signed_are_no_keys(issuer, provider, clock):
    """Shared, private, encrypting, small and unknown keys are left out; without any other there is none to believe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = jwk.RSAKey.generate_key(1024, {"kid": "small"}).as_dict(private=False)
    provider.keys = [
        SHARED.as_dict(private=True),
        RSA.as_dict(private=True),
        ENCRYPTING.as_dict(private=False),
        small,
        {"kty": "RSA", "kid": "broken"},
        {"kty": "AKP", "kid": "new"},
        "no key",
    ]
    with pytest.raises(MandamusError) as caught:
        issuer.verify(signed(claims_at(clock.now_us() // 1_000_000)), EXPECTED)
    assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://login.example.org", True),
        ("http://127.0.0.1:3000", True),
        ("http://localhost:3000", True),
        ("http://[::1]:3000", True),
        ("http://login.example.org", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1@evil.example", False),
        ("https://user:word@login.example.org", False),
        ("https://login.example.org#part", False),
        ("https://", False),
        ("ftp://127.0.0.1", False),
        ("https://login.example.org:0", False),
        ("https://login.example.org:port", False),
        ("https://exämple.org", False),
        (None, False),
    ],
)
def test_only_what_cannot_be_changed_on_its_way_is_asked(url, good):
    """Plain HTTP is for this machine alone."""
    assert is_secure(url) is good
