"""What witnesses and timestamp servers said since a run was sealed travels in its bundle, and is verified on demand."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest

from mandamus.audit import cosign
from mandamus.audit.anchor_check import Named
from mandamus.audit.anchor_rfc3161 import TimestampAnchor
from mandamus.audit.cosign import Cosigner
from mandamus.audit.model import Checkpoint, Verdict
from mandamus.audit.note import parse
from mandamus.audit.post import Answer
from mandamus.audit.quorum import parse_policy
from mandamus.audit.signer import Signer
from mandamus.audit.timestamp import stamps
from mandamus.evidence.later import Demands
from mandamus.evidence.model import ANCHORED, STAMP, WITNESSED
from mandamus.evidence.verify import verify
from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations.anchoring import Anchoring

NORTH = Signer("north.example.com/w", b"\x21" * 32)
CONFIG = """
[ tsa ]
default_tsa = tsa1
[ tsa1 ]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
[ req ]
distinguished_name = dn
prompt = no
[ dn ]
CN = notary
[ stamps ]
basicConstraints = critical,CA:false
extendedKeyUsage = critical,timeStamping
"""


@pytest.fixture(scope="module")
def notary(tmp_path_factory):
    """A timestamp server's folder: its certificate, which signs itself, and its key; OpenSSL makes the answers."""
    folder = tmp_path_factory.mktemp("notary")
    (folder / "cnf").write_text(CONFIG)
    (folder / "serial").write_text("01\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "tsa.key"]
    _openssl(folder, "req", "-x509", *key, "-config", "cnf", "-extensions", "stamps", "-days", "30", "-out", "tsa.pem")
    return folder


def _openssl(folder, *words: str) -> None:
    subprocess.run(["/usr/bin/openssl", *words], cwd=folder, check=True, capture_output=True)


def _policy(*witnesses: Signer):
    lines = [f"witness w{n} {Cosigner(w.name, w.verifier.public).vkey}" for n, w in enumerate(witnesses)]
    names = " ".join(f"w{n}" for n in range(len(witnesses)))
    return parse_policy("\n".join([*lines, f"group all-of all {names}", "quorum all-of", ""]).encode())


@pytest.fixture
def cosigned(room):
    """A witness cosigns the newest checkpoint, as it is published."""

    def made(by: Signer = NORTH) -> Checkpoint:
        head = room.audit.flush()
        line = cosign.cosign(by, parse(head.note).text, 1_770_000_000)
        whole = replace(head, note=head.note + line.encode())
        (room.audit.folder / "checkpoint.witnessed").write_bytes(whole.note)
        return whole

    return made


@pytest.fixture
def stamped(room, notary, tmp_path):
    """A timestamp server stamps the newest checkpoint, as `mandamus audit anchor` has it done."""

    def post(_url: str, body: bytes, _seconds: float, _kind: str) -> Answer:
        (notary / "query").write_bytes(body)
        _openssl(notary, "ts", "-reply", "-config", "cnf", "-queryfile", "query", "-out", "answer")
        return Answer(200, "", (notary / "answer").read_bytes())

    def made(who) -> None:
        place = tmp_path / "stamps"
        place.mkdir(exist_ok=True)
        anchor = TimestampAnchor("https://tsa.example.com", place, notary / "tsa.pem", post, os.urandom)
        (result,) = Anchoring(room.db, room.audit, lambda: [Named("time", 60.0, anchor)], room.clock).anchor(
            who, now=True
        )
        assert result.state == "anchored", result.error

    return made


@pytest.fixture
def handed(room, governed, sealed, tmp_path, person):
    """Seal the run, let things happen, and hand the bundle out: its path."""

    def out(*happen) -> object:
        sealed(governed)
        for each in happen:
            each()
        path = tmp_path / f"out{len(list(tmp_path.iterdir()))}.zip"
        room.evidence.export(person("ada"), governed.run, path)
        return path

    return out


def _check(bench, path, **demands):
    return verify(path, bench.vkey, Demands(**demands))


def test_without_news_the_sealed_bundle_is_handed_out(handed, bench):
    """Nothing is added, and whoever demands something is told that it is not there."""
    path = handed()
    assert not {WITNESSED, ANCHORED, STAMP} & bench.files(path.read_bytes()).keys()
    assert _check(bench, path).ok
    report = _check(bench, path, quorum=_policy(NORTH))
    assert (report.outcome, report.outcome.exit) == (Verdict.UNTRUSTED, 12)
    assert "the quorum all-of is not met" in report.problems[0].message


def test_cosignatures_travel_and_count(room, handed, cosigned, bench):
    """A later checkpoint that witnesses cosigned is shown to continue the bundle's; the quorum is the auditor's."""
    path = handed(lambda: room.begin().asked().closed(), cosigned)
    assert bench.files(path.read_bytes()).keys() >= {WITNESSED, f"{WITNESSED}.consistency"}
    assert "not verified: give --policy" in _check(bench, path).notes[-1]
    report = _check(bench, path, quorum=_policy(NORTH))
    assert report.ok, report.problems
    assert report.notes[-1] == "the quorum all-of is met: cosigned by w0"
    other = Signer("south.example.com/w", b"\x22" * 32)
    assert _check(bench, path, quorum=_policy(NORTH, other)).outcome is Verdict.UNTRUSTED


def test_a_timestamp_travels_and_counts(room, handed, stamped, bench, person, notary, tmp_path):
    """The first stamped checkpoint since is in the bundle, with the answer that OpenSSL verifies, too."""
    ada = person("ada")
    path = handed(lambda: stamped(ada), lambda: room.begin().asked().closed(), lambda: stamped(ada))
    files = bench.files(path.read_bytes())
    assert "not verified: give --tsa" in _check(bench, path).notes[-1]
    report = _check(bench, path, stamps=stamps((notary / "tsa.pem").read_bytes()))
    assert report.ok, report.problems
    assert "stamped at 20" in report.notes[-1]
    assert "CN=notary" in report.notes[-1]
    for name in (ANCHORED, STAMP):
        (tmp_path / name).write_bytes(files[name])
    _openssl(tmp_path, "ts", "-verify", "-data", ANCHORED, "-in", STAMP, "-CAfile", str(notary / "tsa.pem"))
    sizes = [int(files[name].splitlines()[1]) for name in ("checkpoint", ANCHORED)]
    assert sizes[0] <= sizes[1] < room.audit.flush().size


def test_what_is_demanded_of_a_timestamp(handed, stamped, bench, person, notary):
    """None at all and one of a server that is not trusted are both untrusted."""
    plain, path = handed(), handed(lambda: stamped(person("ada")))
    trusted = stamps((notary / "tsa.pem").read_bytes())
    report = _check(bench, plain, stamps=trusted)
    assert (report.outcome, report.problems[0].file) == (Verdict.UNTRUSTED, STAMP)
    _openssl(notary, "req", "-x509", "-key", "tsa.key", "-subj", "/CN=other", "-days", "1", "-out", "other.pem")
    report = _check(bench, path, stamps=stamps((notary / "other.pem").read_bytes()))
    assert (report.outcome, report.problems[0].file) == (Verdict.UNTRUSTED, STAMP)
    with pytest.raises(MandamusError) as raised:
        stamps(b"no certificate")
    assert raised.value.code is Code.VALUE_INVALID


def test_what_others_said_cannot_be_changed(governed, handed, stamped, cosigned, bench, person, notary):
    """Also by whoever has the platform's key: another history, a file less, an answer about something else."""
    files = bench.files(handed(lambda: stamped(person("ada")), cosigned).read_bytes())
    assert bench.check(bench.forged(governed.run, files)).ok
    forked = files[WITNESSED].splitlines(keepends=True)
    path = files[f"{WITNESSED}.consistency"].splitlines(keepends=True)
    assert len(path) > 3
    for name, content, verdict in (
        (WITNESSED, b"".join([forked[0], b"9999\n", *forked[2:]]), Verdict.TAMPERED),
        (WITNESSED, files["checkpoint"], Verdict.TAMPERED),
        (f"{WITNESSED}.consistency", b"consistency/1\n", Verdict.TAMPERED),
        (f"{ANCHORED}.consistency", b"\xff\n" * 5, Verdict.TAMPERED),
        (f"{WITNESSED}.consistency", b"".join([*path[:-1], b"A" * 43 + b"=\n"]), Verdict.TAMPERED),
        (STAMP, None, Verdict.INCOMPLETE),
        (ANCHORED, None, Verdict.INCOMPLETE),
    ):
        changed = {**files, name: content}
        if content is None:
            del changed[name]
        report = bench.check(bench.forged(governed.run, changed))
        assert report.outcome is verdict, (name, content, report.problems)
        assert report.problems[0].file.startswith(name.removesuffix(".consistency"))
    bench.check(bench.forged(governed.run, {**files, STAMP: b"no answer"}))
    report = verify(bench.folder / "bundle.zip", bench.vkey, Demands(stamps=stamps((notary / "tsa.pem").read_bytes())))
    assert (report.outcome, report.problems[0].file) == (Verdict.TAMPERED, STAMP)
