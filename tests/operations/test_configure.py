from __future__ import annotations

import pytest

from mandamus.audit.kinds import Kind as AuditKind
from mandamus.kernel.access import MEMBER, Permission, Subject
from mandamus.kernel.errors import Code, MandamusError

GOOD = """
users: {joan: {}}
groups: {security: [joan]}
environments:
  prod: {protected: true, policies: [policy], approvers: {security: {count: 1}}}
"""


@pytest.fixture
def applied(place):
    """Applies a platform file as the owner; gives what was declared, or the error."""
    house = place.house()

    def apply(text: str):
        return house.configure.apply(house.who, place.write("platform.yaml", text))

    return apply


@pytest.fixture
def declared(place):
    """Everything that is declared: users, groups with members, environments with digests, events so far."""

    def look():
        house = place.house()
        return (
            [user.name for user in house.identity.users(house.who)],
            [(group.name, group.members) for group in house.identity.groups(house.who)],
            [(each.name, each.digest, each.applied_by) for each in house.catalog.environments(house.who)],
            place.sql("SELECT digest FROM policy_set ORDER BY digest"),
            place.sql("SELECT count(*) FROM audit_event WHERE kind LIKE '%.applied' OR kind LIKE 'policy.%'"),
        )

    return look


def _refused(applied, text: str) -> MandamusError:
    with pytest.raises(MandamusError) as caught:
        applied(text)
    return caught.value


def test_what_a_file_says_is_declared(applied, declared):
    """Users, groups and environments of a file become so in one step; those of others stay."""
    before = declared()
    made = applied(GOOD)
    users, groups, environments, _, _ = declared()
    assert (made.users, made.groups, [each.name for each in made.environments]) == (("joan",), ("security",), ["prod"])
    assert "joan" in users
    assert set(before[0]) <= set(users)
    assert ("security", ("joan",)) in groups
    assert [name for name, _, _ in environments] == ["dev", "prod"]
    assert set(before[2]) <= set(environments)
    assert made.to_json()["environments"][0].keys() == {"name", "policies"}


def test_the_same_file_again_changes_nothing(applied, declared):
    """Applying is safe to repeat: no new version, no event."""
    applied(GOOD)
    before = declared()
    applied(GOOD)
    assert declared() == before


BAD = """
users: {joan: {emial: x}}
groups: {security: [nobody]}
environments:
  prod: {protected: "yes", policies: [nowhere], approvers: {strangers: {count: 1}}}
  Dev!: {}
"""


def test_every_problem_is_told_at_once(applied, declared):
    """One error lists all that is wrong, each with file, line, column and a way out; nothing was applied."""
    before = declared()
    error = _refused(applied, BAD)
    assert error.code is Code.ENVIRONMENT_INVALID
    problems = error.context["problems"]
    lines = [problem["line"] for problem in problems]
    assert {2, 3, 5, 6} <= set(lines)
    assert lines == sorted(lines)
    assert all(problem["remedy"] and problem["file"].endswith("platform.yaml") for problem in problems)
    assert declared() == before


def test_one_bad_rule_stops_all_of_it(place, applied, declared):
    """A policy that does not compile is told with its place, and neither users nor other environments are declared."""
    place.write("broken/bad.rego", "package mandamus.plan\n\ndeny contains x if {\n\tx := nope(1)\n}\n")
    place.write("worse/worse.rego", "package mandamus.plan\n\ndeny contains {{{\n")
    before = declared()
    error = _refused(applied, GOOD.replace("[policy]", "[policy, broken, worse]"))
    assert error.code is Code.POLICY_INVALID
    assert {problem["file"].rpartition("/")[2] for problem in error.context["problems"]} == {"bad.rego", "worse.rego"}
    assert declared() == before


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("users: {a: &x {}, b: *x}", Code.DOCUMENT_INVALID),
        ("users: {a: {}\n", Code.DOCUMENT_INVALID),
        ("users: {a: {}, a: {}}", Code.DOCUMENT_INVALID),
        ("- list", Code.ENVIRONMENT_INVALID),
        ("users: {mandamus: {}}", Code.ENVIRONMENT_INVALID),
        ("users: {'system': {}}", Code.ENVIRONMENT_INVALID),
        ('users: {"a b\\e[31m": {}}', Code.ENVIRONMENT_INVALID),
        ("environments: {x: {policies: ['../../../etc']}}", Code.ENVIRONMENT_INVALID),
    ],
)
def test_hostile_files_are_refused(applied, declared, text, code):
    """A platform file is read as strictly as a workflow; reserved names and folders outside stay out."""
    before = declared()
    error = _refused(applied, text)
    assert error.code is code
    assert error.remedy
    assert declared() == before


def test_a_file_that_is_not_there_is_not_found(place):
    """The error names the file and how to get one."""
    house = place.house()
    with pytest.raises(MandamusError) as caught:
        house.configure.apply(house.who, place.project / "none.yaml")
    assert caught.value.code is Code.NOT_FOUND
    assert "none.yaml" in caught.value.message


def test_only_who_may_configures(place, declared):
    """A member of the home cannot change what they are judged by."""
    before = declared()
    house = place.house("ada")
    with pytest.raises(MandamusError) as caught:
        house.configure.apply(house.who, place.write("platform.yaml", GOOD))
    assert caught.value.code is Code.FORBIDDEN
    assert caught.value.context["permission"] == Permission.ENVIRONMENT_WRITE.value
    with pytest.raises(MandamusError):
        house.configure.apply(Subject("eve", "os-user", permissions=MEMBER), place.project / "platform.yaml")
    assert declared() == before


def test_whoever_applies_is_a_maker(place, applied, declared):
    """The environment remembers who declared it, so that they approve nothing that is judged by it."""
    applied(GOOD)
    owner = place.house().who.user
    assert [by for name, _, by in declared()[2] if name == "prod"] == [owner]


RETENTION = """
retention:
  default: {at_least: 3y, at_most: 10y}
  security: {at_least: 7y, kinds: [approval.recorded, exemption.*], environments: [prod]}
"""


def test_retention_classes_are_declared_and_recorded(applied, place):
    """Each class that changes is an event with what it was before; others stay."""
    year_s = 366 * 86_400
    assert applied(RETENTION).retention == ("default", "security")
    applied(RETENTION)
    applied("retention: {default: {at_least: 90d}}")
    house = place.house()
    found = {each.name: each for each in house.retention.classes(house.who)}
    assert (found["default"].at_least_s, found["default"].at_most_s) == (90 * 86_400, 0)
    assert (found["security"].at_least_s, found["security"].kinds) == (7 * year_s, ("approval.recorded", "exemption.*"))
    told = [leaf["data"] for leaf in house.audit.told(AuditKind.RETENTION_APPLIED)]
    assert [each["class"] for each in told] == ["default", "security", "default"]
    assert (told[2]["previous"], told[2]["at_least_s"]) == (told[0]["digest"], 90 * 86_400)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{default: {at_least: 3 years}}", "`at_least` is `3 years`"),
        ("{default: {at_least: 101y}}", "`at_least` is `101y`"),
        ("{default: {at_least: 2y, at_most: 1y}}", "`at_most` is shorter than `at_least`"),
        (
            "{default: {at_least: 2y, kinds: [run.closed]}}",
            "retention class `default` covers what no other class covers",
        ),
        ("{mine: {at_least: 2y}}", "retention class `mine` covers nothing"),
        ("{mine: {at_least: 2y, kinds: [run.close]}}", "`run.close` is no kind of event"),
        ("{Mine: {at_least: 2y, projects: [a]}}", "`Mine` is no name for a retention class"),
    ],
)
def test_a_class_that_makes_no_sense_is_refused(applied, text, message):
    """With the words that say what is wrong, and nothing is declared."""
    assert message in str(_refused(applied, f"retention: {text}"))
