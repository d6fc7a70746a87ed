"""Before anything is asked for: who would be asked in an environment, who of them could say yes, what is refused."""

from __future__ import annotations

import getpass
from dataclasses import replace

import pytest

from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs.outlook import Seat

PLATFORM = """
users:
  ada: {}
  grace: {}
  joan: {}
  pam: {projects: [other]}
  kim: {role: none}
  OWNER: {}
groups:
  platform: [ada, grace, joan, OWNER]
  security: [joan]
environments:
  dev: {policies: [policy]}
  prod: {protected: true, policies: [policy], approvers: {platform: {count: 3}, security: {count: 1}}}
  bare: {protected: true}
projects:
  shop: {root: .}
grants:
  kim-reads: {role: viewer, to: {user: kim}}
  kim-asks: {role: operator, to: {user: kim}, environments: [dev]}
"""


@pytest.fixture
def ask(stage):
    """The outlook of somebody's request for a run of the project in an environment."""
    stage.apply(PLATFORM)

    def looked(user: str, environment: str, **changes):
        house = stage.house(user)
        return house.runs.outlook(replace(house.who, **changes), environment, "shop")

    return looked


def test_of_each_group_it_is_said_who_could_say_yes(ask):
    """Not whoever asks, and not whoever declared the environment, the project or the group, in whatever groups."""
    owner = getpass.getuser()
    found = ask("ada", "prod")
    assert found.seats == (
        Seat("platform", 3, ("grace", "joan"), ("ada", owner)),
        Seat("security", 1, ("joan",), ()),
    )
    assert [seat.enough for seat in found.seats] == [False, True]
    assert ask("grace", "prod").seats[0] == Seat("platform", 3, ("ada", "joan"), ("grace", owner))
    assert found.environment.project.name == "shop"


def test_without_approvers_anybody_else_is_asked(ask):
    """One of whoever may decide, when policy asks for a yes and names nobody."""
    (seat,) = ask("ada", "dev").seats
    assert (seat.group, seat.count, seat.enough) == ("", 1, True)


def test_a_request_that_would_be_refused_is_said_before(ask):
    """A protected environment takes none of a claimed identity, and allows nothing without a policy set."""
    assert ask("ada", "dev").refused == ""
    assert "everything is denied" in ask("ada", "bare", authn="token").refused
    assert "only claimed" in ask("ada", "prod", authn="local, unverified: os-user x").refused
    assert ask("ada", "prod", authn="token").refused == ""


@pytest.mark.parametrize(
    ("user", "environment", "code"),
    [
        ("kim", "prod", Code.FORBIDDEN),
        ("pam", "dev", Code.NOT_FOUND),
        ("ada", "none", Code.NOT_FOUND),
    ],
)
def test_only_whoever_may_ask_is_told(ask, user, environment, code):
    """What somebody may read and not ask for is forbidden; what they may not know of is not there."""
    with pytest.raises(MandamusError) as refused:
        ask(user, environment)
    assert refused.value.code is code
    assert ask("kim", "dev").environment.name == "dev"
