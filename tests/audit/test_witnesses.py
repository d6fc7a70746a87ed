"""A log and its witnesses: cosigned checkpoints, what a missing quorum stops, and that a fork or rollback is found."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mandamus.audit import note
from mandamus.audit.gate import Mode
from mandamus.audit.model import Leaf
from mandamus.audit.post import Answer, post
from mandamus.audit.quorum import parse_policy
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import verify_log
from mandamus.audit.witness_client import Witnessing
from mandamus.audit.witness_server import Witness, WitnessServer
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database

Write = Callable[..., list[Leaf]]
Open = Callable[..., Audit]


@dataclass
class Party:
    """Some witnesses that serve, each in a folder of its own."""

    folder: Path
    clock: Clock
    stack: ExitStack

    def start(self, number: int, vkey: str) -> str:
        """Start a witness; gives its line of a policy file."""
        signer = Signer(f"w{number}.example.com", bytes([number + 100]) * 32)
        witness = Witness(self.folder / str(number), signer, [parse_trust(vkey)], self.clock)
        self.stack.callback(witness.close)
        port = self.stack.enter_context(_serving(witness))
        return f"witness w{number} {witness.cosigner.vkey} http://127.0.0.1:{port}\n"

    def dead(self, number: int) -> str:
        """The line of a witness that nobody is."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        signer = Signer(f"w{number}.example.com", bytes([number + 100]) * 32)
        witness = Witness(self.folder / f"dead{number}", signer, [], self.clock)
        witness.close()
        return f"witness w{number} {witness.cosigner.vkey} http://127.0.0.1:{port}\n"


@contextmanager
def _serving(witness: Witness) -> Iterator[int]:
    server = WitnessServer(("127.0.0.1", 0), witness)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def party(tmp_path: Path, clock: Clock) -> Iterator[Party]:
    with ExitStack() as stack:
        yield Party(tmp_path / "witnesses", clock, stack)


def _config(policy: str, mode: Mode = Mode.REQUIRE, grace_s: float = 600) -> Witnessing:
    return Witnessing(parse_policy(policy.encode()), mode, grace_s, 5, post)


def test_a_gate_waits_for_a_quorum(party: Party, audit: Audit, write: Write, folder: Path) -> None:
    """An intent is in a checkpoint that enough witnesses cosigned, and so it is published; others verify it."""
    lines = party.start(1, audit.vkey) + party.start(2, audit.vkey) + party.dead(3)
    config = _config(lines + "group all 2 w1 w2 w3\nquorum all\n")
    audit.seen_by(config)
    for count in (3, 300):
        leaf = write(audit, count)[-1]
        checkpoint = audit.wait_checkpointed(leaf)
        published = (folder / "checkpoint").read_bytes()
        assert published == checkpoint.note == (folder / "checkpoint.witnessed").read_bytes()
        assert config.policy.cosigners_of(note.parse(published)) == {"w1", "w2"}
    assert verify_log(folder, audit.vkey).problems == ()
    assert audit.verify_database().problems == ()


def test_cosignatures_outlive_the_process(party: Party, open_audit: Open, write: Write, folder: Path) -> None:
    """A process that starts publishes nothing less than what is there, and asks nobody for what it has."""
    audit = open_audit()
    config = _config(party.start(1, audit.vkey) + "quorum w1\n")
    audit.seen_by(config)
    leaf = write(audit, 1)[0]
    cosigned = audit.wait_checkpointed(leaf)
    again = open_audit()
    assert (folder / "checkpoint").read_bytes() == cosigned.note
    again.seen_by(Witnessing(config.policy, Mode.REQUIRE, 0, 1, _nobody))
    assert again.wait_checkpointed(leaf) == cosigned


def _nobody(_url: str, _body: bytes, _timeout_s: float) -> Answer:
    raise AssertionError("nobody is asked")


def test_without_a_quorum_nothing_starts(party: Party, audit: Audit, write: Write, folder: Path) -> None:
    """A dead witness stops what waits for it, and nothing else: events are recorded, checkpoints published."""
    audit.seen_by(_config(party.dead(1) + "quorum w1\n"))
    leaf = write(audit, 1)[0]
    with pytest.raises(MandamusError) as error:
        audit.wait_checkpointed(leaf)
    assert error.value.code is Code.AUDIT_UNAVAILABLE
    assert error.value.retryable
    write(audit, 5)
    assert audit.flush().size == 7
    assert verify_log(folder, audit.vkey).size == 7


def test_without_a_mode_nobody_waits(party: Party, audit: Audit, write: Write) -> None:
    """By default a missing quorum stops nothing."""
    audit.seen_by(_config(party.dead(1) + "quorum w1\n", Mode.NONE))
    assert audit.wait_checkpointed(write(audit, 1)[0]).size == 2


def test_grace_ends(party: Party, audit: Audit, write: Write, clock: Clock) -> None:
    """Grace counts from the first checkpoint that was not cosigned, however long nothing happened before."""
    line = party.start(1, audit.vkey)
    audit.seen_by(_config(line + "quorum w1\n", Mode.GRACE))
    audit.wait_checkpointed(write(audit, 1)[0])
    clock.advance(1_000_000)  # type: ignore[attr-defined]
    audit.seen_by(_config(party.dead(1) + "quorum w1\n", Mode.GRACE))
    audit.wait_checkpointed(write(audit, 1)[0])
    clock.advance(590)  # type: ignore[attr-defined]
    audit.wait_checkpointed(write(audit, 1)[0])
    clock.advance(20)  # type: ignore[attr-defined]
    with pytest.raises(MandamusError) as error:
        audit.wait_checkpointed(write(audit, 1)[0])
    assert error.value.code is Code.AUDIT_UNAVAILABLE
    audit.seen_by(_config(line + "quorum w1\n", Mode.GRACE))
    audit.wait_checkpointed(write(audit, 1)[0])


def test_in_the_background(party: Party, audit: Audit, write: Write, folder: Path) -> None:
    """A process that lives long has its checkpoints cosigned, although nothing waits for that."""
    audit.seen_by(_config(party.start(1, audit.vkey) + "quorum w1\n", Mode.NONE))
    audit.start()
    write(audit, 10)
    audit.stop()
    assert (folder / "checkpoint.witnessed").read_bytes() == (folder / "checkpoint").read_bytes()
    assert verify_log(folder, audit.vkey).ok


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("mode", [Mode.REQUIRE, Mode.GRACE])
def test_a_rollback_of_everything_is_found(
    party: Party, open_audit: Open, write: Write, home: Path, sqlite_database: Database, tmp_path: Path, mode: Mode
) -> None:
    """Database and published log set back together fit each other; the witness saw more, and grace is no way out."""
    audit = open_audit()
    config = _config(party.start(1, audit.vkey) + "quorum w1\n", mode)
    audit.seen_by(config)
    audit.wait_checkpointed(write(audit, 1)[0])
    sqlite_database.close()
    shutil.copytree(home, tmp_path / "old")
    audit.wait_checkpointed(write(audit, 5)[-1])
    sqlite_database.close()
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "old", home)
    again = open_audit()
    again.seen_by(config)
    with pytest.raises(MandamusError) as error:
        again.wait_checkpointed(write(again, 1, run="run_2")[0])
    assert error.value.code is Code.AUDIT_TAMPERED
    assert "rolled back" in error.value.message
    write(again, 20, run="run_2")
    with pytest.raises(MandamusError) as error:
        again.wait_checkpointed(write(again, 1, run="run_2")[0])
    assert error.value.code is Code.AUDIT_TAMPERED


def test_many_wait_at_once(party: Party, audit: Audit, write: Write) -> None:
    """Each gets a checkpoint with its leaf, and they share what is asked for."""
    asked: list[str] = []

    def counted(url: str, body: bytes, timeout_s: float) -> Answer:
        asked.append(url)
        return post(url, body, timeout_s)

    policy = parse_policy((party.start(1, audit.vkey) + "quorum w1\n").encode())
    audit.seen_by(Witnessing(policy, Mode.REQUIRE, 0, 5, counted))
    leaves = write(audit, 8)
    sizes: list[int] = []
    threads = [
        threading.Thread(target=lambda leaf=leaf: sizes.append(audit.wait_checkpointed(leaf).size)) for leaf in leaves
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [9] * 8
    assert len(asked) == 1


def test_a_stranger_signs_nothing_for_us(party: Party, audit: Audit, write: Write) -> None:
    """A server at the right address with another key is no witness."""
    other = party.start(1, audit.vkey)
    url = other.split()[3]
    expected = party.dead(2).split()
    audit.seen_by(_config(f"witness w2 {expected[2]} {url}\nquorum w2\n"))
    with pytest.raises(MandamusError) as error:
        audit.wait_checkpointed(write(audit, 1)[0])
    assert error.value.code is Code.AUDIT_UNAVAILABLE
