"""``.signatures.json`` of an OPA bundle: who vouches for which files, and whether they are those.

The document holds one JSON Web Signature (RFC 7515) over a list of every file with its hash. The hash of a data file or
manifest is taken over its JSON with sorted keys, so that white space does not count; that of any other file over its
bytes (OPA: v1/bundle/hash.go, verify.go).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy import bundle_data

FILE = ".signatures.json"
ANY = ""
"""The id under which a key stands that is used whatever id a bundle names."""

KEY_BYTES_MAX = 1 << 20
_RSA_BITS_MIN = 2048
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_SHA: Mapping[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA = tuple(f"{family}{size}" for family in ("RS", "PS") for size in _SHA)
_HMAC = tuple(f"HS{size}" for size in _SHA)
ALGORITHMS = (*_CURVES, *_RSA, *_HMAC)
"""What a bundle can be signed with (RFC 7518, section 3.1)."""

_HASHES = {
    "SHA-224": "sha224",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA-512-224": "sha512_224",
    "SHA-512-256": "sha512_256",
}
"""OPA's names; its MD5 and SHA-1 are left out, since two files can have the same."""

_STRUCTURED = frozenset({"data.json", "data.yaml", ".manifest"})
_MINE = "SHA-256"

Public = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | bytes
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | bytes


@dataclass(frozen=True)
class Key:
    """What a signature is verified with: a public key or a shared secret, for these algorithms and this scope only."""

    public: Public
    algorithms: tuple[str, ...]
    scope: str = ""


@dataclass(frozen=True)
class SigningKey:
    """What a bundle is signed with; ``id`` is the name under which those who verify know it."""

    private: Private
    algorithm: str
    id: str
    scope: str = ""


def read_key(path: Path, algorithm: str = "", scope: str = "") -> Key:
    """A public key or certificate (PEM) or, where the algorithm is of HMAC, the secret that the file holds.

    Without an algorithm a public key verifies those of its kind. Raises ``value_invalid`` for what is no such key.
    """
    data = _key_bytes(path, algorithm)
    public: Any = data
    if algorithm not in _HMAC:
        try:
            if b"-----BEGIN CERTIFICATE-----" in data:
                public = x509.load_pem_x509_certificate(data).public_key()
            else:
                public = serialization.load_pem_public_key(data)
        except ValueError as error:
            _refuse_key(path, f"is no public key in PEM ({error})", "give the public key; a secret needs --algorithm")
    return Key(public, _fitting(path, public, algorithm), scope)


def read_signing_key(path: Path, key_id: str, algorithm: str = "", scope: str = "") -> SigningKey:
    """A private key (PEM, without a password) or the secret that the file holds; raises as `read_key`."""
    data = _key_bytes(path, algorithm)
    private: Any = data
    if algorithm not in _HMAC:
        try:
            private = serialization.load_pem_private_key(data, None)
        except (ValueError, TypeError) as error:
            _refuse_key(path, f"is no private key in PEM without a password ({error})", "give the private key")
    public = private if isinstance(private, bytes) else private.public_key()
    return SigningKey(private, _fitting(path, public, algorithm)[0], key_id, scope)


def sign(files: Mapping[str, bytes], key: SigningKey) -> bytes:
    """The ``.signatures.json`` for these files by name; always the same, but for the PS algorithms, which draw salt."""
    listed = [{"name": name, "hash": file_hash(name, data, _MINE), "algorithm": _MINE} for name, data in files.items()]
    # `keyid` is what OPA read before it looked at the header.
    payload = {"files": listed, "keyid": key.id, **({"scope": key.scope} if key.scope else {})}
    header = {"alg": key.algorithm, "kid": key.id}
    signed = b".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (header, payload))
    token = signed + b"." + _encoded(_signature(key, signed))
    return json.dumps({"signatures": [token.decode()]}).encode() + b"\n"


def verify(document: bytes, keys: Mapping[str, Key]) -> tuple[str, Mapping[str, tuple[str, str]]]:
    """The id of the key that signed, and hash and algorithm of every file by name.

    Raises ``value_invalid`` for anything but one signature by one of the keys, in the scope of that key.
    """
    content = _object(document, "the document")
    tokens = content.get("signatures")
    if content.get("plugin") not in (None, "", "_default"):
        _refuse(f"it is for the plugin {content['plugin']!r}", "sign the bundle with `opa sign` without a plugin")
    if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
        _refuse("it does not hold exactly one signature", "sign the bundle once")
    parts = tokens[0].split(".")
    if len(parts) != 3:
        _refuse("the signature has not three parts", "sign the bundle again")
    header, payload, given = (_decoded(part) for part in parts)
    said = _object(header, "the header")
    claims = _object(payload, "the payload")
    if "crit" in said or said.get("b64", True) is not True:
        _refuse("the header demands what nobody here understands", "sign the bundle with `opa sign`")
    key_id = str(said.get("kid") or claims.get("keyid") or ANY)
    key = keys.get(key_id) or keys.get(ANY)
    if key is None:
        _refuse(f"it is signed by the key {key_id!r}, which is not trusted", "name the key it is signed with")
    algorithm = said.get("alg")
    if algorithm not in key.algorithms:
        fit = ", ".join(key.algorithms)
        _refuse(f"it is signed by {algorithm!r}, and this key verifies {fit}", "name the algorithm of the key")
    if not _verifies(key.public, str(algorithm), ".".join(parts[:2]).encode(), given):
        _refuse(f"the signature is not by the key {key_id!r}", "get the bundle and the key from where you trust them")
    if claims.get("scope", "") != key.scope:
        _refuse(f"its scope is {claims.get('scope', '')!r}, and this key's is {key.scope!r}", "name the right scope")
    return key_id, _listed(claims)


def mismatches(listed: Mapping[str, tuple[str, str]], files: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Every file that is not vouched for, or vouched for and not there or another one: its name, and what is wrong."""
    for name, data in files.items():
        if name not in listed:
            yield name, "is not in the list that is signed"
            continue
        wanted, algorithm = listed[name]
        try:
            found = file_hash(name, data, algorithm)
        except MandamusError as error:
            yield name, f"cannot be compared with what is signed: {error.message}"
            continue
        if found != wanted.lower():
            yield name, "is not the file that was signed: its hash is another"
    for name in listed.keys() - files.keys():
        yield name, "is in the list that is signed and is not there"


def file_hash(name: str, data: bytes, algorithm: str) -> str:
    """The hex hash of a file as OPA takes it; raises ``value_invalid`` when it cannot be taken."""
    made = _HASHES.get(algorithm)
    if made is None or made not in hashlib.algorithms_available:
        _refuse(f"the hash {algorithm!r} is not trusted", f"sign the bundle with {_MINE}")
    base = name.rpartition("/")[2]
    content = bundle_data.hashed_form(base, data) if base in _STRUCTURED else data
    return hashlib.new(made, content).hexdigest()


def _listed(claims: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    files = claims.get("files")
    for each in files if isinstance(files, list) else ():
        values = [str(each.get(key, "")) for key in ("name", "hash", "algorithm")] if isinstance(each, dict) else []
        if not all(values) or not values:
            _refuse("its list of files is none", "sign the bundle with `opa sign`")
        name, digest, algorithm = values
        if name in found:
            _refuse(f"it lists {name!r} twice", "sign the bundle again")
        found[name] = (digest, algorithm)
    if not found:
        _refuse("it lists no file", "sign the bundle with `opa sign`")
    return found


def _signature(key: SigningKey, signed: bytes) -> bytes:
    algorithm = _SHA[key.algorithm[2:]]
    if isinstance(key.private, bytes):
        return hmac.digest(key.private, signed, f"sha{key.algorithm[2:]}")
    if isinstance(key.private, rsa.RSAPrivateKey):
        return key.private.sign(signed, _padding(key.algorithm, algorithm, padding.PSS.DIGEST_LENGTH), algorithm)
    # Deterministic (RFC 6979), so that the same set gives the same archive.
    r, s = decode_dss_signature(key.private.sign(signed, ec.ECDSA(algorithm, deterministic_signing=True)))
    size = (key.private.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _verifies(public: Public, name: str, signed: bytes, given: bytes) -> bool:
    algorithm = _SHA[name[2:]]
    try:
        if isinstance(public, bytes):
            return hmac.compare_digest(hmac.digest(public, signed, f"sha{name[2:]}"), given)
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(given, signed, _padding(name, algorithm, padding.PSS.AUTO), algorithm)
            return True
        size = (public.curve.key_size + 7) // 8
        if len(given) != 2 * size:
            return False
        r, s = int.from_bytes(given[:size], "big"), int.from_bytes(given[size:], "big")
        public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(algorithm))
    except InvalidSignature:
        return False
    return True


def _padding(name: str, algorithm: hashes.HashAlgorithm, salt: Any) -> padding.PKCS1v15 | padding.PSS:
    return padding.PKCS1v15() if name.startswith("RS") else padding.PSS(padding.MGF1(algorithm), salt)


def _key_bytes(path: Path, algorithm: str) -> bytes:
    if algorithm and algorithm not in ALGORITHMS:
        _refuse_key(path, f"cannot be used with {algorithm!r}", f"choose from {', '.join(ALGORITHMS)}")
    try:
        with path.open("rb") as file:
            data = file.read(KEY_BYTES_MAX + 1)
    except OSError as error:
        _refuse_key(path, f"cannot be read: {error.strerror}", "name the file that holds the key")
    if not data or len(data) > KEY_BYTES_MAX:
        _refuse_key(path, "is empty or far too large for a key", "name the file that holds the key")
    if algorithm in _HMAC and b"-----BEGIN" in data:
        # Whoever knows a public key could sign with it, if it were taken as a secret.
        _refuse_key(path, "holds a key in PEM, which is no secret", "choose an algorithm of that key")
    return data


def _fitting(path: Path, public: Any, algorithm: str) -> tuple[str, ...]:
    """The algorithms that a key is good for, its usual one first; the one asked for, when it is one of them."""
    fit: tuple[str, ...] = ()
    if isinstance(public, bytes):
        fit = _HMAC
    elif isinstance(public, rsa.RSAPublicKey) and public.key_size >= _RSA_BITS_MIN:
        fit = _RSA
    elif isinstance(public, ec.EllipticCurvePublicKey):
        fit = tuple(name for name, curve in _CURVES.items() if curve == public.curve.name)
    if not fit:
        _refuse_key(
            path, "is a kind of key that OPA does not sign with, or a weak one", "use P-256, or RSA of 2048 bits"
        )
    if algorithm and algorithm not in fit:
        _refuse_key(path, f"is no key for {algorithm}", f"it is one for {', '.join(fit)}")
    return (algorithm,) if algorithm else fit


def _object(data: bytes, what: str) -> dict[str, Any]:
    value = bundle_data.parse_json(data)
    if not isinstance(value, dict):
        _refuse(f"{what} is no JSON object", "sign the bundle again")
    return value


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decoded(text: str) -> bytes:
    data = base64.urlsafe_b64decode(text + "==") if _BASE64URL.fullmatch(text) else b""
    # Compared, since several texts could be one signature otherwise.
    if not data or _encoded(data).decode() != text:
        _refuse("a part of the signature is not base64url", "sign the bundle again")
    return data


def _refuse(message: str, remedy: str) -> NoReturn:
    raise MandamusError(Code.VALUE_INVALID, message, remedy=remedy)


def _refuse_key(path: Path, message: str, remedy: str) -> NoReturn:
    _refuse(f"{path} {message}", remedy)
