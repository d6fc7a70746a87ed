"""Access tokens: shown once, kept as a hash, never worth more than who made them."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
import sqlalchemy as sa

from mandamus.audit.kinds import Kind
from mandamus.identity import tokens as tokens_module
from mandamus.identity.model import DAYS_MAX
from mandamus.identity.tokens import Tokens
from mandamus.kernel.access import HOME_WIDE, MEMBER, OWNER, Area, Grant, Permission, Subject, given
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.tables.identity import identity_token

ADA = Subject("ada", "os-user", permissions=MEMBER)
GRACE = Subject("grace", "os-user", permissions=MEMBER)
CHIEF = Subject("chief", "os-user", permissions=OWNER)


@pytest.fixture
def people() -> dict[str, Subject]:
    """Who may come in, and what they may."""
    return {each.user: each for each in (ADA, GRACE, CHIEF)}


@pytest.fixture
def tokens(database, audit, clock, people) -> Tokens:
    return Tokens(database, audit, people.get, clock, random.Random(3).randbytes)


def refused(tokens: Tokens, secret: str) -> bool:
    """Whether a secret is refused."""
    with pytest.raises(MandamusError) as raised:
        tokens.authenticate(secret)
    return raised.value.code is Code.UNAUTHENTICATED


def test_a_token_acts_for_its_maker(tokens):
    """It has the form scanners know, and gives the maker's own rights."""
    made = tokens.create(ADA, "ci")
    assert re.fullmatch(r"mdm_[0-9A-Za-z]{49}", made.secret)
    who = tokens.authenticate(made.secret)
    assert (who.user, who.authn, who.permissions, who.verified) == ("ada", "token", MEMBER, True)


def test_the_secret_is_kept_nowhere(tokens, database):
    """Not in its row, and not in the log."""
    made = tokens.create(ADA, "ci")
    with database.read() as conn:
        row = conn.execute(identity_token.select()).one()
        leaves = conn.exec_driver_sql("SELECT leaf FROM audit_event").scalars().all()
    assert made.secret[4:] not in repr(tuple(row))
    assert not any(made.secret[4:].encode() in bytes(leaf) for leaf in leaves)


def test_a_token_may_be_narrowed_and_never_widened(tokens):
    """Only what the maker has; and what is made with a narrow token is as narrow."""
    made = tokens.create(ADA, "reads", permissions=[Permission.RUN_READ, Permission.TOKEN_WRITE])
    who = tokens.authenticate(made.secret)
    assert who.permissions == {Permission.RUN_READ, Permission.TOKEN_WRITE}
    with pytest.raises(MandamusError) as raised:
        tokens.create(ADA, "more", permissions=[Permission.POLICY_WRITE])
    assert raised.value.code is Code.FORBIDDEN
    child = tokens.authenticate(tokens.create(who, "child").secret)
    assert child.permissions == who.permissions


def test_a_token_is_worth_what_its_maker_is_now(tokens, people):
    """Rights that are taken away are gone from tokens too, and so is everything with the person."""
    secret = tokens.create(ADA, "ci").secret
    people["ada"] = Subject("ada", "os-user", permissions=frozenset({Permission.RUN_READ}))
    assert tokens.authenticate(secret).permissions == {Permission.RUN_READ}
    del people["ada"]
    assert refused(tokens, secret)


def test_a_token_ends_by_itself(tokens, clock):
    """At the end of its days, and no day later than 90."""
    secret = tokens.create(ADA, "ci", days=2).secret
    clock.advance(2 * 86_400 - 60)
    assert tokens.authenticate(secret).user == "ada"
    clock.advance(61)
    assert refused(tokens, secret)
    with pytest.raises(MandamusError):
        tokens.create(ADA, "long", days=DAYS_MAX + 1)


def test_a_token_is_ended_by_its_maker_or_an_administrator(tokens):
    """At once; of somebody else's it is not even said that it is there."""
    made = tokens.create(ADA, "ci")
    with pytest.raises(MandamusError) as raised:
        tokens.revoke(GRACE, made.token.id)
    assert raised.value.code is Code.NOT_FOUND
    ended = tokens.revoke(ADA, made.token.id)
    assert refused(tokens, made.secret)
    assert tokens.revoke(CHIEF, made.token.id) == ended


def test_one_sees_ones_own(tokens):
    """And an administrator everybody's."""
    for who in (ADA, GRACE):
        tokens.create(who, f"of {who.user}")
    assert [each.user for each in tokens.list(ADA)] == ["ada"]
    assert {each.user for each in tokens.list(CHIEF)} == {"ada", "grace"}


def test_it_is_known_when_a_token_was_last_used(tokens, clock):
    """To a minute, so that requests do not wait for a commit each."""
    secret = tokens.create(ADA, "ci").secret
    assert tokens.list(ADA)[0].used_us is None
    tokens.authenticate(secret)
    first = tokens.list(ADA)[0].used_us
    clock.advance(10)
    tokens.authenticate(secret)
    assert tokens.list(ADA)[0].used_us == first
    clock.advance(60)
    tokens.authenticate(secret)
    assert tokens.list(ADA)[0].used_us > first


def test_making_and_ending_stand_in_the_log(tokens, audit):
    """With the token's id."""
    made = tokens.create(ADA, "ci").token
    tokens.revoke(ADA, made.id)
    audit.flush()
    kinds = [leaf.bytes for leaf in audit.stream(f"token/{made.id}")]
    assert [Kind.TOKEN_CREATED.text.encode() in kinds[0], Kind.TOKEN_REVOKED.text.encode() in kinds[1]] == [True, True]


@pytest.mark.parametrize("secret", ["", "mdm_", "x", "mdm_" + "A" * 49, "mdm_" + "é" * 49, "mdm_" + "A" * 10_000])
def test_what_is_no_token_is_refused_without_a_look(tokens, secret):
    """In the same words as any other."""
    assert refused(tokens, secret)


def test_whatever_is_wrong_as_much_is_done_to_find_out(tokens, database, clock):
    """Unknown, mistyped, ended and revoked: the same statements, so that nothing is told by the time it takes."""
    short, revoked = tokens.create(ADA, "short", days=1), tokens.create(ADA, "revoked", days=5)
    tokens.revoke(ADA, revoked.token.id)
    clock.advance(2 * 86_400)
    shown = [tokens_module._secret(random.Random(99).randbytes(32)), short.secret, revoked.secret]
    said: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    found = []
    for each in shown:
        said.clear()
        assert refused(tokens, each)
        found.append(list(said))
    assert found[0]
    assert found[0] == found[1] == found[2]
    # What has not even the form of one costs nothing at all.
    said.clear()
    assert refused(tokens, short.secret[:-1] + ("0" if short.secret[-1] != "0" else "1"))
    assert said == []


def test_a_token_is_held_to_its_projects(tokens, people):
    """It lets its user in there only, gives nothing that is about all the home, and makes none that is wider."""
    made = tokens.create(CHIEF, "ships the shop", projects=["shop"])
    who = tokens.authenticate(made.secret)
    assert who.areas(Permission.RUN_REQUEST) == (Area(frozenset({"shop"})),)
    assert not who.permissions & HOME_WIDE
    assert tokens.list(CHIEF)[0].projects == ("shop",)
    with pytest.raises(MandamusError) as raised:
        tokens.create(who, "wider")
    assert raised.value.code is Code.FORBIDDEN
    again = tokens.authenticate(tokens.create(who, "as narrow", projects=["shop"]).secret)
    assert again.areas(Permission.RUN_REQUEST) == who.areas(Permission.RUN_REQUEST)
    held = (Grant("member", MEMBER, Area(frozenset({"pay"}))),)
    people["ada"] = replace(ADA, permissions=given(held), grants=held)
    nowhere = tokens.authenticate(tokens.create(people["ada"], "nowhere", projects=["shop"]).secret)
    assert not nowhere.may(Permission.RUN_READ, "shop", "dev")
    assert not nowhere.may(Permission.RUN_READ, "pay", "dev")
    assert nowhere.permissions == frozenset()
