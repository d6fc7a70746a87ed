"""The access review: it tells of everybody what they may and may approve, and since when; reading it is recorded."""

from __future__ import annotations

import csv
import io

import pytest

from mandamus.audit.kinds import Kind
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.catalog.model import Environment
from mandamus.catalog.service import Catalog
from mandamus.identity.granting import Granting
from mandamus.identity.grants import Granted, OwnRole, To, Window
from mandamus.identity.model import Group, Nature, Role, User
from mandamus.identity.service import Identity
from mandamus.kernel.access import MEMBER, OWNER, Permission, Subject
from mandamus.kernel.clock import rfc3339
from mandamus.kernel.errors import Code, MandamusError
from mandamus.operations.access_review import AccessReview
from mandamus.store.blobs import Blobs
from mandamus.store.keys import Keys

ADA = Subject("ada", "os-user", permissions=OWNER)
DAY_US = 86_400 * 1_000_000


class Stage:
    """A home of which everything is declared by Ada, a day after the other."""

    def __init__(self, database, home, clock, entropy) -> None:
        self.db, self.clock = database, clock
        self.audit = Audit(database, home / "log", Signer("log.example.com/home", b"\x07" * 32), clock, entropy)
        self.identity = Identity(database, self.audit, clock)
        self.granting = Granting(database, self.audit, clock)
        blobs = Blobs(home / "blobs", Keys(home / "keys", entropy), entropy)
        self.catalog = Catalog(database, blobs, self.audit, clock, {})
        self.access = AccessReview(database, self.audit, self.identity, self.granting, self.catalog, clock)
        with database.begin("home") as tx:
            self.identity.create_home(tx, "ada")

    def apply(self, *, users=(), groups=(), roles=(), grants=(), environments=()) -> int:
        """Declare, the next day; gives the moment before."""
        self.clock.at_us += DAY_US
        at_us = self.clock.at_us
        with self.db.begin("test") as tx:
            self.identity.apply(tx, ADA, users, groups)
            self.granting.apply(tx, ADA, roles, grants)
            for each in environments:
                self.catalog.apply_environment(tx, ADA, each)
        return at_us


@pytest.fixture
def stage(database, home, clock, entropy) -> Stage:
    return Stage(database, home, clock, entropy)


def test_everybody_stands_there_with_all_they_may_and_since_when(stage):
    """By their own role, by each grant, by the group it is to; what has ended, and who has left, is not there."""
    users = (User("grace"), User("pam", role=Role.NONE), User("gone", active=False))
    ci = User("ci", role=Role.NONE, nature=Nature.SERVICE_ACCOUNT, owner="grace")
    first = stage.apply(users=(*users, ci), groups=(Group("team", ("grace", "gone")),))
    role = OwnRole("ships", frozenset({Permission.RUN_READ, Permission.POLICY_WRITE}))
    office = Window((0, 4), 8 * 60, 18 * 60)
    second = stage.apply(
        roles=(role,),
        grants=(
            Granted("team-ships", "ships", To.GROUP, "team", ("shop",), ("dev",), (office,)),
            Granted("ci-operates", "operator", To.USER, "ci", until_us=stage.clock.at_us + 9 * DAY_US),
            Granted("over", "operator", To.USER, "pam", until_us=stage.clock.at_us),
            Granted("off", "operator", To.USER, "pam", active=False),
        ),
    )
    third = stage.apply(groups=(Group("team", ("grace", "pam")),))
    found = stage.access.review(ADA)
    told = {(each.user, each.role, each.through): each for each in found.permissions}
    assert sorted(told) == [
        ("ada", "owner", "owner of the home"),
        ("ci", "operator", "grant ci-operates"),
        ("grace", "member", "their own role"),
        ("grace", "ships", "grant team-ships"),
        ("pam", "ships", "grant team-ships"),
    ]
    grace = told["grace", "member", "their own role"]
    assert set(grace.permissions) == {each.value for each in MEMBER}
    assert 0 <= grace.since_us - first < 1_000
    ships = told["grace", "ships", "grant team-ships"]
    assert (ships.group, ships.by, ships.when) == ("team", "ada", "mon,fri 08:00-18:00")
    assert (ships.projects, ships.environments) == (("shop",), ("dev",))
    assert ships.permissions == ("run:read",), "what is about the whole home is not given in a place"
    assert 0 <= ships.since_us - second < 1_000
    assert 0 <= told["pam", "ships", "grant team-ships"].since_us - third < 1_000, "since she is in the group"
    assert told["ci", "operator", "grant ci-operates"].nature is Nature.SERVICE_ACCOUNT


def test_whose_yes_may_count_stands_there_by_environment_and_group(stage):
    """With how many are asked for and since when that is so; a change of something else does not begin it anew."""
    users = (User("grace"), User("rita", role=Role.AUDITOR), User("pam"))
    first = stage.apply(users=users, groups=(Group("owners", ("grace", "rita")),))
    asks = stage.apply(environments=(Environment("prod", approvers={"owners": 2}), Environment("dev")))
    stage.apply(environments=(Environment("prod", approvers={"owners": 2}, vars={"a": 1}),))
    found = {(each.environment, each.group, each.user): each for each in stage.access.review(ADA).approvers}
    assert sorted(found) == [
        ("dev", "", "ada"), ("dev", "", "grace"), ("dev", "", "pam"),
        ("prod", "owners", "grace"), ("prod", "owners", "rita"),
    ]  # fmt: skip
    grace = found["prod", "owners", "grace"]
    assert (grace.count, grace.may_decide, grace.asked_by) == (2, True, "the environment")
    assert 0 <= grace.since_us - asks < 1_000
    assert not found["prod", "owners", "rita"].may_decide, "an auditor is in the group and may not decide"
    again = stage.apply(environments=(Environment("prod", approvers={"owners": 1}),))
    (grace, _) = (each for each in stage.access.review(ADA).approvers if each.environment == "prod")
    assert (grace.count, 0 <= grace.since_us - again < 1_000) == (1, True)
    assert first < asks < again


def test_a_spreadsheet_reads_the_table_and_calculates_nothing(stage):
    """Both kinds of rows in one table; a cell that begins as a formula does is text."""
    stage.apply(users=(User("grace", projects=("=1+1",)),), environments=(Environment("dev"),))
    found = stage.access.review(ADA)
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["kind"] for row in rows] == ["permission"] * 2 + ["approval"] * 2
    assert (rows[1]["user"], rows[1]["projects"]) == ("grace", "'=1+1")
    assert rows[1]["since"] == rfc3339(found.permissions[1].since_us)
    assert found.to_json()["permissions"][1]["projects"] == ("=1+1",)


def test_reading_it_is_for_who_may_read_everything_and_is_recorded(stage):
    """A member reads it not; whoever does stands in the log, with the digest of what they read."""
    with pytest.raises(MandamusError) as caught:
        stage.access.review(Subject("grace", "os-user", permissions=MEMBER))
    assert caught.value.code is Code.FORBIDDEN
    stage.access.review(ADA)
    stage.audit.flush()
    (told,) = stage.audit.told(Kind.ACCESS_REVIEWED)
    assert (told["who"]["subject"], told["data"]["permissions"], told["data"]["approvers"]) == ("ada", 1, 0)
