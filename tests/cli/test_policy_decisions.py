"""``mandamus policy decisions`` and ``save-test``: find what was decided, and keep it as a test."""

from __future__ import annotations

import re

import pytest

from mandamus.kernel.errors import Exit


@pytest.fixture(scope="module")
def judged(shared):
    """A home in which one run was allowed and one was denied."""
    assert shared.ask().code == Exit.OK
    assert shared.ask(public="true").code == Exit.DENIED
    return shared


def listed(shell, *words):
    return shell("--output", "json", "policy", "decisions", *words).json


def test_the_newest_come_first_and_say_what_they_said(judged):
    """Each with its moment, point, outcome and run, and the rule's words."""
    found = listed(judged)["decisions"]
    assert [each["id"] for each in found] == sorted((each["id"] for each in found), reverse=True)
    denied = [each for each in found if each["outcome"] == "deny"]
    assert [each["says"] for each in denied] == [["mandamus.plan.deny: nothing may be public"]]
    told = judged("policy", "decisions", "--outcome", "deny")
    assert denied[0]["id"] in told.out
    assert "nothing may be public" in told.out


def test_pages_are_the_whole(judged):
    """Following ``before`` gives every decision once; the table says how to go on."""
    whole = [each["id"] for each in listed(judged)["decisions"]]
    assert len(whole) > 2
    seen, before = [], None
    while True:
        page = listed(judged, "--limit", "2", *(("--before", before) if before else ()))
        seen += [each["id"] for each in page["decisions"]]
        before = page["before"]
        if before is None:
            break
    assert seen == whole
    told = judged("policy", "decisions", "--limit", "1", "--env", "dev")
    assert f"policy decisions --env dev --limit 1 --before {whole[0]}" in told.err


@pytest.mark.parametrize(
    ("words", "matches"),
    [
        (("--outcome", "deny"), lambda each: each["outcome"] == "deny"),
        (("--outcome", "allow"), lambda each: each["outcome"] == "allow"),
        (("--point", "plan"), lambda each: each["point"] == "plan"),
        (("--env", "dev"), lambda each: each["environment"] == "dev"),
        (("--env", "nowhere"), lambda _each: False),
        (("--since", "2000-01-01"), lambda _each: True),
        (("--since", "2999-01-01"), lambda _each: False),
    ],
)
def test_filters_choose(judged, words, matches):
    """Each filter keeps what it names and nothing else."""
    whole = listed(judged)["decisions"]
    assert listed(judged, *words)["decisions"] == [each for each in whole if matches(each)]


def test_decisions_of_one_run(judged):
    """By its id; and that there is none is said."""
    run = listed(judged)["decisions"][0]["run"]
    found = listed(judged, "--run", run)["decisions"]
    assert found
    assert {each["run"] for each in found} == {run}
    assert "no such decision" in judged("policy", "decisions", "--since", "2999-01-01").err


def test_a_decision_becomes_a_test(judged, tmp_path):
    """The written files pass beside the set's rules, are never overwritten, and fail when the rules change."""
    decision = listed(judged, "--outcome", "deny")["decisions"][0]["id"]
    rules = (judged.project / "policy" / "rules.rego").read_text()
    (tmp_path / "rules.rego").write_text(rules)
    words = ("policy", "save-test", decision, "--to", str(tmp_path), "--name", "public")
    told = judged(*words)
    assert told.code == Exit.OK, told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["public.json", "public_test.rego", "rules.rego"]
    assert judged("policy", "test", str(tmp_path)).code == Exit.OK
    again = judged(*words)
    assert again.code == Exit.FAILED
    assert "is there already" in again.err
    (tmp_path / "rules.rego").write_text(rules.replace("nothing may", "nobody may"))
    assert judged("policy", "test", str(tmp_path)).code == Exit.FAILED


def test_a_set_that_did_not_decide_is_refused(judged, tmp_path):
    """The sets that did are named."""
    decision = listed(judged, "--outcome", "deny")["decisions"][0]["id"]
    told = judged("policy", "save-test", decision, "--to", str(tmp_path), "--set", "other")
    assert told.code == Exit.USAGE
    assert re.search(r"--set: policy\b", told.err)
    assert list(tmp_path.iterdir()) == []
