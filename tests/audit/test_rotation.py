"""Another key for the log: both sign for a while, then the new one alone, and nothing else signs ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from mandamus.audit import note, proof
from mandamus.audit.keyring import Keyring
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Leaf, Resource
from mandamus.audit.rotation import rotation
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.audit.succession import statement
from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import verify_log
from mandamus.kernel import canonical
from mandamus.kernel.access import MEMBER, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations.log_keys import LogKeys
from mandamus.store.database import Database
from mandamus.store.tables import audit as tables

Write = Callable[..., list[Leaf]]


class Home:
    """One log with as many processes as a test opens on it; ``files`` are the keys that the home holds."""

    def __init__(self, database: Database, folder: Path, platform: Signer, who, clock, entropy) -> None:
        self.database, self.folder, self.platform = database, folder, platform
        self.who, self.clock, self.entropy = who, clock, entropy
        self.files: list[Signer] = []

    def open(self, held: Sequence[Signer] | None = None) -> tuple[Audit, LogKeys]:
        """Start as a process would that holds these keys, or those of the home."""
        keys = Keyring("log.example.com/home", lambda: list(self.files if held is None else held))
        audit = Audit(self.database, self.folder, keys, self.clock, self.entropy)
        audit.open(self.who, self.platform.vkey)
        return audit, LogKeys(self.database, audit, keys, self.clock, self._make)

    def _make(self) -> None:
        self.files.append(Signer("log.example.com/home", bytes([100 + len(self.files)]) * 32))

    def signers(self) -> list[str]:
        """The ids of the keys that signed the published checkpoint."""
        lines = note.parse((self.folder / "checkpoint").read_bytes()).signatures
        return [line.key_id.hex() for line in lines]


@pytest.fixture
def home_log(database: Database, folder: Path, signer: Signer, platform: Signer, who, clock, entropy) -> Home:
    made = Home(database, folder, platform, who, clock, entropy)
    made.files.append(signer)
    return made


def test_both_sign_then_the_new_one_alone(home_log: Home, write: Write, who: Subject) -> None:
    """Before, during and after: who signs, who is told to verify, and what verifies with which trust."""
    audit, keys = home_log.open()
    old = home_log.files[0]
    write(audit, 3)
    before = audit.flush()
    rotated = keys.rotate(who, "yearly", 30)
    new = home_log.files[1]
    assert home_log.signers() == [old.key_id, new.key_id]
    assert rotated.trust == f"{old.vkey}\n{new.vkey} from={before.size + 1}"
    for trust in (old.vkey, new.vkey, rotated.trust):
        assert verify_log(home_log.folder, trust).problems == ()
    write(audit, 2)
    overlap = audit.flush()
    finished = keys.finish(who, "all have it")
    assert home_log.signers() == [new.key_id]
    assert finished.trust == f"{old.vkey} until={overlap.size}\n{new.vkey} from={before.size + 1}"
    assert (home_log.folder / "log.vkey").read_text() == f"{finished.trust}\n"
    write(audit, 2)
    audit.flush()
    for trust in (new.vkey, finished.trust):
        assert verify_log(home_log.folder, trust).problems == ()
    assert verify_log(home_log.folder, old.vkey).outcome == "untrusted"
    assert audit.verify(who).problems == ()


def test_old_evidence_keeps_its_key(home_log: Home, write: Write, who: Subject) -> None:
    """A proof from before or during a rotation verifies with the old key for ever, and with the new trust root."""
    audit, keys = home_log.open()
    write(audit, 3)
    proofs = [audit.prove([2], audit.flush())[2], audit.prove([2], keys.rotate(who, "yearly").checkpoint)[2]]
    finished = keys.finish(who, "done")
    leaf = audit.events("run_1")[1].bytes
    for shown in proofs:
        for trust in (home_log.files[0].vkey, finished.trust):
            assert proof.verify(proof.parse(shown), leaf, parse_trust(trust)).size >= 4  # type: ignore[arg-type]


def test_the_statement_is_signed_by_both(home_log: Home, who: Subject) -> None:
    """The leaf holds one statement that names both keys, with a signature by each."""
    audit, keys = home_log.open()
    keys.rotate(who, "yearly")
    (leaf,) = audit.stream("log-key/log.example.com/home")
    fields = canonical.loads(leaf.bytes)
    old, new = home_log.files
    for key in (old, new):
        assert note.verify(fields["data"]["statement"].encode(), key.verifier).split("\n")[1:3] == [old.vkey, new.vkey]
    assert (fields["kind"], fields["why"], fields["who"]["subject"]) == ("log.key_rotated", "yearly", "ada")


def test_the_overlap_ends_by_itself(home_log: Home, who: Subject) -> None:
    """Once its time is over the next start, or the next silence, retires the old key; not before."""
    _, keys = home_log.open()
    keys.rotate(who, "yearly", 30)
    home_log.clock.advance(29 * 86_400)
    home_log.open()
    assert len(home_log.signers()) == 2
    home_log.clock.advance(2 * 86_400)
    home_log.open()
    assert home_log.signers() == [home_log.files[1].key_id]


def test_other_processes_take_it_over(home_log: Home, write: Write, who: Subject) -> None:
    """A process that was open before the rotation signs with both keys, and with the new one alone after it."""
    elder, _ = home_log.open()
    younger, keys = home_log.open()
    keys.rotate(who, "yearly")
    elder.wait_checkpointed(write(elder, 2)[-1])
    assert len(home_log.signers()) == 2
    keys.finish(who, "done")
    elder.wait_checkpointed(write(elder, 2, run="run_2")[-1])
    assert home_log.signers() == [home_log.files[1].key_id]
    assert younger.flush().size == elder.flush().size
    assert elder.verify(who).problems == ()


def test_a_key_that_is_neither_is_refused(home_log: Home, write: Write, who: Subject) -> None:
    """A home starts only with every key that signs now; a foreign key beside them signs nothing."""
    audit, keys = home_log.open()
    stranger = Signer("log.example.com/home", b"\x63" * 32)
    for held in ([stranger], [stranger, Signer("log.example.com/home", b"\x64" * 32)]):
        with pytest.raises(MandamusError) as caught:
            home_log.open(held)
        assert caught.value.code is Code.AUDIT_UNTRUSTED
    keys.rotate(who, "yearly")
    old, new = home_log.files
    for held in ([old], [new], [stranger]):
        with pytest.raises(MandamusError) as caught:
            home_log.open(held)
        assert caught.value.code is Code.AUDIT_UNTRUSTED
    keys.finish(who, "done")
    with pytest.raises(MandamusError):
        home_log.open([old])
    audit, _ = home_log.open([stranger, new])
    write(audit, 1)
    audit.flush()
    assert home_log.signers() == [new.key_id]


def test_a_given_key_is_the_successor(home_log: Home, who: Subject) -> None:
    """A key that the settings give and the log has never seen is the one to rotate to; two of them are a question."""
    kms = [Signer("log.example.com/home", bytes([seed]) * 32) for seed in (0x63, 0x64)]
    home_log.open()
    _, keys = home_log.open([*kms, *home_log.files])
    with pytest.raises(MandamusError) as caught:
        keys.rotate(who, "to the service")
    assert caught.value.code is Code.CONFLICT
    _, keys = home_log.open([kms[0], *home_log.files])
    keys.rotate(who, "to the service")
    assert home_log.signers() == [home_log.files[0].key_id, kms[0].key_id]


def test_one_rotation_at_a_time(home_log: Home, who: Subject) -> None:
    """A second rotation waits for the first; a finish needs one; both need the permission."""
    _, keys = home_log.open()
    with pytest.raises(MandamusError) as caught:
        keys.finish(who, "x")
    assert caught.value.code is Code.CONFLICT
    keys.rotate(who, "one")
    with pytest.raises(MandamusError) as caught:
        keys.rotate(who, "two")
    assert caught.value.code is Code.CONFLICT
    member = Subject("mel", "os-user", permissions=MEMBER)
    for verb in (keys.rotate, keys.finish):
        with pytest.raises(MandamusError) as caught:
            verb(member, "x")
        assert caught.value.code is Code.FORBIDDEN
    with pytest.raises(MandamusError) as caught:
        keys.rotate(who, "x", -1)
    assert caught.value.code is Code.VALUE_INVALID


def test_a_retired_key_never_comes_back(home_log: Home, who: Subject) -> None:
    """Three keys in a row; each is trusted for its own sizes, and the first cannot follow the third."""
    audit, keys = home_log.open()
    for reason in ("one", "two"):
        keys.rotate(who, reason)
        keys.finish(who, reason)
    assert [key.last is None for key in parse_trust(audit.vkey).keys] == [False, False, True]
    assert verify_log(home_log.folder, audit.vkey).problems == ()
    first, _, third = home_log.files
    with audit._database.begin("test") as tx:
        audit.record(tx, rotation(who, third, first, 1, "back"))
    with pytest.raises(MandamusError) as caught:
        home_log.open()
    assert caught.value.code is Code.AUDIT_TAMPERED


@pytest.mark.parametrize("forged", ["by the new alone", "by the old alone", "a checkpoint", "not from the newest"])
def test_a_rotation_that_its_keys_did_not_sign_is_refused(home_log: Home, who: Subject, forged: str) -> None:
    """Whoever can write events but holds no key cannot bring in a key of their own: the home does not start."""
    audit, _ = home_log.open()
    old = home_log.files[0]
    mine, other = (Signer(old.name, bytes([seed]) * 32) for seed in (0x63, 0x64))
    text = statement(old, mine).partition("\n\n")[0] + "\n"
    said = {
        "by the new alone": note.sign(text, mine, other).decode(),
        "by the old alone": note.sign(text, old, other).decode(),
        "a checkpoint": note.sign_checkpoint([old, mine], 3, b"\x01" * 32).note.decode(),
        "not from the newest": statement(other, mine),
    }[forged]
    replaced = other if forged == "not from the newest" else old
    data = {"old": replaced.vkey, "new": mine.vkey, "ends_us": 1, "statement": said}
    home_log.files.append(mine)
    with home_log.database.begin("test") as tx:
        audit.record(tx, Event(Kind.LOG_KEY_ROTATED, who, Resource("log-key", old.name), data=data))
    with pytest.raises(MandamusError) as caught:
        home_log.open()
    assert caught.value.code is Code.AUDIT_TAMPERED
    assert home_log.signers() == [old.key_id]


def test_every_checkpoint_was_signed_in_its_time(home_log: Home, write: Write, who: Subject) -> None:
    """The database's checkpoints verify with the trust root one by one, whatever was committed between."""
    audit, keys = home_log.open()
    for verb in (lambda: keys.rotate(who, "x"), lambda: keys.finish(who, "x")) * 2:
        write(audit, 2)
        verb()
        write(audit, 1)
        audit.flush()
    trust = parse_trust(audit.vkey)
    with home_log.database.read() as conn:
        notes = list(conn.scalars(sa.select(tables.audit_checkpoint.c.note)))
    sizes = [note.read_checkpoint(each, trust).size for each in notes]
    assert len(sizes) > 8
    assert audit.verify(who).problems == ()


def test_another_platform_key_is_refused(home_log: Home) -> None:
    """Leaf 0 names the platform's key: a home that lost it does not sign evidence nobody could verify."""
    home_log.open()
    home_log.platform = Signer("log.example.com/home/platform", b"\x33" * 32)
    with pytest.raises(MandamusError) as caught:
        home_log.open()
    assert caught.value.code is Code.AUDIT_UNTRUSTED
