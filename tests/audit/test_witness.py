"""A witness: what it answers, in the words of tlog-witness, and that it never forgets or cosigns two histories."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mandamus.audit import note, tree
from mandamus.audit.cosign import Cosigner, parse_cosigner
from mandamus.audit.model import Checkpoint
from mandamus.audit.signer import Signer
from mandamus.audit.trust import Trust, TrustedKey
from mandamus.audit.witness import PROOF_LINES_MAX, Refusal, Request, Seen, judge, parse_request
from mandamus.audit.witness_server import BODY_BYTES_MAX, Witness, WitnessServer
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError

LOG = Signer("log.example.com/a", b"\x01" * 32)
OTHER = Signer("log.example.com/a", b"\x02" * 32)
WITNESS = Signer("witness.example.com/w", b"\x03" * 32)


@dataclass(frozen=True)
class History:
    """A log by its leaves; ``salt`` makes another history."""

    salt: bytes = b""

    def hashes(self, size: int) -> list[bytes]:
        """Of its first leaves."""
        return [tree.leaf_hash(self.salt + str(index).encode()) for index in range(size)]

    def checkpoint(self, size: int, signer: Signer = LOG) -> Checkpoint:
        """Of that many leaves."""
        return note.sign_checkpoint(signer, size, tree.root_of(self.hashes(size)))

    def request(self, old: int, size: int, signer: Signer = LOG) -> Request:
        """To go on from one size to another."""
        hashes = self.hashes(size)
        path = tree.consistency_proof(old, size, lambda low, high: tree.root_of(hashes[low:high])) if old < size else []
        return Request(old, tuple(path), self.checkpoint(size, signer).note)

    def seen(self, size: int) -> dict[str, Seen]:
        """What a witness remembers that cosigned so many leaves."""
        return {LOG.name: Seen(size, tree.root_of(self.hashes(size)))}


TRUTH, LIE = History(), History(b"lie")
TRUST = {LOG.name: Trust((TrustedKey(LOG.verifier),))}


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 1), (1, 1), (1, 2), (3, 7), (7, 8), (8, 300), (300, 300)])
def test_what_continues_is_cosigned(old: int, new: int) -> None:
    """A tree that continues the newest one seen, or is the same one, is taken."""
    seen = TRUTH.seen(old) if old else {}
    assert judge(TRUTH.request(old, new), TRUST, seen) == TRUTH.checkpoint(new)


REFUSED = {
    "unknown log": (
        404,
        None,
        replace(TRUTH.request(3, 7), checkpoint=note.sign_checkpoint(WITNESS, 7, b"r" * 32).note),
    ),
    "unknown key": (403, None, TRUTH.request(3, 7, OTHER)),
    "changed text": (
        403,
        None,
        replace(TRUTH.request(3, 7), checkpoint=TRUTH.checkpoint(7).note.replace(b"\n7\n", b"\n8\n")),
    ),
    "not a note": (400, None, replace(TRUTH.request(3, 7), checkpoint=b"nothing\n")),
    "rolled back": (400, None, replace(TRUTH.request(0, 2), old=3)),
    "too old": (409, 3, TRUTH.request(2, 7)),
    "from the start": (409, 3, TRUTH.request(0, 7)),
    "too new": (409, 3, TRUTH.request(5, 7)),
    "another tree of the same size": (409, 3, LIE.request(3, 3)),
    "another history": (422, None, LIE.request(3, 7)),
    "no proof": (422, None, replace(TRUTH.request(3, 7), proof=())),
    "a hash too many": (422, None, replace(TRUTH.request(3, 7), proof=(*TRUTH.request(3, 7).proof, b"h" * 32))),
    "a needless proof": (422, None, replace(TRUTH.request(3, 3), proof=(b"h" * 32,))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused(name: str) -> None:
    """Each fault has the status that the protocol gives it, and a conflict names the size that is known."""
    status, size, request = REFUSED[name]
    with pytest.raises(Refusal) as refused:
        judge(request, TRUST, TRUTH.seen(3))
    assert (refused.value.status, refused.value.size) == (status, size)


def test_a_proof_from_nothing_is_empty() -> None:
    """The first checkpoint comes without a proof."""
    with pytest.raises(Refusal) as refused:
        judge(replace(TRUTH.request(0, 7), proof=(b"h" * 32,)), TRUST, {})
    assert refused.value.status == 422


def test_a_request_travels_whole() -> None:
    """What is written is what is read."""
    request = TRUTH.request(3, 7)
    assert parse_request(request.body) == request


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 3",
        b"old 03\n\nnote\n",
        b"old -1\n\nnote\n",
        b"old \xc2\xb2\n\nnote\n",
        b"old 3 \n\nnote\n",
        b"size 3\n\nnote\n",
        b"old 3\nAAAA\n\nnote\n",
        b"old 3\nnot base64\n\nnote\n",
        b"old 99999999999999999999\n\nnote\n",
        b"old 3\n" + b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" * (PROOF_LINES_MAX + 1) + b"\nnote\n",
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    """A body that is not in the one form there is gets a 400."""
    with pytest.raises(Refusal) as refused:
        parse_request(body)
    assert refused.value.status == 400


def test_the_key_of_a_witness_as_text() -> None:
    """It is of type 0x04, and a log's key is none."""
    cosigner = Cosigner(WITNESS.name, WITNESS.verifier.public)
    assert parse_cosigner(cosigner.vkey) == cosigner
    for wrong in (LOG.vkey, cosigner.vkey[:-4], cosigner.vkey.replace("+", "-", 1)):
        with pytest.raises(MandamusError) as error:
            parse_cosigner(wrong)
        assert error.value.code is Code.AUDIT_UNTRUSTED


def test_published_example() -> None:
    """The example of tlog-cosignature parses: its key id is that of a cosignature, eight bytes of time before it."""
    text = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE"
        "+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0x"
        "Ue+mbIUBkBIfZ+qnA==\n"
    )
    cosignature = note.parse(text.encode()).signatures[1]
    assert len(cosignature.signature) == 72
    assert int.from_bytes(cosignature.signature[:8], "big") == 1_679_315_147


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture
def witness(tmp_path: Path, clock: Clock) -> Iterator[Witness]:
    made = Witness(tmp_path / "witness", WITNESS, [TRUST[LOG.name]], clock)
    yield made
    made.close()


@pytest.fixture
def post(witness: Witness) -> Iterator[Callable[..., tuple[int, str, bytes]]]:
    """Send a body; gives status, content type and body of the answer. One connection for all."""
    server = WitnessServer(("127.0.0.1", 0), witness)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)

    def sent(body: bytes, path: str = "/add-checkpoint", **headers: str) -> tuple[int, str, bytes]:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()

    yield sent
    connection.close()
    server.shutdown()
    thread.join()
    server.server_close()


def _cosigned(answer: bytes, checkpoint: Checkpoint) -> bool:
    cosigner = Cosigner(WITNESS.name, WITNESS.verifier.public)
    return cosigner.cosigned(note.parse(checkpoint.note + answer)) is not None


def test_over_http(post: Callable[..., tuple[int, str, bytes]]) -> None:
    """Cosignatures that fit, and every refusal in its form, on one connection."""
    status, _, body = post(TRUTH.request(0, 3).body)
    assert status == 200
    assert _cosigned(body, TRUTH.checkpoint(3))
    assert not _cosigned(body, TRUTH.checkpoint(4))
    status, _, body = post(TRUTH.request(3, 7).body)
    assert status == 200
    assert _cosigned(body, TRUTH.checkpoint(7))
    assert post(TRUTH.request(3, 9).body) == (409, "text/x.tlog.size", b"7\n")
    assert post(LIE.request(7, 9).body)[0] == 422
    assert post(LIE.request(7, 7).body)[0] == 409
    assert post(replace(TRUTH.request(0, 2), old=7).body)[0] == 400
    assert post(TRUTH.request(7, 9, OTHER).body)[0] == 403
    assert post(TRUTH.request(7, 9).body, "/elsewhere")[0] == 404
    assert post(TRUTH.request(7, 9).body)[0] == 200
    assert post(b"x" * (BODY_BYTES_MAX + 1))[0] == 413


def test_it_remembers(
    post: Callable[..., tuple[int, str, bytes]], witness: Witness, tmp_path: Path, clock: Clock
) -> None:
    """What was cosigned is on the disk: the next process refuses another history as this one does."""
    post(TRUTH.request(0, 7).body)
    with pytest.raises(MandamusError) as error:
        Witness(tmp_path / "witness", WITNESS, [TRUST[LOG.name]], clock)
    assert error.value.code is Code.HOME_LOCKED
    os.close(os.dup(witness._lock))
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (tmp_path / "witness").glob("*.checkpoint"):
        (copy / path.name).write_bytes(path.read_bytes())
    again = Witness(copy, WITNESS, [TRUST[LOG.name]], clock)
    with pytest.raises(Refusal) as refused:
        again.add_checkpoint(LIE.request(0, 9).body)
    assert (refused.value.status, refused.value.size) == (409, 7)
    assert again.add_checkpoint(TRUTH.request(7, 9).body)
    again.close()


def test_one_history_however_many_ask(witness: Witness) -> None:
    """Of two histories asked for at once by many, one is cosigned, and never both."""
    taken: list[History] = []
    gate = threading.Barrier(16)

    def ask(history: History) -> None:
        gate.wait()
        try:
            witness.add_checkpoint(history.request(0, 5).body)
        except Refusal:
            return
        taken.append(history)

    threads = [threading.Thread(target=ask, args=(history,)) for history in (TRUTH, LIE) * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1


def test_nothing_is_cosigned_that_is_not_written(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A witness that cannot write gives no cosignature, and still knows what it knew."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _full)
        with pytest.raises(OSError, match="full"):
            witness.add_checkpoint(LIE.request(0, 5).body)
    assert witness.add_checkpoint(TRUTH.request(0, 5).body)


def _full(_fd: int) -> None:
    raise OSError(28, "the disk is full")


@pytest.mark.slow
def test_the_command_is_killed_and_remembers(tmp_path: Path) -> None:
    """`mandamus audit witness` prints the same key at every start, and what it cosigned survives a kill."""
    (tmp_path / "log.vkey").write_text(LOG.vkey + "\n")
    words = [
        "audit",
        "witness",
        "--listen",
        "127.0.0.1:0",
        "--state",
        str(tmp_path / "w"),
        "--log",
        str(tmp_path / "log.vkey"),
    ]

    def start() -> tuple[subprocess.Popen[str], str, int]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mandamus", *words, "--name", "w.example.com"],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        return process, process.stdout.readline().strip(), int(process.stderr.readline().strip().rpartition(":")[2])

    def send(port: int, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/add-checkpoint", body)
        answer = connection.getresponse()
        return answer.status, answer.read()

    process, vkey, port = start()
    status, body = send(port, TRUTH.request(0, 7).body)
    assert status == 200
    assert parse_cosigner(vkey).cosigned(note.parse(TRUTH.checkpoint(7).note + body))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process, again, port = start()
    assert again == vkey
    assert send(port, LIE.request(0, 9).body) == (409, b"7\n")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
