from __future__ import annotations

import dataclasses

import pytest

from mandamus.cli.changes import ATTRIBUTES_MAX, VALUE_CHARS_MAX, show, summary
from mandamus.cli.render import Screen
from mandamus.kernel.changeset import Action, Change, ChangeSet, Confidence

CHANGES = ChangeSet(
    tool={"name": "terraform", "version": "1.9.0", "format": "1.2"},
    fidelity=Confidence.EXACT,
    changes=(
        Change(
            "aws_s3_bucket.logs", "aws_s3_bucket", "logs", Action.CREATE,
            after={"acl": "private", "tags": {"a/b": "x"}},
        ),
        Change(
            "aws_db_instance.main", "aws_db_instance", "main", Action.REPLACE, destructive=True,
            replace_order="delete_before_create", reason="replace_because_cannot_update", source="main.tf:12",
            before={"engine": "13", "size": 10, "password": "redacted:5f"},
            after={"engine": "16", "size": 10, "password": "redacted:5f"}, unknown=("/id",), sensitive=("/password",),
        ),
        Change(
            "aws_iam_user.new", "aws_iam_user", "new", Action.MOVE, previous_address="aws_iam_user.old",
            before={"name": "n"}, after={"name": "n"},
        ),
        Change("aws_sqs_queue.q", "aws_sqs_queue", "q", Action.UPDATE, before={"token": "old"}, after={"token": "new"},
               sensitive=("/token",)),
        Change("aws_vpc.gone", "aws_vpc", "gone", Action.DELETE, destructive=True, before={"cidr": "10.0.0.0/8"}),
        Change("data.x", "x", "x", Action.READ),
        Change("same", "x", "x", Action.NOOP),
    ),
    drift=(Change("aws_sg.web", "aws_sg", "web", Action.UPDATE, before={"port": 80}, after={"port": 81}),),
    sandbox="none",
)  # fmt: skip

GOLDEN = """\
net  terraform 1.9.0, exact, sandbox none
  delete 1
      - aws_vpc.gone  # destructive
          cidr: "10.0.0.0/8" -> (gone)
  replace 1
    -/+ aws_db_instance.main  # destructive, delete before create; replace_because_cannot_update; main.tf:12
          engine: "13" -> "16"
          id: (known after apply)
  update 1
      ~ aws_sqs_queue.q
          token: (sensitive) -> (sensitive)
  create 1
      + aws_s3_bucket.logs
          acl: "private"
          tags.a/b: "x"
  move 1
     -> aws_iam_user.new  # was aws_iam_user.old
  drift 1: changed outside, as found by this plan
      ! aws_sg.web
          port: 80 -> 81
  1 to delete, 1 to replace, 1 to update, 1 to create, 1 to move; 2 destructive
"""


@pytest.fixture
def shown(terminal):
    """What a change set looks like."""

    def show_it(changes: ChangeSet, *, tty: bool = False) -> str:
        out = terminal(tty=tty)
        show(Screen(out, terminal(), {}), "net", changes)
        return out.text()

    return show_it


def test_what_would_be_lost_comes_first(shown):
    """Deletes before replacements before updates before what is new; each attribute that differs, before and after."""
    assert shown(CHANGES) == GOLDEN


def test_a_plan_that_is_not_whole_says_so(shown):
    """An incomplete or errored plan is marked above its changes."""
    text = shown(dataclasses.replace(CHANGES, complete=False, errored=True))
    assert text.splitlines()[1:3] == [
        "  incomplete: the tool could not say everything it would do",
        "  errored: the tool ended in an error while it planned",
    ]


def test_nothing_to_do_is_said(shown):
    """A change set without changes says so in one line."""
    empty = ChangeSet(tool={"name": "x"}, fidelity=Confidence.OPAQUE, changes=())
    assert shown(empty) == "net  x, opaque, sandbox required\n  no changes\n"
    assert summary(empty) == "no changes"


def test_a_sensitive_value_is_never_shown(shown):
    """A value the tool marked sensitive is named and not shown, neither before nor after, also as a whole object."""
    secret = "hunter2-canary"
    change = Change(
        "a", "t", "a", Action.UPDATE, before={"p": {"q": secret}}, after={"p": {"q": f"{secret}!"}}, sensitive=("/p",)
    )
    diffed = dataclasses.replace(change, diff=({"path": "/p/q", "before": secret, "after": "x", "sensitive": True},))
    for one in (change, diffed):
        text = shown(ChangeSet({"name": "t"}, Confidence.EXACT, (one,)))
        assert secret not in text
        assert "(sensitive)" in text


def test_a_hostile_name_moves_no_cursor(shown):
    """Addresses, values and reasons come from tools: nothing in them reaches the terminal as a command."""
    evil = "x\x1b[2K\x1b[1A\u202e\r\nmandamus: approved"
    change = Change(evil, "t", evil, Action.DELETE, before={evil: evil}, reason=evil, destructive=True)
    text = shown(ChangeSet({"name": evil}, Confidence.EXACT, (change,)), tty=True)
    assert "\x1b[2K" not in text
    assert "\u202e" not in text
    assert "\r" not in text
    assert not any(each.startswith("mandamus: approved") for each in text.splitlines())


def test_large_objects_are_counted_not_dropped(shown):
    """Past the limits the rest is counted, so that nobody believes to have seen it all."""
    after = {f"k{n:04}": n for n in range(ATTRIBUTES_MAX + 7)} | {"k0000": "y" * (VALUE_CHARS_MAX + 100)}
    text = shown(ChangeSet({"name": "t"}, Confidence.EXACT, (Change("a", "t", "a", Action.CREATE, after=after),)))
    assert "and 7 more attributes" in text
    assert f"({VALUE_CHARS_MAX + 102} characters)" in text


def test_every_action_that_counts_has_a_sign(shown):
    """No action of the schema is left out of what an approver sees, but reading and doing nothing."""
    changes = tuple(Change(f"o.{action}", "t", "o", action) for action in Action)
    text = shown(ChangeSet({"name": "t"}, Confidence.EXACT, changes))
    assert {action for action in Action if f"o.{action}\n" not in text} == {Action.READ, Action.NOOP}
