"""Who acts: the owner, members, claims, and who changed whom, on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mandamus.identity.model import Group, Role, User
from mandamus.identity.service import Identity
from mandamus.kernel import canonical
from mandamus.kernel.access import AUDITOR, CHANGES, EVERYWHERE, HOME_WIDE, MEMBER, OWNER, Area, Permission, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.tables.audit import audit_event

OWNER_ADA = Subject("ada", "os-user", frozenset(), OWNER)
OWNER_BOB = Subject("bob", "os-user", frozenset(), OWNER)
PEOPLE = (
    User("ada", "Ada Lovelace", "ada@example.com"),
    User("grace", "Grace Hopper"),
    User("alan", active=False),
)
GROUPS = (Group("platform", ("grace", "alan")), Group("empty"))


@pytest.fixture
def identity(database, audit, clock) -> Identity:
    made = Identity(database, audit, clock)
    with database.begin("home") as tx:
        made.create_home(tx, "ada")
    return made


@pytest.fixture
def apply(database, identity):
    """Declare users and groups in a transaction."""

    def applied(who=OWNER_ADA, users=PEOPLE, groups=GROUPS) -> None:
        with database.begin("test") as tx:
            identity.apply(tx, who, users, groups)

    return applied


def leaves(database) -> list[dict]:
    with database.read() as conn:
        found = conn.scalars(sa.select(audit_event.c.leaf).order_by(audit_event.c.event_id))
        return [canonical.loads(leaf) for leaf in found]


def refused(code: Code, action) -> MandamusError:
    with pytest.raises(MandamusError) as caught:
        action()
    assert caught.value.code is code
    assert caught.value.remedy
    return caught.value


def test_the_owner_may_everything_before_anyone_is_declared(identity):
    """Whoever made the home is known by the OS alone, verified, with every permission."""
    who = identity.embedded("ada", None, True)
    assert (who.user, who.authn, who.verified, who.permissions) == ("ada", "os-user", True, OWNER)
    assert who.groups == frozenset()
    assert identity.owner() == "ada"


def test_a_known_user_is_a_member(identity, apply):
    """A declared, active user gets what a member may, with groups and name from the platform file."""
    apply()
    who = identity.embedded("grace", None, False)
    assert (who.authn, who.permissions, who.display_name) == ("os-user", MEMBER, "Grace Hopper")
    assert who.groups == {"platform"}
    assert Permission.RUN_SETTLE not in who.permissions
    assert Permission.ENVIRONMENT_WRITE not in who.permissions


def test_strangers_and_inactive_users_may_nothing(identity, apply):
    """An OS account alone is no user of the home, nor is one that was switched off."""
    apply()
    refused(Code.FORBIDDEN, lambda: identity.embedded("eve", None, False))
    refused(Code.FORBIDDEN, lambda: identity.embedded("alan", None, False))


def test_only_the_owner_may_claim_to_be_another(identity, apply):
    """``--as`` is for the owner; what it gives is a member, marked as unverified for ever after."""
    apply()
    who = identity.embedded("ada", "grace", True)
    assert (who.user, who.authn, who.verified, who.permissions) == (
        "grace",
        "local, unverified: os-user ada",
        False,
        MEMBER,
    )
    assert who.groups == {"platform"}
    refused(Code.FORBIDDEN, lambda: identity.embedded("grace", "ada", False))
    refused(Code.FORBIDDEN, lambda: identity.embedded("eve", "grace", False))
    refused(Code.FORBIDDEN, lambda: identity.embedded("ada", "alan", True))
    assert refused(Code.NOT_FOUND, lambda: identity.embedded("ada", "grcae", True)).remedy == "did you mean `grace`?"
    refused(Code.NOT_FOUND, lambda: identity.embedded("ada", "", True))


def test_a_claim_is_recorded_with_who_made_it(identity, apply, database):
    """Each claim leaves one event that names the OS user; a refused one says so and is by the OS user."""
    apply()
    before = len(leaves(database))
    identity.embedded("ada", "grace", True)
    refused(Code.FORBIDDEN, lambda: identity.embedded("grace", "ada", False))
    refused(Code.NOT_FOUND, lambda: identity.embedded("ada", "no such\nname", True))
    made = leaves(database)[before:]
    assert {leaf["kind"] for leaf in made} == {"identity.claimed"}
    assert [(leaf["who"]["subject"], leaf["who"]["authn"], leaf["outcome"], leaf["data"]) for leaf in made] == [
        ("grace", "local, unverified: os-user ada", "ok", {"claimed": "grace", "os_user": "ada"}),
        ("grace", "os-user", "denied", {"claimed": "ada", "os_user": "grace"}),
        ("ada", "os-user", "denied", {"claimed": "no-name", "os_user": "ada"}),
    ]


def test_claiming_to_be_oneself_is_no_claim(identity, apply):
    """``--as`` with one's own name changes nothing, and a claim never gives the owner's permissions to a name."""
    apply()
    assert identity.embedded("ada", "ada", True).authn == "os-user"
    assert identity.embedded("grace", "grace", False).authn == "os-user"
    apply(users=(User("bob"),), groups=())
    assert identity.embedded("ada", "bob", True).permissions == MEMBER


def test_groups_count_active_people_only(identity, apply):
    """An inactive user is still listed, but nobody's approver."""
    apply()
    assert identity.members("platform") == {"grace"}
    assert identity.groups_of("alan") == frozenset()
    assert identity.members("nobody") == frozenset()
    assert identity.groups(OWNER_ADA) == [Group("empty"), Group("platform", ("alan", "grace"))]
    assert [user.name for user in identity.users(OWNER_ADA)] == ["ada", "alan", "grace"]
    apply(users=(User("alan"),), groups=())
    assert identity.members("platform") == {"alan", "grace"}


def test_whoever_changed_a_group_is_known(identity, apply):
    """They are a maker of what the group approves; saying the same again makes nobody one."""
    apply()
    assert identity.changed_by("platform") == "ada"
    apply(OWNER_BOB)
    apply(OWNER_BOB, groups=(Group("platform", ("alan", "grace")),))
    assert identity.changed_by("platform") == "ada"
    apply(OWNER_BOB, groups=(Group("platform", ("grace",)),))
    assert (identity.changed_by("platform"), identity.changed_by("empty")) == ("bob", "ada")
    assert identity.changed_by("nobody") is None


def test_a_file_changes_what_it_names_and_nothing_else(identity, apply):
    """Users and groups of earlier files stay; those named become exactly what the file says."""
    apply()
    apply(users=(User("grace", "G"),), groups=(Group("platform", ("ada",)),))
    assert {user.name: user.display_name for user in identity.users(OWNER_ADA)} == {
        "ada": "Ada Lovelace",
        "alan": "",
        "grace": "G",
    }
    assert identity.members("platform") == {"ada"}


def test_members_must_be_users(identity, apply, database):
    """A group with a stranger in it is refused whole, with the nearest name; users of the same file count."""
    before = len(leaves(database))
    error = refused(
        Code.NOT_FOUND, lambda: apply(users=(User("grace"),), groups=(Group("g", ("grace",)), Group("h", ("grcae",))))
    )
    assert error.remedy == "did you mean `grace`?"
    assert identity.users(OWNER_ADA) == []
    assert len(leaves(database)) == before


def test_a_member_may_not_declare_people(identity, apply):
    """Without the permission nothing is written; a nobody may not even look."""
    refused(Code.FORBIDDEN, lambda: apply(Subject("eve", "os-user", frozenset(), MEMBER)))
    refused(Code.FORBIDDEN, lambda: identity.users(Subject("eve", "os-user")))
    refused(Code.FORBIDDEN, lambda: identity.groups(Subject("eve", "os-user")))
    assert identity.users(OWNER_ADA) == []


def test_a_change_is_one_event_without_names_of_people(identity, apply, database):
    """The log says that people changed, by digests; names and addresses stay where they can be erased."""
    apply()
    apply()
    created, applied = leaves(database)
    assert (created["kind"], applied["kind"]) == ("home.created", "identity.applied")
    text = canonical.dumps(applied).decode()
    assert all(word not in text for word in ("Lovelace", "Hopper", "example.com", "grace"))
    assert applied["data"]["groups"] == canonical.digest_of({"platform": ["alan", "grace"], "empty": []})


def test_a_change_tells_what_it_changed(identity, apply, database):
    """Roles, who is active and who is in a group are told before and after, people by the digests of their names."""
    apply()
    apply(users=(User("grace", active=False),), groups=(Group("platform", ("alan",)),))
    assert leaves(database)[-1]["data"]["changes"] == [
        {
            "field": "groups.platform",
            "before": canonical.digest_of(["alan", "grace"]),
            "after": canonical.digest_of(["alan"]),
        },
        {"field": f"users.{canonical.digest_of('grace')}.active", "before": True, "after": False},
    ]


def test_a_home_has_one_owner(identity, database):
    """Making it again is free for the owner and refused for anyone else, for ever."""
    with database.begin("home") as tx:
        identity.create_home(tx, "ada")
    with pytest.raises(MandamusError) as caught, database.begin("home") as tx:
        identity.create_home(tx, "eve")
    assert caught.value.code is Code.CONFLICT
    assert identity.owner() == "ada"
    assert len(leaves(database)) == 1


def test_a_role_and_projects_are_kept_and_bind(identity, apply):
    """An auditor may read and change nothing; whoever is held to projects never reads what belongs to none."""
    auditor, held = User("rita", role=Role.AUDITOR), User("rob", role=Role.AUDITOR, projects=("shop",))
    pam = User("pam", projects=("payments", "shop"))
    apply(users=(auditor, held, pam), groups=())
    assert identity.users(OWNER_ADA) == [pam, auditor, held]
    rita, rob, who = (identity.embedded(name, None, False) for name in ("rita", "rob", "pam"))
    assert (rita.permissions, rita.areas(Permission.RUN_READ)) == (AUDITOR, (EVERYWHERE,))
    assert not rita.permissions & CHANGES
    assert rob.permissions == AUDITOR - HOME_WIDE
    assert rob.areas(Permission.RUN_READ) == (Area(frozenset({"shop"})),)
    assert (who.permissions, who.told) == (MEMBER - HOME_WIDE, None)
    seen = [who.may(Permission.RUN_READ, project, "prod") for project in ("shop", "payments", "other", "")]
    assert seen == [True, True, False, False]
    assert identity.embedded("ada", "rita", True).permissions == AUDITOR, "a claim gives what the role may"
    apply(users=(User("rita"),), groups=())
    assert identity.embedded("rita", None, False).permissions == MEMBER


def test_what_an_auditor_reads_is_recorded_before_it_is_read(identity, apply, database, monkeypatch):
    """Without its event nothing is read; others read without one."""
    apply(users=(User("rita", role=Role.AUDITOR), User("grace")), groups=())
    identity.users(identity.embedded("grace", None, False))
    rita = identity.embedded("rita", None, False)
    identity.users(rita)
    told = [leaf for leaf in leaves(database) if leaf["kind"] == "access.read"]
    assert [(leaf["who"]["subject"], leaf["data"]["verb"]) for leaf in told] == [("rita", "Identity.users")]

    def full(*_args, **_kwargs):
        raise MandamusError(Code.UNAVAILABLE, "no space", remedy="make some")

    monkeypatch.setattr(identity._audit, "record", full)
    refused(Code.UNAVAILABLE, lambda: identity.users(rita))
