"""Who may what where: the one question of every verb, for each role, permission and place."""

from __future__ import annotations

import itertools

import pytest

from mandamus.identity.grants import BUILT_IN
from mandamus.kernel.access import (
    EVERY,
    EVERYWHERE,
    HOME_WIDE,
    OWNER,
    Area,
    Grant,
    Permission,
    Subject,
    authorize,
    exceeding,
    given,
    narrowed,
)
from mandamus.kernel.errors import Code, MandamusError

READS = "run:read workflow:read environment:read policy:read audit:read evidence:read system:read token:write"
MATRIX = {
    "viewer": READS,
    "approver": f"{READS} run:decide",
    "operator": f"{READS} run:request run:cancel run:retry run:settle",
}
"""What the roles that are made for grants give, written out once more."""

HERE = Area(frozenset({"shop"}), frozenset({"dev", "staging"}))
PLACES = {
    ("shop", "dev"): True,
    ("shop", "staging"): True,
    ("shop", None): True,
    (None, "dev"): True,
    (None, None): True,
    ("shop", "prod"): False,
    ("payments", "dev"): False,
    ("", "dev"): False,
    ("shop", EVERY): False,
    (EVERY, "dev"): False,
    (EVERY, EVERY): False,
}
"""Whether a grant that is held to two environments of the shop gives something there."""


def subject(*grants: Grant) -> Subject:
    return Subject("pam", "token", permissions=given(grants), grants=grants)


def unknown() -> MandamusError:
    return MandamusError(Code.NOT_FOUND, "there is no such thing", remedy="look again")


def answer(who: Subject, permission: Permission, project: str | None, environment: str | None) -> Code | None:
    """None for yes, else the code of the refusal of somebody who asks about one thing."""
    try:
        authorize(who, permission, project, environment, unknown=unknown)
    except MandamusError as error:
        return error.code
    return None


@pytest.mark.parametrize("role", [*MATRIX, "member", "auditor", "administrator"])
def test_a_role_gives_its_permissions_in_its_place_and_nowhere_else(role):
    """For each permission and place: what a role names inside, nothing outside, never what is about all the home."""
    permissions = BUILT_IN[role]
    if role in MATRIX:
        assert {each.value for each in permissions} == set(MATRIX[role].split())
    who = subject(Grant(role, permissions, HERE))
    for permission, (place, inside) in itertools.product(Permission, PLACES.items()):
        allowed = inside and permission in permissions and permission not in HOME_WIDE
        assert (answer(who, permission, *place) is None) == allowed, (role, permission, place)
        everywhere = subject(Grant(role, permissions))
        assert (answer(everywhere, permission, *place) is None) == (permission in permissions), (
            role,
            permission,
            place,
        )


def test_what_may_not_be_known_of_is_not_there():
    """Outside of what somebody may read it is 404, word for word; what they may read and not change is forbidden."""
    who = subject(Grant("viewer", BUILT_IN["viewer"], HERE))
    assert answer(who, Permission.RUN_CANCEL, "shop", "dev") is Code.FORBIDDEN
    assert answer(who, Permission.RUN_CANCEL, "shop", "prod") is Code.NOT_FOUND
    assert answer(who, Permission.RUN_READ, "payments", "dev") is Code.NOT_FOUND
    with pytest.raises(MandamusError) as caught:
        authorize(who, Permission.RUN_READ, "payments", "dev")
    assert caught.value.code is Code.FORBIDDEN, "without a word for what is not there"
    assert caught.value.context == {"user": "pam", "permission": "run:read"}


def test_two_grants_do_not_make_a_third_place():
    """A right in one environment of a project is none in the environment of another grant."""
    may = frozenset({Permission.RUN_READ})
    areas = Area(frozenset({"shop"}), frozenset({"dev"})), Area(frozenset({"payments"}), frozenset({"prod"}))
    who = subject(*(Grant("viewer", may, area) for area in areas))
    seen = [place for place in itertools.product(("shop", "payments"), ("dev", "prod")) if who.may(*may, *place)]
    assert seen == [("shop", "dev"), ("payments", "prod")]
    assert who.areas(Permission.RUN_READ) == areas
    assert subject(Grant("a", may, areas[0]), Grant("b", may)).areas(Permission.RUN_READ) == (EVERYWHERE,)
    assert who.areas(Permission.RUN_CANCEL) == ()


def test_the_guard_is_asked_too():
    """Whoever may is still kept from what cannot be recorded."""

    def full(permission: Permission) -> None:
        raise MandamusError(Code.UNAVAILABLE, permission.value, remedy="make room")

    who = Subject("ada", "os-user", permissions=OWNER, guard=full)
    assert answer(who, Permission.RUN_REQUEST, None, None) is Code.UNAVAILABLE


def test_a_program_has_no_more_than_whom_it_acts_for():
    """In no place: both must have it there, be it that one of them has it everywhere."""
    program = subject(Grant("operator", BUILT_IN["operator"], Area(None, frozenset({"dev"}))))
    person = subject(Grant("viewer", BUILT_IN["viewer"], Area(frozenset({"shop"}))))
    both = narrowed(program, person)
    assert both.areas(Permission.RUN_READ) == (Area(frozenset({"shop"}), frozenset({"dev"})),)
    assert Permission.RUN_REQUEST not in both.permissions
    owner = Subject("ada", "os-user", permissions=OWNER)
    assert narrowed(program, owner).areas(Permission.RUN_REQUEST) == program.areas(Permission.RUN_REQUEST)
    held = narrowed(owner, person)
    assert (held.permissions, held.areas(Permission.RUN_READ)) == (
        person.permissions,
        person.areas(Permission.RUN_READ),
    )
    assert [each.value for each in exceeding(program, person)][:2] == ["audit:read", "environment:read"]
    assert exceeding(both, person) == exceeding(program, owner) == []
