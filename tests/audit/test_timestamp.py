"""Timestamps of RFC 3161, asked of OpenSSL's `ts` behind a small server, and what a changed one is worth."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509

from mandamus.audit import der, timestamp
from mandamus.audit.anchor_check import Named
from mandamus.audit.anchor_rfc3161 import TimestampAnchor
from mandamus.audit.model import Verdict
from mandamus.audit.post import post
from mandamus.audit.service import Audit
from mandamus.kernel.access import Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy
from mandamus.operations.anchoring import Anchoring
from mandamus.store.database import Database

DATA = b"some data\n"
NONCE = 0x8000_0000_0000_0001
CONFIG = """
[ tsa ]
default_tsa = tsa1
[ tsa1 ]
serial = {folder}/serial
signer_cert = {folder}/{name}.pem
signer_key = {folder}/{name}.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = {ess}
[ req ]
distinguished_name = dn
prompt = no
[ dn ]
CN = {name}
[ ca ]
basicConstraints = critical,CA:true
[ stamps ]
basicConstraints = critical,CA:false
extendedKeyUsage = critical,timeStamping
[ web ]
basicConstraints = critical,CA:false
extendedKeyUsage = critical,timeStamping,serverAuth
"""


class Tsa:
    """A timestamp authority of OpenSSL's in a folder: a root, and a certificate for timestamps."""

    def __init__(self, folder: Path, kind: str = "rsa", ess: str = "sha256") -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "serial").write_text("01\n")
        for name in ("root", "tsa"):
            text = CONFIG.format(folder=folder, name=name, ess=ess)
            (folder / f"{name}.cnf").write_text(text)
        key = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        self.openssl("req", "-x509", "-newkey", *key, *self._new("root"), "-extensions", "ca", "-days", "30")
        self.openssl("req", "-new", "-newkey", *key, *self._new("tsa"))
        self.issue("stamps")

    def _new(self, name: str) -> list[str]:
        out = ".pem" if name == "root" else ".csr"
        files = ["-keyout", f"{self.folder}/{name}.key", "-out", f"{self.folder}/{name}{out}"]
        return ["-nodes", "-config", f"{self.folder}/{name}.cnf", *files]

    def issue(self, extensions: str) -> None:
        """Have the root certify the key."""
        files = ["-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-in", "tsa.csr", "-out", "tsa.pem"]
        self.openssl("x509", "-req", *files, "-days", "9", "-extfile", "tsa.cnf", "-extensions", extensions)

    def openssl(self, *words: str) -> str:
        """Run it in the folder."""
        environ = {"PATH": os.environ["PATH"]}
        command = ["openssl", *words]
        made = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, check=False)
        assert made.returncode == 0, made.stderr.decode()
        return made.stdout.decode()

    def answer(self, query: bytes) -> bytes:
        """A TimeStampResp for a query."""
        (self.folder / "q.tsq").write_bytes(query)
        self.openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "q.tsq", "-out", "a.tsr")
        return (self.folder / "a.tsr").read_bytes()

    def certificate(self) -> x509.Certificate:
        """The newest one that was issued."""
        return x509.load_pem_x509_certificate((self.folder / "tsa.pem").read_bytes())

    @property
    def roots(self) -> list[x509.Certificate]:
        """What whoever trusts it trusts."""
        return x509.load_pem_x509_certificates((self.folder / "root.pem").read_bytes())


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa") / "tsa")


@pytest.fixture(scope="module")
def answer(tsa: Tsa) -> bytes:
    return tsa.answer(timestamp.request(DATA, NONCE))


def test_openssl_answers_and_we_believe(tsa: Tsa, answer: bytes) -> None:
    """Our request is one, and its answer proves what it should."""
    (tsa.folder / "q.tsq").write_bytes(timestamp.request(DATA, NONCE))
    shown = tsa.openssl("ts", "-query", "-in", "q.tsq", "-text")
    assert "Hash Algorithm: sha256" in shown
    assert "0x8000000000000001" in shown.lower()
    assert "Certificate required: yes" in shown
    made = timestamp.verify(answer, DATA, tsa.roots, NONCE)
    assert made.signer == "CN=tsa"
    assert made.at.year >= 2026


@pytest.mark.parametrize(("kind", "ess"), [("ec", "sha256"), ("rsa", "sha1"), ("rsa", "sha512")])
def test_other_keys_and_attributes(tmp_path: Path, kind: str, ess: str) -> None:
    """Servers sign with elliptic curves, too, and name their certificate by the old attribute or by other hashes."""
    other = Tsa(tmp_path / "other", kind, ess)
    found = other.answer(timestamp.request(DATA, NONCE))
    assert timestamp.verify(found, DATA, other.roots, NONCE)


def test_of_other_data_it_says_nothing(tsa: Tsa, answer: bytes) -> None:
    """Neither for other data nor for another request."""
    for data, nonce in ((DATA + b"x", NONCE), (DATA, NONCE + 1)):
        with pytest.raises(MandamusError) as error:
            timestamp.verify(answer, data, tsa.roots, nonce)
        assert error.value.code is Code.AUDIT_TAMPERED


def test_no_root_no_trust(tsa: Tsa, answer: bytes, tmp_path: Path) -> None:
    """A server of another root, and a certificate for other uses as well, are not believed."""
    other = Tsa(tmp_path / "other")
    with pytest.raises(MandamusError) as error:
        timestamp.verify(answer, DATA, other.roots)
    assert error.value.code is Code.AUDIT_UNTRUSTED
    with pytest.raises(MandamusError) as error:
        timestamp.verify(answer, DATA, [])
    assert error.value.code is Code.AUDIT_UNTRUSTED


def test_a_certificate_counts_in_its_time_and_for_timestamps_alone(tsa: Tsa, answer: bytes, tmp_path: Path) -> None:
    """One that was not valid then, or that is for web servers as well, has no say (RFC 3161, section 2.3)."""
    at = timestamp.verify(answer, DATA, tsa.roots).at
    good = tsa.certificate()
    timestamp._trusted(good, [], tsa.roots, at)
    other = Tsa(tmp_path / "other")
    other.issue("web")
    for certificate, roots, moment in (
        (good, tsa.roots, at - timedelta(days=1)),
        (good, tsa.roots, at + timedelta(days=20)),
        (other.certificate(), other.roots, at + timedelta(minutes=1)),
    ):
        with pytest.raises(MandamusError) as error:
            timestamp._trusted(certificate, [], roots, moment)
        assert error.value.code is Code.AUDIT_UNTRUSTED


def test_no_other_certificate_of_the_same_key(tsa: Tsa, answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server signs which certificate it means, so that nobody can put another one in its place (RFC 5816)."""
    tsa.issue("stamps")
    again = tsa.certificate()
    monkeypatch.setattr(timestamp._Signed, "_certificate", lambda _self, _sid: again)
    with pytest.raises(MandamusError, match="another certificate"):
        timestamp.verify(answer, DATA, tsa.roots)


def test_every_changed_byte_is_noticed(tsa: Tsa, answer: bytes) -> None:
    """No byte of an answer that was signed can change, and what cannot be read is refused, not a crash.

    Some bytes are signed by nobody (the status, the certificates' place, version numbers, names of algorithms); when
    one of them changes, what the answer says stays the same.
    """
    expected = timestamp.verify(answer, DATA, tsa.roots, NONCE)
    noticed = 0
    for at in range(len(answer)):
        changed = answer[:at] + bytes([answer[at] ^ 0x01]) + answer[at + 1 :]
        try:
            found = timestamp.verify(changed, DATA, tsa.roots, NONCE)
        except MandamusError:
            noticed += 1
        else:
            assert found == expected
    assert noticed > len(answer) * 0.97


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x80\x00\x00",
        b"\x30\x81\x01\x00",
        b"\x30\x82\x00\x80" + b"\x00" * 128,
        b"\x30\x05\x02\x01",
        b"\x30\x00\x30\x00",
        b"\x30\x05\x30\x03\x02\x01\x02",
        b"\x3f\x01\x00",
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    """Garbage, indefinite lengths, lengths that are not the shortest, and a refusal prove nothing."""
    with pytest.raises(MandamusError) as error:
        timestamp.verify(data, DATA, [])
    assert error.value.code is Code.AUDIT_TAMPERED


@pytest.mark.parametrize("number", [0, 1, 127, 128, 255, 256, 2**63, 2**64 - 1])
def test_numbers_are_written_as_they_are_read(number: int) -> None:
    """DER's numbers have a sign, and no byte too many."""
    assert der.parse(der.integer(number)).number == number


def test_names_are_written_as_they_are_read() -> None:
    """Object identifiers, with arcs of several bytes."""
    for name in ("1.2.840.113549.1.9.16.1.4", "2.16.840.1.101.3.4.2.1", "0.9.2342", "2.5.29.37"):
        assert der.parse(der.oid(name)).oid == name


# --- the anchor -------------------------------------------------------------------------------------------------------


@pytest.fixture
def url(tsa: Tsa) -> Iterator[str]:
    """The authority over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/timestamp-query"
            body = tsa.answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/tsr"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "stamps"
    made.mkdir()
    return made


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """One is enough."""
    return sqlite_database


def test_a_checkpoint_gets_its_time(
    tsa: Tsa,
    url: str,
    place: Path,
    audit: Audit,
    write: Callable[..., object],
    database: Database,
    clock: Clock,
    entropy: Entropy,
    who: Subject,
) -> None:
    """The proof stands beside the checkpoint, OpenSSL believes it as well, and a changed one is found."""
    anchor = TimestampAnchor(url, place, tsa.folder / "root.pem", post, entropy)
    anchoring = Anchoring(database, audit, lambda: [Named("tsa", 60, anchor)], clock)
    for _ in range(2):
        write(audit, 3)
        (result,) = anchoring.anchor(who, now=True)
        assert result.state == "anchored", result.error
    assert anchor.put(audit.flush()).token
    assert anchoring.verify(who).problems == ()
    proof = Path(result.ref)
    files = ["-data", str(proof.with_suffix(".checkpoint")), "-in", str(proof), "-CAfile", "root.pem"]
    assert "Verification: OK" in tsa.openssl("ts", "-verify", *files)
    data = proof.read_bytes()
    proof.chmod(0o644)
    proof.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    report = anchoring.verify(who)
    assert report.outcome is Verdict.TAMPERED
    assert report.problems[0].file == str(proof)


def test_a_server_that_is_not_trusted_anchors_nothing(
    url: str, place: Path, audit: Audit, tmp_path: Path, entropy: Entropy
) -> None:
    """What comes from another root is not kept."""
    other = Tsa(tmp_path / "other")
    with pytest.raises(MandamusError) as error:
        TimestampAnchor(url, place, other.folder / "root.pem", post, entropy).put(audit.flush())
    assert error.value.code is Code.AUDIT_UNTRUSTED
    assert not list(place.rglob("*.tsr"))
