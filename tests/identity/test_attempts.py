"""Who fails too often to come in waits, wherever the failures are counted."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mandamus.identity.attempts import DOORS, ROWS_MAX, Attempts, Rate, account_of, address_of
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.tables.machines import identity_attempt

RATES = {"password": Rate(3, 1 / 60), "token": Rate(100, 1.0, 10)}


def waits(attempts: Attempts, *whose: str, door: str = "password") -> bool:
    """Whether they have to wait."""
    try:
        attempts.check(door, *whose)
    except MandamusError as error:
        return error.code is Code.RATE_LIMITED and error.retryable
    return False


def test_failures_are_forgotten_slowly(database, clock):
    """Three at once, and then one more each minute; each address and each account by itself."""
    attempts = Attempts(database, clock, RATES)
    for _ in range(3):
        assert not waits(attempts, "address 1", "account ada")
        attempts.failed("password", "address 1", "account ada")
    assert waits(attempts, "address 1", "account bob")
    assert waits(attempts, "address 2", "account ada")
    assert not waits(attempts, "address 2", "account bob")
    clock.advance(59)
    assert waits(attempts, "address 1")
    clock.advance(2)
    assert not waits(attempts, "address 1")
    attempts.failed("password", "address 1")
    assert waits(attempts, "address 1")


def test_a_restart_forgets_nothing(database, clock):
    """What another process counted is known to the next one, and to one that runs meanwhile within seconds."""
    meanwhile = Attempts(database, clock, RATES)
    assert not waits(meanwhile, "address 1")
    before = Attempts(database, clock, RATES)
    for _ in range(3):
        before.failed("password", "address 1")
    assert waits(Attempts(database, clock, RATES), "address 1")
    clock.advance(6)
    assert waits(meanwhile, "address 1")


def test_a_flood_is_no_flood_of_commits(database, clock):
    """What cannot be guessed is written when it becomes many, and each key at most once a second."""
    commits = []
    attempts = Attempts(database, clock, RATES)
    database._hook = lambda moment, label: commits.append(label) if moment == "before" else None
    for _ in range(60):
        attempts.failed("token", "address 1")
    assert commits == ["attempt"]
    clock.advance(2)
    attempts.failed("token", "address 1")
    assert commits == ["attempt", "attempt"]


def test_the_table_is_bounded(database, clock, monkeypatch):
    """However many addresses there are, so many rows; and after a day none."""
    monkeypatch.setattr("mandamus.identity.attempts.ROWS_MAX", 20)
    monkeypatch.setattr("mandamus.identity.attempts.KEYS_MAX", 20)
    monkeypatch.setattr("mandamus.identity.attempts.PURGE_S", 0.0)
    attempts = Attempts(database, clock, RATES)
    for number in range(60):
        attempts.failed("password", f"address {number}")
    with database.read() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(identity_attempt)) <= 20
    assert len(attempts._known) <= 20
    clock.advance(90_000)
    attempts.failed("password", "address new")
    with database.read() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(identity_attempt)) == 1
    assert ROWS_MAX >= 1_000


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("testclient", "", False),
    ],
)
def test_whom_an_address_stands_for(one, other, same):
    """One customer has a whole network of IPv6, and is one."""
    assert (address_of(one) == address_of(other)) == same


def test_an_account_has_no_case():
    """However it is typed."""
    assert account_of("Ada") == account_of("ADA")


def test_what_can_be_guessed_is_limited_most():
    """A password takes years to guess at this rate; the others are random bits."""
    assert DOORS["password"].failures <= 10
    assert DOORS["password"].per_s * 86_400 * 365 < 1_000_000
