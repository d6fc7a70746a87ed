"""Sign-in by one-time links, and sessions that end by themselves."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

import pytest

from mandamus.audit.kinds import Kind
from mandamus.identity import store
from mandamus.identity.sessions import Sessions
from mandamus.kernel import canonical
from mandamus.kernel.access import MEMBER, OWNER, Permission, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.tables.identity import identity_link, identity_session

ADA = Subject("ada", "os-user", permissions=MEMBER)
CHIEF = Subject("chief", "os-user", permissions=OWNER)


@pytest.fixture
def people() -> dict[str, Subject]:
    """Who may come in, and what they may."""
    return {each.user: each for each in (ADA, CHIEF)}


@pytest.fixture
def sessions(database, audit, clock, people) -> Sessions:
    return Sessions(database, audit, people.get, clock, random.Random(3).randbytes)


def code_of(act, *args) -> Code:
    """The code of the error that a call ends with."""
    with pytest.raises(MandamusError) as raised:
        act(*args)
    return raised.value.code


def kinds(database) -> list[str]:
    """What was recorded, oldest first: kind, and why if it says."""
    with database.read() as conn:
        leaves = conn.exec_driver_sql("SELECT leaf FROM audit_event ORDER BY seq").scalars().all()
    found = [canonical.loads(bytes(leaf)) for leaf in leaves]
    told = [f"{each['kind']} {each['data'].get('why', '')}".strip() for each in found]
    return [each for each in told if each.startswith("session")]


def test_a_link_signs_in_once(sessions, database):
    """It gives the user's own rights; the second use is refused and recorded."""
    link = sessions.link(ADA)
    opened = sessions.open(link)
    who = sessions.authenticate(opened.secret)
    assert (who.user, who.permissions, who.verified) == ("ada", MEMBER, True)
    assert code_of(sessions.open, link) is Code.UNAUTHENTICATED
    assert kinds(database) == [Kind.SESSION_LINKED.text, Kind.SESSION_OPENED.text, "session.refused used"]


def test_secrets_are_kept_nowhere(sessions, database):
    """Not of links and not of sessions: not in rows, and not in the log."""
    link = sessions.link(ADA)
    opened = sessions.open(link)
    with database.read() as conn:
        rows = repr([tuple(conn.execute(table.select()).one()) for table in (identity_link, identity_session)])
        leaves = b"".join(map(bytes, conn.exec_driver_sql("SELECT leaf FROM audit_event").scalars()))
    for secret in (link, opened.secret):
        assert secret not in rows
        assert secret.encode() not in leaves


def test_a_link_lives_ten_minutes(sessions, clock, database):
    """Later it is refused in the words of any other."""
    link = sessions.link(ADA)
    clock.advance(10 * 60)
    assert code_of(sessions.open, link) is Code.UNAUTHENTICATED
    assert kinds(database)[-1] == "session.refused expired"


def test_only_the_owner_makes_links_of_others(sessions, people):
    """And whoever comes in by one is not verified, for the owner could have used it."""
    assert code_of(sessions.link, ADA, "chief") is Code.FORBIDDEN
    opened = sessions.open(sessions.link(CHIEF, "ada"))
    assert not sessions.authenticate(opened.secret).verified
    assert code_of(sessions.link, CHIEF, "nobody") is Code.NOT_FOUND
    narrow = Subject("ada", "token", permissions=MEMBER - {Permission.TOKEN_WRITE})
    assert code_of(sessions.link, narrow) is Code.FORBIDDEN


@pytest.mark.parametrize("text", ["", "x", "A" * 43, "A" * 44, "' OR 1=1 --", "é" * 43])
def test_what_is_no_link_is_refused(sessions, text):
    """In the same words as a link that was used; nor is it a session."""
    assert code_of(sessions.open, text) is Code.UNAUTHENTICATED
    assert code_of(sessions.authenticate, text) is Code.UNAUTHENTICATED


def test_an_idle_session_ends(sessions, clock, database):
    """After eight hours without a page; each page begins the time anew."""
    opened = sessions.open(sessions.link(ADA))
    clock.advance(7 * 3_600)
    sessions.authenticate(opened.secret)
    clock.advance(4 * 3_600)
    sessions.authenticate(opened.secret)
    idle = sessions.open(sessions.link(ADA))
    clock.advance(8 * 3_600)
    assert code_of(sessions.authenticate, idle.secret) is Code.UNAUTHENTICATED
    assert kinds(database)[-1] == "session.ended idle"


@pytest.mark.parametrize("permission", [Permission.IDENTITY_WRITE, Permission.POLICY_WRITE, Permission.AUDIT_ADMIN])
def test_an_idle_session_of_who_may_change_the_rules_ends_sooner(sessions, people, clock, database, permission):
    """After fifteen minutes without a page."""
    people["ada"] = replace(ADA, permissions=MEMBER | {permission})
    opened = sessions.open(sessions.link(ADA))
    for _ in range(3):
        clock.advance(14 * 60)
        sessions.authenticate(opened.secret)
    clock.advance(15 * 60)
    assert code_of(sessions.authenticate, opened.secret) is Code.UNAUTHENTICATED
    assert kinds(database)[-1] == "session.ended idle"


def test_what_goes_on_by_itself_keeps_no_session(sessions, clock):
    """A stream asks who it is for again and again, also when nobody has looked at its page for hours."""
    opened = sessions.open(sessions.link(CHIEF))
    for _ in range(2):
        clock.advance(7 * 60)
        assert sessions.authenticate(opened.secret, seen=False).user == "chief"
    clock.advance(60)
    assert code_of(sessions.authenticate, opened.secret) is Code.UNAUTHENTICATED


def test_every_session_ends(sessions, clock, database):
    """After twelve hours, however busy."""
    opened = sessions.open(sessions.link(ADA))
    for _ in range(11):
        clock.advance(3_600)
        sessions.authenticate(opened.secret)
    clock.advance(3_600)
    assert code_of(sessions.authenticate, opened.secret) is Code.UNAUTHENTICATED
    assert kinds(database)[-1] == "session.ended absolute"


def test_a_session_ends_with_its_user(sessions, people, database):
    """At once, and it stays ended when the user comes back."""
    opened = sessions.open(sessions.link(ADA))
    del people["ada"]
    assert code_of(sessions.authenticate, opened.secret) is Code.UNAUTHENTICATED
    people["ada"] = ADA
    assert code_of(sessions.authenticate, opened.secret) is Code.UNAUTHENTICATED
    assert kinds(database)[-1] == "session.ended inactive"


def test_signing_in_again_rotates(sessions):
    """The secret is a new one, and the one the browser had is no good any more."""
    first = sessions.open(sessions.link(ADA))
    second = sessions.open(sessions.link(ADA), before=first.secret)
    assert second.secret != first.secret
    assert code_of(sessions.authenticate, first.secret) is Code.UNAUTHENTICATED
    assert sessions.authenticate(second.secret).user == "ada"


def test_signing_out_ends_it(sessions, database):
    """Once recorded, however often it is said."""
    opened = sessions.open(sessions.link(ADA))
    sessions.end(opened.secret)
    sessions.end(opened.secret)
    assert code_of(sessions.authenticate, opened.secret) is Code.UNAUTHENTICATED
    assert kinds(database).count("session.ended signed_out") == 1


def test_a_link_that_two_use_at_once_lets_one_in(sessions, monkeypatch, database):
    """The other saw it unused, and is refused all the same."""
    link = sessions.link(ADA)
    with database.read() as conn:
        unused = store.find_link(conn, hashlib.sha256(link.encode()).digest())
    sessions.open(link)
    monkeypatch.setattr(store, "find_link", lambda _conn, _hashed: unused)
    assert code_of(sessions.open, link) is Code.UNAUTHENTICATED
    assert kinds(database)[-1] == "session.refused used"
