"""A provider and the platform file each have their say of people, and neither undoes the other's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mandamus.bootstrap.house import House, open_house
from mandamus.identity.model import Role
from mandamus.identity.provided import PersonGiven, TeamGiven
from mandamus.kernel.errors import Code, MandamusError
from mandamus.settings import Settings

PLATFORM = """
users: {ada: {name: Ada}, grace: {}}
groups: {platform: [ada, grace], others: []}
provisioning: {users: [ada], groups: [platform]}
"""


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    """A home that leaves one user and one group to a provider."""
    made = open_house(Settings(), dict(os.environ), tmp_path / "home", None)
    declare(made, PLATFORM)
    yield made
    made.close()


def declare(house: House, text: str) -> None:
    """Apply a platform file."""
    file = house.home / "platform.yaml"
    file.write_text(text)
    house.configure.apply(house.who, file)


def refused(verb, *words) -> MandamusError:
    """The error of what is not to be."""
    with pytest.raises(MandamusError) as raised:
        verb(*words)
    return raised.value


def test_only_what_the_file_leaves_to_it_is_taken_over(house):
    """The name in the section may be taken over, the one beside it not; role and projects stay as declared."""
    made = house.provisioning.create_person(house.who, PersonGiven("ADA", "Ada of the provider"))
    assert made.given.name == "ada"
    for name in ("grace", house.who.user):
        assert refused(house.provisioning.create_person, house.who, PersonGiven(name)).code is Code.CONFLICT
    team = house.provisioning.create_team(house.who, TeamGiven("Platform", None, frozenset({made.link.id})))
    assert team.link.name == "platform"
    assert house.identity.members("platform") == {"ada"}
    assert refused(house.provisioning.create_team, house.who, TeamGiven("Others")).code is Code.CONFLICT


def test_applying_the_file_again_lets_nobody_in(house):
    """Whom the provider shut out stays out; the file still says what they are here for."""
    made = house.provisioning.create_person(house.who, PersonGiven("ada"))
    house.provisioning.change_person(house.who, made.link.id, lambda now: replace(now.given, active=False))
    declare(house, "users: {ada: {name: Ada, active: true, role: auditor}}")
    found = {user.name: user for user in house.identity.users(house.who)}["ada"]
    assert (found.active, found.role) == (False, Role.AUDITOR)
    assert house.identity.active("ada") is None


def test_a_group_of_the_provider_is_not_declared_beside_it(house):
    """Else two would say who is in it; what the provider deleted is the file's again, and no provider's any more."""
    made = house.provisioning.create_team(house.who, TeamGiven("Auditors of Ledgers"))
    text = "groups: {auditors-of-ledgers: [grace]}"
    assert refused(declare, house, text).code is Code.CONFLICT
    house.provisioning.remove_team(house.who, made.link.id, lambda now: now.given)
    declare(house, text)
    assert house.identity.members("auditors-of-ledgers") == {"grace"}
    assert refused(house.provisioning.create_team, house.who, TeamGiven("Auditors of Ledgers")).code is Code.CONFLICT


def test_the_owner_is_left_to_nobody(house):
    """A file that says so is refused whole."""
    error = refused(declare, house, f"provisioning: {{users: [{house.who.user}]}}")
    assert error.code is Code.FORBIDDEN


def test_a_program_is_no_person_to_take_over(house):
    """Service accounts belong to whoever answers for them."""
    declare(house, "service_accounts: {robot: {owner: ada}}\nprovisioning: {users: [robot]}")
    assert refused(house.provisioning.create_person, house.who, PersonGiven("robot")).code is Code.CONFLICT


def test_who_answers_for_the_providers_account_is_a_maker(house):
    """Members that a program brings are the work of the people behind it as well: they do not approve by that group."""
    who = replace(house.who, user="okta", program=True, owners=frozenset({"grace"}))
    house.provisioning.create_team(who, TeamGiven("Deciders"))
    assert house.identity.changers("deciders") == {"okta", "grace"}
