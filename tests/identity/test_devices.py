"""Devices that ask for a token: one person's word, once, in time, and no more than that person is."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from mandamus.identity.devices import INTERVAL_S, LIFE_S, TOKEN_S, WAITING_MAX, Devices, NotYet
from mandamus.identity.kill_switch import KillSwitch
from mandamus.identity.sessions import CLAIMED
from mandamus.identity.tokens import Minted, Tokens
from mandamus.kernel.access import MEMBER, Permission, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.tables.sign_in import device

ADA = Subject("ada", "oidc", permissions=MEMBER)
GRACE = Subject("grace", "oidc", permissions=MEMBER)
ROBOT = Subject("robot", "token", permissions=MEMBER, program=True)


@pytest.fixture
def people() -> dict[str, Subject]:
    """Who may come in, and what they may."""
    return {each.user: each for each in (ADA, GRACE)}


@pytest.fixture
def tokens(database, audit, clock, people) -> Tokens:
    return Tokens(database, audit, people.get, clock, random.Random(5).randbytes)


@pytest.fixture
def devices(database, audit, tokens, clock, people) -> Devices:
    return Devices(database, audit, tokens, people.get, clock, random.Random(6).randbytes)


def ask(devices, permissions=None):
    return devices.ask("a test", "192.0.2.7", permissions)


def test_a_device_gets_a_token_of_whoever_lets_it_in(devices, tokens, clock):
    """For eight hours, once, with the rights it asked for and that person's; and the code is typed as anybody likes."""
    asked = ask(devices, [Permission.RUN_READ, Permission.AUDIT_ADMIN])
    assert devices.take(asked.device_code) is NotYet.PENDING
    typed = asked.user_code.lower().replace("-", "  ")
    shown = devices.show(ADA, typed)
    assert (shown.name, shown.address) == ("a test", "192.0.2.7")
    devices.decide(ADA, typed, grant=True)
    clock.advance(INTERVAL_S)
    made = devices.take(asked.device_code)
    assert isinstance(made, Minted)
    who = tokens.authenticate(made.secret)
    assert (who.user, who.permissions, who.verified) == ("ada", {Permission.RUN_READ}, True)
    assert made.token.expires_us - clock.now_us() <= TOKEN_S * 1_000_000
    clock.advance(INTERVAL_S)
    assert devices.take(asked.device_code) is NotYet.UNKNOWN
    clock.advance(TOKEN_S)
    with pytest.raises(MandamusError):
        tokens.authenticate(made.secret)


def test_whoever_was_only_claimed_is_that_by_a_token_too(devices, tokens, clock, people):
    """A session by another's link is unverified, and so is what it lets a device have: no way round by a token."""
    asked = ask(devices)
    devices.decide(replace(ADA, authn=CLAIMED), asked.user_code, grant=True)
    made = devices.take(asked.device_code)
    who = tokens.authenticate(made.secret)
    assert not who.verified
    further = tokens.authenticate(tokens.create(replace(who, permissions=MEMBER), "more").secret)
    assert not further.verified


def test_hurrying_makes_it_slower(devices, clock):
    """RFC 8628, 3.5: a question that comes too soon is answered `slow_down`, and the interval grows by five seconds."""
    asked = ask(devices)
    assert devices.take(asked.device_code) is NotYet.PENDING
    clock.advance(INTERVAL_S - 1)
    assert devices.take(asked.device_code) is NotYet.SLOW_DOWN
    clock.advance(INTERVAL_S + 1)
    assert devices.take(asked.device_code) is NotYet.SLOW_DOWN
    clock.advance(INTERVAL_S + 11)
    assert devices.take(asked.device_code) is NotYet.PENDING


def test_a_no_is_a_no(devices, database):
    """A device that was refused never gets a token, whatever is said afterwards; nor is it kept where it asked from."""
    asked = ask(devices)
    devices.decide(ADA, asked.user_code, grant=False)
    with database.read() as conn:
        assert "192.0.2.7" not in str(conn.execute(device.select()).one())
    with pytest.raises(MandamusError):
        devices.decide(ADA, asked.user_code, grant=True)
    assert devices.take(asked.device_code) is NotYet.DENIED


def test_codes_end_by_themselves(devices, clock, database):
    """After ten minutes nobody can let it in and it gets nothing; some time later nothing is known of it."""
    asked, granted = ask(devices), ask(devices)
    devices.decide(ADA, granted.user_code, grant=True)
    clock.advance(LIFE_S)
    assert devices.take(granted.device_code) is NotYet.EXPIRED
    with pytest.raises(MandamusError) as caught:
        devices.decide(ADA, asked.user_code, grant=True)
    assert caught.value.code is Code.NOT_FOUND
    clock.advance(LIFE_S)
    ask(devices)
    with database.read() as conn:
        assert len(conn.execute(device.select()).all()) == 1


def test_codes_are_kept_nowhere(devices, database):
    """Only their hashes are."""
    asked = ask(devices)
    with database.read() as conn:
        row = str(conn.execute(device.select()).one())
    for code in (asked.device_code, asked.user_code, asked.user_code.replace("-", "")):
        assert code not in row


def test_who_may_do_nothing_gets_a_device_nothing(devices, people, clock):
    """A person who was deactivated meanwhile has no tokens made; a program lets nothing in."""
    asked = ask(devices)
    with pytest.raises(MandamusError) as caught:
        devices.decide(ROBOT, asked.user_code, grant=True)
    assert caught.value.code is Code.FORBIDDEN
    devices.decide(ADA, asked.user_code, grant=True)
    people.clear()
    assert devices.take(asked.device_code) is NotYet.DENIED


def test_a_device_that_was_let_in_gets_nothing_after_everything_ended(devices, database, audit, clock):
    """Its token is not made yet when its user ends all that lets them in, and is not made afterwards either."""
    asked, other = ask(devices), ask(devices)
    devices.decide(ADA, asked.user_code, grant=True)
    devices.decide(GRACE, other.user_code, grant=True)
    KillSwitch(database, audit, clock).end_own(ADA)
    assert devices.take(asked.device_code) is NotYet.UNKNOWN
    assert isinstance(devices.take(other.device_code), Minted)


def test_not_everybody_can_ask_for_ever(devices, monkeypatch):
    """Who waits takes room, so there is an end to it."""
    monkeypatch.setattr("mandamus.identity.devices.WAITING_MAX", 2)
    assert WAITING_MAX == 10_000
    ask(devices)
    ask(devices)
    with pytest.raises(MandamusError) as caught:
        ask(devices)
    assert caught.value.code is Code.RATE_LIMITED
