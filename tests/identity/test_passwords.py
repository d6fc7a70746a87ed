"""The owner's own password: optional, strong, and gone when it is taken away."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mandamus.identity.passwords import ITERATIONS, LANES, MEMORY_KIB, Passwords
from mandamus.identity.service import Identity
from mandamus.identity.sessions import Sessions
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.tables.machines import identity_password

GOOD = "gravel-otter-59-lantern-quiet"
OTHER = "basalt-heron-17-harbour-loud"


@pytest.fixture
def database(sqlite_database):
    """One of the two: what is looked at here is not in its statements, and each password takes its time."""
    return sqlite_database


@pytest.fixture
def owner() -> Subject:
    return Subject("olga", "os-user", permissions=OWNER)


@pytest.fixture
def sessions(database, audit, clock, entropy) -> Sessions:
    identity = Identity(database, audit, clock)
    with database.begin("home") as tx:
        identity.create_home(tx, "olga")
    return Sessions(database, audit, identity.active, clock, entropy)


@pytest.fixture
def passwords(database, audit, sessions, clock, entropy) -> Passwords:
    return Passwords(database, audit, sessions, clock, entropy)


def refused(verb, *words, **named) -> MandamusError:
    """The error of what is not to be."""
    with pytest.raises(MandamusError) as raised:
        verb(*words, **named)
    return raised.value


def test_there_is_none_until_the_owner_sets_one(passwords, sessions, owner):
    """No home has one by itself; then it is that one alone, and a session says how it began."""
    assert not passwords.is_set()
    missing = refused(passwords.open, GOOD)
    passwords.set(owner, GOOD)
    assert passwords.is_set()
    wrong = refused(passwords.open, OTHER)
    assert missing.code is wrong.code is Code.UNAUTHENTICATED
    assert missing.message == wrong.message
    opened = passwords.open(GOOD)
    who = sessions.authenticate(opened.secret)
    assert (who.user, who.authn, who.permissions) == ("olga", "password", OWNER)


def test_another_or_none_ends_what_the_one_before_let_in(passwords, sessions, owner):
    """Whoever came in by it is out when it changes and when it is removed."""
    passwords.set(owner, GOOD)
    first = passwords.open(GOOD)
    passwords.set(owner, OTHER)
    assert refused(sessions.authenticate, first.secret).code is Code.UNAUTHENTICATED
    assert refused(passwords.open, GOOD).code is Code.UNAUTHENTICATED
    second = passwords.open(OTHER)
    assert passwords.remove(owner)
    assert not passwords.remove(owner)
    assert refused(sessions.authenticate, second.secret).code is Code.UNAUTHENTICATED
    assert refused(passwords.open, OTHER).code is Code.UNAUTHENTICATED


@pytest.mark.parametrize(
    "who",
    [
        Subject("olga", "token", permissions=OWNER),
        Subject("olga", "password", permissions=OWNER),
        Subject("olga", "local, unverified: os-user root", permissions=OWNER),
        Subject("ada", "os-user", permissions=OWNER),
        Subject("olga", "os-user"),
    ],
)
def test_only_who_sits_at_the_home_sets_it(passwords, who):
    """Neither a token nor a session of the owner, nor anybody else: else a stolen one would become a lasting one."""
    assert refused(passwords.set, who, GOOD).code is Code.FORBIDDEN
    assert not passwords.is_set()


@pytest.mark.parametrize(
    "weak",
    [
        "",
        "short-but-odd!",
        "aaaaaaaaaaaaaaaaaaaa",
        "abababababababababab",
        "abcdefghijklmnopqrstuvwxyz",
        "1234567890123456789",
        "gravel59gravel59",
        "hunter2-hunter2-hunter2",
        "correct horse battery staple",
        "PasswordPassword1!",
        "changeme-changeme-1",
        "mandamus-2027-ab!",
        "olga-olga-olga-x9",
        "x" * 500 + "abcdefgh" * 200,
    ],
)
def test_what_is_guessed_first_is_refused(passwords, owner, weak):
    """Too short, too plain, of a book, or the name of who is guessed for; and never said back."""
    error = refused(passwords.set, owner, weak)
    assert error.code is Code.VALUE_INVALID
    assert not weak or weak not in f"{error.message} {error.remedy} {error.context}"
    assert not passwords.is_set()


def test_it_is_kept_as_argon2id(database, passwords, owner):
    """With the parameters of RFC 9106, a salt of its own each time, and nothing of itself anywhere."""
    kept = []
    for _ in range(2):
        passwords.set(owner, GOOD)
        with database.read() as conn:
            kept.append(conn.scalar(sa.select(identity_password.c.hash)))
    assert kept[0] != kept[1]
    assert all(each.startswith(f"$argon2id$v=19$m={MEMORY_KIB},t={ITERATIONS},p={LANES}$") for each in kept)
    assert MEMORY_KIB >= 64 * 1024
    assert ITERATIONS >= 3
