"""Roles and grants as they are declared, and the programs that have some, on both databases."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import sqlalchemy as sa

from mandamus.audit.kinds import Kind
from mandamus.identity import exchange_store
from mandamus.identity.declared_machines import DeclaredMachines, Machines
from mandamus.identity.declared_sign_in import DeclaredSignIn
from mandamus.identity.exchange import Exchange
from mandamus.identity.granting import Granting
from mandamus.identity.grants import BUILT_IN, DAY_MIN, DAYS, Granted, OwnRole, To, Window
from mandamus.identity.kill_switch import KillSwitch
from mandamus.identity.model import Group, Nature, Role, User
from mandamus.identity.service import Identity
from mandamus.identity.sessions import Sessions
from mandamus.identity.sign_in import SignIn
from mandamus.identity.tokens import Tokens
from mandamus.kernel import canonical
from mandamus.kernel.access import MEMBER, OWNER, PEOPLE_ONLY, Area, Permission, Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.tables.audit import audit_event

ADA = Subject("ada", "os-user", permissions=OWNER)
PEOPLE = (User("ada"), User("pam", role=Role.NONE), User("grace"), User("rob", role=Role.NONE))
GROUPS = (Group("deployers", ("pam", "rob")),)
CI = User("ci", role=Role.NONE, nature=Nature.SERVICE_ACCOUNT, owner="grace")
BOT = User("bot", role=Role.NONE, nature=Nature.AGENT, owner="ada")
SHIPS = OwnRole("ships", frozenset({Permission.RUN_READ, Permission.RUN_REQUEST, Permission.TOKEN_WRITE}))
HOUR_US = 3_600 * 1_000_000


class Home:
    """The identities of one home, and a way to declare some."""

    def __init__(self, database, audit, clock) -> None:
        self.db, self.clock = database, clock
        self.identity = Identity(database, audit, clock)
        self.granting = Granting(database, audit, clock)
        of = self.identity.active
        self.tokens = Tokens(database, audit, of, clock, random.Random(5).randbytes)
        self.sessions = Sessions(database, audit, of, clock, random.Random(6).randbytes)
        self.kill_switch = KillSwitch(database, audit, clock)
        with database.begin("home") as tx:
            self.identity.create_home(tx, "ada")

    def apply(self, *grants, users=(), groups=(), roles=(), who=ADA) -> None:
        """Declare as a platform file does."""
        with self.db.begin("test") as tx:
            self.identity.apply(tx, who, users, groups)
            self.granting.apply(tx, who, roles, grants)

    def who(self, name: str) -> Subject:
        """Somebody who comes in now."""
        found = self.identity.active(name)
        assert found is not None
        return found

    def told(self, kind: Kind) -> list[dict]:
        """What the log says of a kind."""
        with self.db.read() as conn:
            leaves = conn.scalars(
                sa.select(audit_event.c.leaf).where(audit_event.c.kind == kind.text).order_by(audit_event.c.event_id)
            )
            return [canonical.loads(leaf) for leaf in leaves]


@pytest.fixture
def home_of(database, audit, clock) -> Home:
    made = Home(database, audit, clock)
    made.apply(users=(*PEOPLE, CI, BOT), groups=GROUPS, roles=(SHIPS,))
    return made


def refused(code: Code, action) -> MandamusError:
    with pytest.raises(MandamusError) as caught:
        action()
    assert caught.value.code is code
    return caught.value


def grant(**given) -> Granted:
    return Granted(**{"name": "ship", "role": "ships", "to": To.GROUP, "subject": "deployers"} | given)


def test_a_grant_to_a_group_is_one_to_whoever_is_in_it(home_of):
    """In its place, by its role, from the next request on; to nobody else, and without it to nobody."""
    assert home_of.who("pam").permissions == frozenset()
    home_of.apply(grant(projects=("shop",), environments=("dev",)))
    pam = home_of.who("pam")
    assert pam.permissions == SHIPS.permissions
    assert pam.areas(Permission.RUN_REQUEST) == (Area(frozenset({"shop"}), frozenset({"dev"})),)
    assert home_of.who("grace").permissions == MEMBER
    home_of.apply(groups=(Group("deployers", ("rob",)),))
    assert (home_of.who("pam").permissions, home_of.who("rob").permissions) == (frozenset(), SHIPS.permissions)
    home_of.apply(grant(active=False))
    assert home_of.who("rob").permissions == frozenset()


def test_a_role_of_ones_own_gives_what_it_names_now(home_of):
    """Whoever changes a role changes it for everybody who has it; a built-in one needs no declaration."""
    home_of.apply(grant())
    home_of.apply(roles=(OwnRole("ships", frozenset({Permission.RUN_READ})),))
    assert home_of.who("pam").permissions == {Permission.RUN_READ}
    home_of.apply(grant(role="auditor"))
    assert Permission.AUDIT_READ_ALL in home_of.who("pam").permissions
    assert home_of.who("pam").told is not None, "each read by an auditor is recorded"


def test_a_grant_ends_by_itself(home_of, clock):
    """At the moment it names, without anybody's doing: the next request finds it ended."""
    home_of.apply(grant(until_us=clock.at_us + HOUR_US))
    assert home_of.who("pam").permissions == SHIPS.permissions
    clock.at_us += HOUR_US
    assert home_of.who("pam").permissions == frozenset()


def test_a_grant_holds_in_its_windows(home_of, clock):
    """On its days between its hours in UTC; the clock begins on a Thursday at midnight."""
    office = Window((DAYS.index("thu"), DAYS.index("fri")), 8 * 60, 18 * 60)
    home_of.apply(grant(windows=(office,)))
    seen = []
    for hour in (0, 7, 8, 17, 18, 24 + 9, 48 + 9):
        clock.at_us = 1_767_225_600_000_000 + hour * HOUR_US
        seen.append(bool(home_of.who("pam").permissions))
    assert seen == [False, False, True, True, False, True, False]


def test_a_window_may_go_past_midnight():
    """It is then of the day on which it began."""
    thursday = 1_767_225_600_000_000
    night = Window((DAYS.index("thu"),), 22 * 60, 6 * 60)
    assert [night.holds(thursday + hour * HOUR_US) for hour in (5, 21, 22, 24 + 5, 24 + 6, 24 + 22)] == [
        False, False, True, True, False, False,
    ]  # fmt: skip
    assert Window(tuple(range(7)), 0, DAY_MIN).holds(thursday)
    assert night.text() == "thu 22:00-06:00"


def test_what_was_declared_before_stays(home_of):
    """Whoever has a role of the old kind has it, beside what grants give."""
    home_of.apply(grant(to=To.USER, subject="grace", projects=("shop",)))
    assert home_of.who("grace").permissions == MEMBER
    assert home_of.who("grace").everywhere(Permission.RUN_REQUEST)
    home_of.apply(users=(replace(User("grace"), projects=("payments",)),))
    places = home_of.who("grace").areas(Permission.RUN_REQUEST)
    assert set(places) == {Area(frozenset({"payments"})), Area(frozenset({"shop"}))}


def test_a_change_is_one_event_that_says_what_it_was(home_of):
    """Before and after by field, whom a grant is to as a digest when it is a person; the same again is no event."""
    home_of.apply(grant(to=To.USER, subject="pam"))
    home_of.apply(grant(to=To.USER, subject="pam", environments=("dev",)))
    home_of.apply(grant(to=To.USER, subject="pam", environments=("dev",)))
    first, second, third = home_of.told(Kind.ACCESS_APPLIED)
    assert {change["field"] for change in first["data"]["changes"]} == {"roles.ships"}
    by_field = {change["field"]: change["after"] for change in second["data"]["changes"]}
    assert by_field["grants.ship.user"] == canonical.digest_of("pam")
    (moved,) = third["data"]["changes"]
    assert (moved["field"], moved["before"], moved["after"]) == (
        "grants.ship.environments", None, canonical.digest_of(["dev"]),
    )  # fmt: skip


def test_nobody_is_granted_what_is_not_there(home_of):
    """A role, a user or a group that nobody declared; and who may not change identities changes none."""
    for wrong in (grant(role="ship"), grant(subject="deployer"), grant(to=To.USER, subject="pan")):
        assert "did you mean" in refused(Code.NOT_FOUND, lambda wrong=wrong: home_of.apply(wrong)).remedy
    grace = home_of.who("grace")
    refused(Code.FORBIDDEN, lambda: home_of.apply(grant(), who=grace))
    held = replace(ADA, grants=())
    refused(Code.FORBIDDEN, lambda: home_of.apply(grant(), who=held))


def test_a_name_stays_a_persons_or_a_programs(home_of):
    """A log that names it means one thing; and people answer for programs, who are in no group."""
    refused(Code.CONFLICT, lambda: home_of.apply(users=(User("ci"),)))
    refused(Code.CONFLICT, lambda: home_of.apply(users=(replace(CI, name="grace"),)))
    refused(Code.NOT_FOUND, lambda: home_of.apply(users=(replace(CI, owner="bot"),)))
    refused(Code.NOT_FOUND, lambda: home_of.apply(groups=(Group("deployers", ("ci",)),)))


def test_a_service_account_acts_for_itself_and_its_owner_answers(home_of):
    """Only its owner makes it a token, with no more than they have; both of them are makers of what it does."""
    home_of.apply(grant(to=To.USER, subject="ci", environments=("dev",)))
    grace = home_of.who("grace")
    made = home_of.tokens.create(grace, "deploys", account="ci")
    who = home_of.tokens.authenticate(made.secret)
    assert (who.user, who.program, who.behalf_of, who.makers) == ("ci", True, None, {"ci", "grace"})
    assert who.areas(Permission.RUN_REQUEST) == (Area(None, frozenset({"dev"})),)
    by_ada = home_of.tokens.create(ADA, "more", account="ci")
    assert home_of.tokens.authenticate(by_ada.secret).makers == {"ci", "grace", "ada"}
    home_of.apply(grant(to=To.USER, subject="pam"))
    pam = home_of.who("pam")
    refused(Code.NOT_FOUND, lambda: home_of.tokens.create(pam, "mine", account="ci"))
    refused(Code.NOT_FOUND, lambda: home_of.tokens.create(pam, "mine", account="nobody"))
    refused(Code.NOT_FOUND, lambda: home_of.tokens.create(pam, "mine", account="grace"))
    refused(Code.FORBIDDEN, lambda: home_of.tokens.create(who, "another"))
    home_of.apply(Granted("admins", "administrator", To.USER, "ci"))
    refused(Code.FORBIDDEN, lambda: home_of.tokens.create(grace, "wider", account="ci"))
    assert {each.user for each in home_of.tokens.list(grace)} == {"ci"}
    home_of.tokens.revoke(grace, made.token.id)
    refused(Code.UNAUTHENTICATED, lambda: home_of.tokens.authenticate(made.secret))


def test_a_program_has_nothing_that_decides(home_of):
    """Whatever it is granted: with a program of one's own nobody is two people."""
    home_of.apply(Granted("all", "administrator", To.USER, "ci"), Granted("alls", "administrator", To.USER, "bot"))
    for name in ("ci", "bot"):
        who = home_of.who(name)
        assert not who.permissions & PEOPLE_ONLY
        assert not any(who.areas(permission) for permission in PEOPLE_ONLY)
    assert BUILT_IN["administrator"] >= PEOPLE_ONLY


def test_an_agent_acts_for_whoever_made_its_token(home_of):
    """Both are recorded, and it has no more, in no place and at no time, than both of them have."""
    home_of.apply(
        Granted("bots", "operator", To.USER, "bot", environments=("dev",)),
        Granted("pams", "viewer", To.USER, "pam", projects=("shop",)),
    )
    made = home_of.tokens.create(home_of.who("pam"), "helps me", account="bot")
    who = home_of.tokens.authenticate(made.secret)
    assert (who.user, who.behalf_of, who.program, who.makers) == ("bot", "pam", True, {"bot", "pam", "ada"})
    assert who.areas(Permission.RUN_READ) == (Area(frozenset({"shop"}), frozenset({"dev"})),)
    assert Permission.RUN_REQUEST not in who.permissions
    home_of.apply(Granted("pams", "operator", To.USER, "pam", projects=("shop",)))
    assert Permission.RUN_REQUEST in home_of.tokens.authenticate(made.secret).permissions
    home_of.apply(users=(replace(User("pam", role=Role.NONE), active=False),))
    refused(Code.UNAUTHENTICATED, lambda: home_of.tokens.authenticate(made.secret))


def test_what_a_program_declares_is_also_the_work_of_who_answers_for_it(home_of, database, audit):
    """Of who gets into a group by a provider, and of an exchange: else its owner would approve what they let in."""
    home_of.apply(Granted("declares", "administrator", To.USER, "ci"))
    ci = home_of.who("ci")
    by_provider = SignIn("https://id.example", "mandamus", "https://here.example", groups={"Ops": "deployers"})
    exchange = Exchange("deploys", "https://ci.example", "here", {"sub": ("x",)}, "ci", frozenset())
    with database.begin("test") as tx:
        DeclaredSignIn(database, audit).apply(tx, ci, by_provider)
        DeclaredMachines(database, audit).apply(tx, ci, Machines((exchange,)))
    assert home_of.identity.changers("deployers") == {"ci", "grace"}
    with database.begin("test") as tx:
        (kept,) = exchange_store.declared(tx.conn)
        other = home_of.tokens.issue(tx, Subject("bot", "x"), "a job", None, 2**51, made_by=kept.by)
    assert home_of.tokens.authenticate(other.secret).makers == {"bot", "ada", "ci", "grace"}


def test_a_program_lets_nobody_in(home_of):
    """By a link it would be a person, and decide."""
    home_of.apply(Granted("declares", "administrator", To.USER, "ci"))
    refused(Code.FORBIDDEN, lambda: home_of.sessions.link(home_of.who("ci"), "pam"))


def test_everything_of_somebody_ends_at_once(home_of):
    """Sessions, tokens, links, and the tokens of agents that act for them; nothing of anybody else."""
    home_of.apply(Granted("bots", "operator", To.USER, "bot"))
    grace = home_of.who("grace")
    session = home_of.sessions.open(home_of.sessions.link(grace)).secret
    shown = [home_of.tokens.create(grace, "mine").secret, home_of.tokens.create(grace, "bot", account="bot").secret]
    others = home_of.sessions.open(home_of.sessions.link(ADA)).secret
    link = home_of.sessions.link(grace)
    refused(Code.FORBIDDEN, lambda: home_of.kill_switch.end_all(grace, "ada"))
    refused(Code.NOT_FOUND, lambda: home_of.kill_switch.end_all(ADA, "nobody"))
    ended = home_of.kill_switch.end_own(grace)
    assert (ended.sessions, ended.tokens, ended.links) == (1, 2, 1)
    refused(Code.UNAUTHENTICATED, lambda: home_of.sessions.authenticate(session))
    refused(Code.UNAUTHENTICATED, lambda: home_of.sessions.open(link))
    for secret in shown:
        refused(Code.UNAUTHENTICATED, lambda secret=secret: home_of.tokens.authenticate(secret))
    assert home_of.sessions.authenticate(others).user == "ada"
    (told,) = home_of.told(Kind.ACCESS_ENDED)
    assert told["data"] == {"user": "grace", "sessions": 1, "tokens": 2, "links": 1}


def test_sessions_are_seen_and_ended_by_whose_they_are(home_of):
    """One's own by everybody, another's with `identity:write`; for others they are not there."""
    grace = home_of.who("grace")
    opened = home_of.sessions.open(home_of.sessions.link(grace))
    home_of.sessions.open(home_of.sessions.link(ADA))
    assert [each.user for each in home_of.kill_switch.sessions(grace)] == ["grace"]
    refused(Code.FORBIDDEN, lambda: home_of.kill_switch.sessions(grace, everybody=True))
    refused(Code.FORBIDDEN, lambda: home_of.kill_switch.sessions(grace, user="ada"))
    assert [each.user for each in home_of.kill_switch.sessions(ADA, everybody=True)] == ["ada", "grace"]
    (adas,) = home_of.kill_switch.sessions(ADA)
    refused(Code.NOT_FOUND, lambda: home_of.kill_switch.end(grace, adas.id))
    assert home_of.kill_switch.end(ADA, opened.session.id).ended_us is not None
    home_of.kill_switch.end(grace, opened.session.id)
    refused(Code.UNAUTHENTICATED, lambda: home_of.sessions.authenticate(opened.secret))
    assert [leaf["data"]["why"] for leaf in home_of.told(Kind.SESSION_ENDED)] == ["ended_by_hand"], "once"


def test_since_when_somebody_may_is_kept(home_of, clock):
    """For as long as it is so: an unrelated change, such as of a display name, does not begin it anew."""
    before = {user.name: user.since_us for user in home_of.identity.users(ADA)}
    clock.at_us += HOUR_US
    home_of.apply(users=(User("grace", "Grace"), replace(PEOPLE[1], projects=("shop",))))
    home_of.apply(groups=(Group("deployers", ("pam", "grace")),))
    after = {user.name: user.since_us for user in home_of.identity.users(ADA)}
    assert after["grace"] == before["grace"]
    assert after["pam"] > before["pam"]
    members = home_of.identity.memberships()
    assert [(group, user) for group, user, _ in members] == [("deployers", "grace"), ("deployers", "pam")]
    since = {user: at_us for _, user, at_us in members}
    assert since["grace"] > since["pam"]
