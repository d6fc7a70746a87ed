"""Timestamps of RFC 3161, pure: the request for some data, and what a server's answer proves about it (RFC 5652)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from mandamus.audit import der
from mandamus.audit.der import DerError, Value
from mandamus.kernel.errors import Code, MandamusError

_SHA256 = "2.16.840.1.101.3.4.2.1"
_HASHES: dict[str, hashes.HashAlgorithm] = {
    _SHA256: hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
_SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
_PSS = "1.2.840.113549.1.1.10"
_GRANTED = (0, 1)
_CONTEXT_0 = 0xA0
_CHAIN_MAX = 8
_ODD = (
    ValueError,
    TypeError,
    LookupError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
"""What reading an answer raises that is not what it should be."""


@dataclass(frozen=True)
class Timestamp:
    """What a verified answer says: the data was there at that time (UTC), by the server whose certificate this is."""

    at: datetime
    serial: int
    signer: str


def request(data: bytes, nonce: int) -> bytes:
    """A TimeStampReq for the data (SHA-256) that asks for the server's certificate."""
    algorithm = der.write(der.SEQUENCE, der.oid(_SHA256), der.write(der.NULL))
    imprint = der.write(der.SEQUENCE, algorithm, der.write(der.OCTETS, hashlib.sha256(data).digest()))
    return der.write(der.SEQUENCE, der.integer(1), imprint, der.integer(nonce), der.write(der.BOOLEAN, b"\xff"))


def verify(answer: bytes, data: bytes, roots: Sequence[x509.Certificate], nonce: int | None = None) -> Timestamp:
    """What a TimeStampResp proves about the data; ``nonce`` is the request's, when it is still known.

    Raises ``audit_tampered`` when it proves nothing, ``audit_untrusted`` when no trusted root stands behind it.
    """
    try:
        return _verify(answer, data, roots, nonce)
    except _ODD as error:
        raise _no_proof(str(error) or "its signature does not fit") from error


def stamps(roots: bytes) -> Callable[[bytes, bytes], str]:
    """A check of answers against the certificates in a PEM file; it tells who stamped the data, and when.

    Raises ``value_invalid`` when there are none.
    """
    try:
        trusted = x509.load_pem_x509_certificates(roots)
    except ValueError as error:
        raise MandamusError(
            Code.VALUE_INVALID,
            "the file for --tsa holds no certificate",
            remedy="give the timestamp server's root certificate (PEM), from where you trust it",
        ) from error

    def told(answer: bytes, data: bytes) -> str:
        found = verify(answer, data, trusted)
        return f"stamped at {found.at.isoformat()} by {found.signer}"

    return told


def _verify(answer: bytes, data: bytes, roots: Sequence[x509.Certificate], nonce: int | None) -> Timestamp:
    response = der.parse(answer).expect(der.SEQUENCE).parts()
    status = response[0].expect(der.SEQUENCE).parts()[0].number
    if status not in _GRANTED or len(response) != 2:
        raise DerError(f"the server did not grant it (status {status})")
    signed = _Signed(response[1])
    info = _info(signed.content, data, nonce)
    certificate = signed.verified()
    _trusted(certificate, signed.certificates, roots, info.at)
    return Timestamp(info.at, info.serial, certificate.subject.rfc4514_string())


@dataclass(frozen=True)
class _Info:
    at: datetime
    serial: int


def _info(content: bytes, data: bytes, nonce: int | None) -> _Info:
    """The TSTInfo, once it speaks of the data and answers the request."""
    parts = der.parse(content).expect(der.SEQUENCE).parts()
    algorithm, digest = parts[2].expect(der.SEQUENCE).parts()
    made = hashes.Hash(_HASHES[algorithm.parts()[0].oid])
    made.update(data)
    if made.finalize() != digest.expect(der.OCTETS).content:
        raise DerError("it is a timestamp of other data")
    told = [part.number for part in parts[5:] if part.tag == der.INTEGER]
    if nonce is not None and told != [nonce]:
        raise DerError("it answers another request")
    text = parts[4].expect(der.TIME).content.decode("ascii")
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    at = datetime.strptime(seconds, "%Y%m%d%H%M%S").replace(tzinfo=UTC, microsecond=int((fraction + "000000")[:6]))
    return _Info(at, parts[3].number)


class _Signed:
    """A SignedData with one signer."""

    def __init__(self, token: Value) -> None:
        kind, wrapped = token.expect(der.SEQUENCE).parts()
        data = wrapped.expect(_CONTEXT_0).parts()[0].expect(der.SEQUENCE).parts()
        content_kind, content = data[2].expect(der.SEQUENCE).parts()
        if (kind.oid, content_kind.oid) != (_SIGNED_DATA, _TST_INFO):
            raise DerError("it is no timestamp token")
        self.content = content.expect(_CONTEXT_0).parts()[0].expect(der.OCTETS).content
        found = [part for part in data[3:-1] if part.tag == _CONTEXT_0]
        self.certificates = [x509.load_der_x509_certificate(each.whole) for part in found for each in part.parts()]
        (signer,) = data[-1].expect(der.SET).parts()
        self._signer = signer.expect(der.SEQUENCE).parts()

    def verified(self) -> x509.Certificate:
        """The certificate whose key signed the content; raises when none did."""
        _, sid, algorithm, attributes, signature_algorithm, signature = self._signer[:6]
        hashed = _HASHES[algorithm.parts()[0].oid]
        if signature_algorithm.parts()[0].oid == _PSS:
            raise DerError("signatures of the kind RSA-PSS are not supported")
        said = {
            each.parts()[0].oid: each.parts()[1].expect(der.SET).parts()
            for each in attributes.expect(_CONTEXT_0).parts()
        }
        digest = hashes.Hash(hashed)
        digest.update(self.content)
        if said[_CONTENT_TYPE][0].oid != _TST_INFO or said[_MESSAGE_DIGEST][0].content != digest.finalize():
            raise DerError("the signature is about another content")
        certificate = self._certificate(sid)
        _bound(certificate, said)
        # What is signed is the attributes as a SET, not with the tag under which they travel (RFC 5652, section 5.4).
        _check(certificate, signature.expect(der.OCTETS).content, b"\x31" + attributes.whole[1:], hashed)
        return certificate

    def _certificate(self, sid: Value) -> x509.Certificate:
        issuer, serial = sid.expect(der.SEQUENCE).parts()
        for each in self.certificates:
            if each.issuer.public_bytes() == issuer.whole and each.serial_number == serial.number:
                return each
        raise DerError("the signer's certificate is not in it")


def _bound(certificate: x509.Certificate, said: dict[str, list[Value]]) -> None:
    """The signer must have signed which certificate is meant (RFC 3161 section 2.4.1, RFC 5816)."""
    v2 = _SIGNING_CERTIFICATE_V2 in said
    first = said[_SIGNING_CERTIFICATE_V2 if v2 else _SIGNING_CERTIFICATE][0].parts()[0].parts()[0].parts()
    named = first[0].tag == der.SEQUENCE
    algorithm: hashes.HashAlgorithm = hashes.SHA256() if v2 else hashes.SHA1()  # noqa: S303 - the old attribute's only one
    if named:
        algorithm = _HASHES[first[0].parts()[0].oid]
    if certificate.fingerprint(algorithm) != first[int(named)].expect(der.OCTETS).content:
        raise DerError("the signature names another certificate")


def _check(certificate: x509.Certificate, signature: bytes, data: bytes, hashed: hashes.HashAlgorithm) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), hashed)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(hashed))
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, data)
    else:
        raise DerError("the server's key is of a kind that is not supported")


def _trusted(
    certificate: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], at: datetime
) -> None:
    """A path from the certificate to a root, each valid at that time; the certificate is for timestamps and no more."""
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise _untrusted("its certificate is not one for timestamps alone")
    at_end = certificate
    for _ in range(_CHAIN_MAX):
        if not at_end.not_valid_before_utc <= at <= at_end.not_valid_after_utc:
            raise _untrusted(f"the certificate of {at_end.subject.rfc4514_string()} was not valid at that time")
        if at_end in roots:
            return
        issuer = next((each for each in [*roots, *others] if each != at_end and _issued(each, at_end)), None)
        if issuer is None:
            raise _untrusted(f"no trusted certificate stands behind {at_end.subject.rfc4514_string()}")
        at_end = issuer
    raise _untrusted("its chain of certificates is too long")


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        return issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except _ODD:
        return False


def _no_proof(why: str) -> MandamusError:
    return MandamusError(
        Code.AUDIT_TAMPERED,
        f"the timestamp proves nothing: {why}",
        remedy="compare with a copy kept elsewhere; `openssl ts -verify` says what it thinks of it",
    )


def _untrusted(why: str) -> MandamusError:
    return MandamusError(
        Code.AUDIT_UNTRUSTED,
        f"the timestamp is not trusted: {why}",
        remedy="give the timestamp server's root certificate (PEM) as `roots`, from where you trust it",
    )
