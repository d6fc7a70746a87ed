"""Spacelift policies run as they are: each file is one policy of a type, and each type has its points."""

import textwrap

import pytest

from mandamus.kernel.errors import MandamusError
from mandamus.policy.model import Options, Outcome, Point

SPACELIFT = Options(profile="spacelift")
RUN = {
    "id": "run_1",
    "workflow": "network",
    "environment": "prod",
    "requester": {"user": "ada", "groups": ["Engineering"]},
    "inputs": {"branch": "feature/x", "commit": "abc", "message": "wip"},
    "plan_only": False,
}
ENVIRONMENT = {"name": "prod", "protected": True, "vars": {"labels": "critical,eu", "branch": "main"}}
BASE = {"run": RUN, "environment": ENVIRONMENT}
USER = {
    "address": "aws_iam_user.ci",
    "type": "aws_iam_user",
    "name": "ci",
    "change": {"actions": ["create"], "before": None, "after": {"name": "ci"}},
}
VOLUME = {
    "address": "aws_ebs_volume.data",
    "type": "aws_ebs_volume",
    "name": "data",
    "change": {"actions": ["delete", "create"], "before": {"size": 8}, "after": {"size": 16}},
}
CHANGES = [
    {"address": "aws_iam_user.ci", "type": "aws_iam_user", "name": "ci", "action": "create", "after": {}},
    {"address": "aws_ebs_volume.data", "type": "aws_ebs_volume", "name": "data", "action": "replace", "after": {}},
]


def at_plan(*resources, changes=(), **more):
    native = {"terraform": {"resource_changes": list(resources), "terraform_version": "1.9.0"}}
    return {**BASE, "step": {"name": "net"}, "native": native, "change_set": {"changes": list(changes)}, **more}


def started(branch, *, plan_only=False):
    return {**BASE, "run": {**RUN, "inputs": {"branch": branch, "tag": ""}, "plan_only": plan_only}}


def using(action, user="ada", groups=("Engineering",)):
    who = {"user": user, "authn": "os-user", "groups": list(groups)}
    return {"who": who, "action": action, "environment": ENVIRONMENT, "run": None}


def applied(*by):
    approvals = [{"by": name, "group": group, "at": "2026-01-31T11:58:00.000000Z"} for name, group in by]
    return {**BASE, "step": {"name": "net"}, "plan": {}, "approvals": approvals}


def answered(verdict, by, groups, *earlier):
    own = {"by": by, "groups": groups, "authn": "os-user", "verdict": verdict, "group": None, "reason": ""}
    return {**applied(*earlier), "approval": own, "requires": []}


NO_USERS = """
    package spacelift

    deny[sprintf("static credentials are not for us (%s)", [resource.address])] {
      resource := input.terraform.resource_changes[_]
      resource.change.actions[_] == "create"
      resource.type == "aws_iam_user"
    }
"""
RECREATES = """
    package spacelift

    warn contains sprintf("%s is made anew", [r.address]) if {
        some r in recreated_resources
        "critical" in input.spacelift.stack.labels
    }
"""
NAMES = """
    package spacelift

    deny["a feature branch is not for production"] {
      startswith(input.spacelift.run.branch, "feature/")
      endswith(input.spacelift.stack.name, "-prod")
      input.spacelift.commit.message == "wip"
      affected_resources[_]
    }
"""
OFFICE = """
    package spacelift

    import rego.v1

    deny contains "not on a Thursday" if time.weekday(input.spacelift.request.timestamp_ns) == "Thursday"
"""
TWO_YES = """
    package spacelift
    # who looks at changes is no matter of comments

    approve { input.run.state != "UNCONFIRMED" }

    approve {
      count(input.reviews.current.approvals) > 1
      count(input.reviews.current.rejections) == 0
    }
"""
ROLES = """
    package spacelift

    approvals := input.reviews.current.approvals

    approve { approvals[_].session.teams[_] == "DevOps"; approvals[_].session.teams[_] == "Security" }

    reject { approvals[_].author == "mallory" }
"""
DELETES = """
    package spacelift

    approve if { not deletes }
    approve if { count(input.reviews.current.approvals) > 2 }

    deletes if { some c in input.run.changes; c.action == "deleted" }
"""
PUSH = """
    package spacelift

    track   { input.push.branch == input.stack.branch }
    propose { input.push.branch != ""; is_null(input.pull_request) }
    ignore  { endswith(input.push.branch, "-docs") }
"""
LOGIN = """
    package spacelift

    teams := input.session.teams

    admin { teams[_] == "DevOps" }
    allow { teams[_] == "Engineering" }
    deny  { not input.session.member }
    deny  { input.session.login == "mallory" }
"""
ACCESS = """
    package spacelift

    read { true }
    write { input.session.teams[_] == "DevOps" }
    deny_write { input.stack.labels[_] == "frozen" }
    deny { input.session.login == "mallory" }
"""
INITIALIZATION = """
    package spacelift

    deny[sprintf("no such branch name (%s)", [branch])] {
      branch := input.commit.branch
      not re_match(`^(main|fix/.*)$`, branch)
    }
"""
TRIGGER = """
    package spacelift

    trigger[stack.id] { stack := input.stacks[_]; input.run.type == "TRACKED" }
"""


@pytest.fixture
def spacelift_set(publish):
    """Publish texts as a Spacelift set and give its digest."""

    def published(kind="", **texts):
        files = {f"{name}.rego": textwrap.dedent(text) for name, text in texts.items()}
        return publish(files, Options(profile="spacelift", kind=kind))

    return published


def messages(verdict):
    assert verdict.error is None
    return [v.msg for v in verdict.violations]


@pytest.mark.parametrize(
    ("text", "msg"),
    [
        (NO_USERS, "static credentials are not for us (aws_iam_user.ci)"),
        (NAMES, "a feature branch is not for production"),
        (OFFICE, "not on a Thursday"),
    ],
)
def test_plan_policy_denies(spacelift_set, decide, text, msg):
    """A member of `deny` of a plan policy is a no, with the file and line of its rule."""
    verdict = decide(at_plan(USER, VOLUME), [spacelift_set(a=text)])
    assert messages(verdict) == [msg]
    found = verdict.violations[0]
    assert textwrap.dedent(text).split("\n")[found.line - 1].startswith("deny")
    assert found.rule == "spacelift.a.deny"


def test_plan_policy_allows(spacelift_set, decide):
    """What a plan policy does not mind is let through, and a plan that is not there is trouble."""
    made = spacelift_set(a=NO_USERS, b=RECREATES)
    verdict = decide(at_plan({**USER, "change": {"actions": ["update"]}}), [made])
    assert (verdict.outcome, verdict.error) == (Outcome.ALLOW, None)
    assert "undefined" in decide({**BASE, "native": {}}, [made]).error


def test_warning_asks_for_a_person(spacelift_set, decide):
    """`warn` marks a run for review, since what nobody has to approve is applied at once."""
    verdict = decide(at_plan(USER, VOLUME), [spacelift_set(a=RECREATES)])
    assert verdict.outcome is Outcome.NEEDS_APPROVAL
    assert [w.msg for w in verdict.warnings] == ["aws_ebs_volume.data is made anew"]
    assert [(r.count, r.line) for r in verdict.requires] == [(1, 4)]


def test_policies_are_judged_separately(spacelift_set, decide):
    """Every file is a policy of its own, of its own type, so that helpers of one name do not meet."""
    made = spacelift_set(
        a='package spacelift\nlimit = 1\ndeny["a"] { limit == 1 }\n',
        b='package spacelift\nlimit = 2\ndeny["b"] { limit == 2 }\n',
        c=PUSH,
    )
    assert messages(decide(at_plan(USER), [made])) == ["a", "b"]
    assert messages(decide(started("main"), [made], Point.TRIGGER)) == []


def test_approval_policy_asks_until_it_approves(spacelift_set, decide):
    """Undecided asks for one yes more than there are, with the plan and again before the effect."""
    made = spacelift_set(a=TWO_YES)
    planned = decide(at_plan(USER), [made])
    assert (planned.outcome, planned.requires[0].count) == (Outcome.NEEDS_APPROVAL, 1)
    once = decide(applied(("grace", "")), [made], Point.APPLY)
    assert (once.outcome, once.requires[0].count) == (Outcome.NEEDS_APPROVAL, 2)
    twice_one = decide(applied(("grace", "a"), ("grace", "b")), [made], Point.APPLY)
    assert twice_one.outcome is Outcome.NEEDS_APPROVAL
    assert decide(applied(("grace", ""), ("alan", "")), [made], Point.APPLY).outcome is Outcome.ALLOW


def test_approval_policy_knows_teams_and_rejects(spacelift_set, decide):
    """A reviewer's teams are the groups they approved for; `reject` is a no at every point, and to a yes alone."""
    made = spacelift_set(a=ROLES)
    both = applied(("grace", "DevOps"), ("alan", "Security"))
    assert decide(both, [made], Point.APPLY).outcome is Outcome.ALLOW
    assert decide(applied(("grace", "DevOps")), [made], Point.APPLY).outcome is Outcome.NEEDS_APPROVAL
    assert messages(decide(applied(("mallory", "DevOps")), [made], Point.APPLY)) == ["the approval policy rejects it"]
    yes = decide(answered("yes", "mallory", ["DevOps"]), [made], Point.APPROVAL)
    assert messages(yes) == ["the approval policy rejects it"]
    assert decide(answered("no", "mallory", ["DevOps"]), [made], Point.APPROVAL).outcome is Outcome.ALLOW
    assert decide(answered("yes", "grace", ["DevOps"]), [made], Point.APPROVAL).outcome is Outcome.ALLOW


def test_an_answer_is_judged_with_the_reviews_there_are(spacelift_set, decide):
    """Nobody is kept from a no, and of one person the newest review counts alone."""
    text = """
        package spacelift

        approve { true }

        reject { count(input.reviews.current.rejections) > 0 }

        reject { count(input.reviews.current.approvals) > 1 }
    """
    made = spacelift_set(a=text)
    assert messages(decide(answered("no", "grace", []), [made], Point.APPROVAL)) == []
    again = answered("yes", "grace", [], ("grace", "platform"))
    assert messages(decide(again, [made], Point.APPROVAL)) == []
    second = answered("yes", "grace", [], ("alan", "platform"))
    assert messages(decide(second, [made], Point.APPROVAL)) == ["the approval policy rejects it"]


def test_approval_policy_about_the_plan(spacelift_set, decide):
    """A policy that looks at the changes is asked with the plan how many yeses would do: later it cannot see them."""
    made = spacelift_set(a=DELETES)
    verdict = decide(at_plan(USER, VOLUME, changes=CHANGES), [made])
    assert (verdict.outcome, [r.count for r in verdict.requires]) == (Outcome.NEEDS_APPROVAL, [3])
    assert decide(at_plan(USER, changes=CHANGES[:1]), [made]).outcome is Outcome.ALLOW
    never = DELETES.replace("count(input.reviews.current.approvals) > 2", 'input.reviews.current.approvals[_].x == "y"')
    denied = decide(at_plan(USER, VOLUME, changes=CHANGES), [spacelift_set(a=never)])
    assert messages(denied) == ["no number of approvals would make `approve` true for this plan"]


@pytest.mark.parametrize(
    ("branch", "plan_only", "said"),
    [
        ("main", False, []),
        ("other", True, []),
        ("other", False, ["the push policy only proposes it: ask for a plan alone"]),
        ("x-docs", True, ["the push policy ignores it"]),
        ("", True, ["the push policy neither tracks nor proposes it"]),
    ],
)
def test_push_policy(spacelift_set, decide, branch, plan_only, said):
    """`track` lets a run start, `propose` a plan alone, `ignore` and silence nothing."""
    verdict = decide(started(branch, plan_only=plan_only), [spacelift_set(a=PUSH)], Point.TRIGGER)
    assert messages(verdict) == said


def test_login_policy(spacelift_set, decide):
    """Nobody does anything unless `allow` or `admin` says so, and `deny` comes first."""
    made = spacelift_set(a=LOGIN)
    assert messages(decide(using("run:request"), [made], Point.ACCESS)) == []
    assert messages(decide(using("run:request", groups=["DevOps"]), [made], Point.ACCESS)) == []
    denied = decide(using("run:read", user="mallory"), [made], Point.ACCESS)
    assert messages(denied) == ["the login policy denies it"]
    other = decide(using("run:read", groups=["Sales"]), [made], Point.ACCESS)
    assert messages(other) == ["the login policy does not allow it"]


def test_login_policy_of_spaces(spacelift_set, decide):
    """An environment is a space: who may write it may do everything, who may read it may read."""
    text = """
        package spacelift

        space_write contains space.id if { some space in input.spaces; "DevOps" in input.session.teams }

        space_read contains space.id if { some space in input.spaces; "eu" in space.labels }
    """
    made = spacelift_set(a=text)
    assert messages(decide(using("run:cancel", groups=["DevOps"]), [made], Point.ACCESS)) == []
    assert messages(decide(using("run:read"), [made], Point.ACCESS)) == []
    cancels = decide(using("run:cancel"), [made], Point.ACCESS)
    assert messages(cancels) == ["the login policy does not allow it"]


def test_access_policy(spacelift_set, decide):
    """`read` lets read, `write` do everything, `deny` and `deny_write` take it back."""
    made = spacelift_set(a=ACCESS)
    assert messages(decide(using("run:read_log"), [made], Point.ACCESS)) == []
    assert messages(decide(using("run:cancel"), [made], Point.ACCESS)) == ["the access policy does not allow it"]
    assert messages(decide(using("run:cancel", groups=["DevOps"]), [made], Point.ACCESS)) == []
    assert messages(decide(using("run:read", user="mallory"), [made], Point.ACCESS)) == ["the access policy denies it"]
    frozen = {**using("run:cancel", groups=["DevOps"]), "environment": {"name": "prod", "vars": {"labels": ["frozen"]}}}
    assert messages(decide(frozen, [made], Point.ACCESS)) == ["the access policy denies it"]


def test_type_can_be_named(spacelift_set, decide):
    """A policy whose rules do not tell its type gets it from the platform file, also as Spacelift's API spells it."""
    made = spacelift_set("INITIALIZATION", a=INITIALIZATION)
    assert messages(decide(started("x"), [made], Point.TRIGGER)) == ["no such branch name (x)"]
    assert messages(decide(started("main"), [made], Point.TRIGGER)) == []
    plan = spacelift_set("TERRAFORM_PLAN", a=NO_USERS)
    assert len(messages(decide(at_plan(USER), [plan]))) == 1


def test_trigger_policy_is_shown(spacelift_set, decide):
    """A trigger policy runs and what it names is shown; it starts nothing."""
    verdict = decide(started("main"), [spacelift_set(a=TRIGGER)], Point.TRIGGER)
    assert (verdict.outcome, [w.msg for w in verdict.warnings]) == (Outcome.ALLOW, ["would trigger network-prod"])


@pytest.mark.parametrize(
    ("rules", "point", "document"),
    [
        ("deny { true }", Point.PLAN, at_plan(USER)),
        ("deny[7] { true }", Point.PLAN, at_plan(USER)),
        ('warn["x"] = 1 { true }', Point.PLAN, at_plan(USER)),
        ('approve = "yes" { true }', Point.PLAN, at_plan(USER)),
        ('approve = "yes" { true }', Point.APPLY, applied()),
        ("approve { true }\nreject[x] { x := 1 }", Point.APPLY, applied()),
        ("approve { true }\nreject = 1 { true }", Point.APPROVAL, answered("yes", "grace", [])),
        ('track = "main" { true }', Point.TRIGGER, started("main")),
        ('track { true }\nignore["x"] { true }', Point.TRIGGER, started("main")),
        ("trigger[7] { true }", Point.TRIGGER, started("main")),
        ('allow = "ada" { true }', Point.ACCESS, using("run:read")),
        ("read = 1 { true }\nwrite { true }", Point.ACCESS, using("run:read")),
    ],
)
def test_unknown_shape_is_a_deny(spacelift_set, decide, rules, point, document):
    """A rule of another type than its policy type has is trouble at each of its points."""
    verdict = decide(document, [spacelift_set(a=f"package spacelift\n\n{rules}\n")], point)
    assert verdict.outcome is Outcome.DENY
    assert "shape_invalid" in verdict.error


@pytest.mark.parametrize(
    ("kind", "rules", "told"),
    [
        ("", 'inbox[{"title": "x"}] { true }', "a notification policy decides nothing"),
        ("", "reject { true }", "without `approve` lets no run through"),
        ("", "helper { true }", "no rule of the file is one of a policy"),
        ("approval", 'deny["x"] { true }', "no rule of the file is one of a policy of type approval"),
        ("task", 'deny["x"] { true }', "there is no policy type 'task'"),
        ("", 'deny["x"] { sanitized("x") == "y" }', "undefined function"),
    ],
)
def test_what_decides_nothing_is_not_published(spacelift_set, kind, rules, told):
    """A file that could not decide anything here stops the publishing, by name."""
    with pytest.raises(MandamusError) as raised:
        spacelift_set(kind, a=f"package spacelift\n\n{rules}\n")
    assert told in raised.value.message
    assert "a.rego:" in raised.value.message
