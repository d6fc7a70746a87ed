"""``mandamus policy explain`` and ``eval``: why a decision came out so, and what another input would have done."""

from __future__ import annotations

import json

import pytest

from mandamus.kernel.errors import Exit

RULES = """package mandamus.plan

import data.names

deny contains {"msg": "nothing may be public", "remedy": "ask again with public=false"} if {
	some change in input.change_set.changes
	is_public(change)
	print("looked at", change.address)
}

deny contains "not in dev" if input.environment.name == "prod"

require_approval contains "look" if input.run.inputs.ask

is_public(change) if change.after.acl in names.public
"""
FILES = {"rules.rego": RULES, "names/data.json": '{"public": ["public-read"]}'}
DOCUMENT = {
    "point": "plan",
    "environment": {"name": "dev"},
    "change_set": {"changes": [{"address": name, "after": {"acl": "private"}} for name in "abc"]},
}


@pytest.fixture(scope="module")
def denied(shared):
    """A home with a denied run, and the id of the decision that denied it."""
    told = shared.ask(public="true")
    assert told.code == Exit.DENIED
    shown = shared("--output", "json", "runs", "show", told.run).json
    decision = next(each["id"] for each in shown["decisions"] if each["outcome"] == "deny")
    return shared, decision


@pytest.fixture
def folder(tmp_path):
    """A policy folder that is not published, and an input file."""
    for name, text in FILES.items():
        path = tmp_path / "rules" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "input.json").write_text(json.dumps(DOCUMENT))
    return tmp_path


def evaluated(shell, folder, *words):
    return shell("policy", "eval", str(folder / "rules"), "--input", str(folder / "input.json"), *words)


def test_a_decision_says_why(denied, steady):
    """When, for whom, which sets; then the rule with its line, the path that made it fire, the remedy and the tree."""
    shell, decision = denied
    told = shell("policy", "explain", decision)
    assert told.code == Exit.OK, told
    assert f"{decision}: plan: deny" in told.out
    assert "environment dev" in told.out
    assert "deny  rules.rego:3: mandamus.plan.deny: nothing may be public" in told.out
    assert "because  input.run.inputs.public = true" in told.out
    assert "remedy   ask again with public=false" in told.out
    assert "  rules.rego:3: deny true" in told.out
    assert "  rules.rego:7: warn false\n    failed at rules.rego:9: input.run.inputs.asked" in told.out


def test_one_rule_may_be_named(denied):
    """By its full name or the end of it; an unknown name is an error that lists the known ones."""
    shell, decision = denied
    told = shell("policy", "explain", decision, "--rule", "warn")
    assert "rules.rego:7: warn false" in told.out
    assert "rules.rego:3: deny true" not in told.out
    wrong = shell("policy", "explain", decision, "--rule", "wrn")
    assert wrong.code == Exit.FAILED
    assert "mandamus.plan.warn" in wrong.err


def test_the_explanation_as_json(denied):
    """The decision as evidence has it, what was tried, and whether the record is kept."""
    shell, decision = denied
    found = shell("--output", "json", "policy", "explain", decision).json
    assert found["id"] == decision
    assert found["violations"][0]["because"] == {"input.run.inputs.public": True}
    assert found["kept"] is True
    (explained,) = found["explained"]
    assert {(each["line"], each["true"] > 0) for each in explained["tried"]} >= {(3, True), (7, False)}


def test_a_folder_is_evaluated_without_a_home(bare, folder):
    """Exit 0 for an allow, 3 when somebody has to say yes, 4 for a deny."""
    assert evaluated(bare, folder).code == Exit.OK
    assert evaluated(bare, folder, "--set", "run.inputs.ask=true").code == Exit.WAITING
    told = evaluated(bare, folder, "--set", 'input.change_set.changes[1].after.acl="public-read"')
    assert told.code == Exit.DENIED, told
    assert "because  input.change_set.changes[1].after.acl = " in told.out
    assert not bare.home.exists()


def test_the_tree_names_what_failed_and_what_was_never_tried(bare, folder):
    """Equal tries are one line; a rule that OPA passed over says which comparison does not hold; prints are shown."""
    told = evaluated(bare, folder, "--trace", "--set", 'change_set.changes[1].after.acl="public-read"')
    assert "rules.rego:5: deny true" in told.out
    assert "failed at rules.rego:7: is_public(change)  with change = " in told.out
    assert "(x 1 more)" in told.out
    assert 'rules.rego:11: mandamus.plan.deny false: input.environment.name is "dev", not "prod"' in told.out
    assert "note rules.rego:8: looked at b" in told.out


def test_any_term_can_be_asked(bare, folder):
    """A value as JSON, or that there is none; a query that is none is an error."""
    assert evaluated(bare, folder, "--query", "data.names.public").out == '["public-read"]\n'
    assert evaluated(bare, folder, "--query", "data.nothing").out == "undefined\n"
    assert evaluated(bare, folder, "--query", "][").code != Exit.OK


def test_a_recorded_decision_can_be_tried_otherwise(denied):
    """The recorded input with another value, by the published set's name: what if."""
    shell, decision = denied
    words = ("policy", "eval", "policy", "--decision", decision)
    assert shell(*words).code == Exit.DENIED
    assert shell(*words, "--set", "run.inputs.public=false").code == Exit.OK


@pytest.mark.parametrize(
    "edit",
    ["", "a", "=1", ".a=1", "[0]=1", "environment.name.x=1", "change_set.changes[9]=1", "change_set[0]=1", "a=no"],
)
def test_an_edit_without_a_place_is_refused(bare, folder, edit):
    """Nothing is evaluated with an edit that says nothing."""
    told = evaluated(bare, folder, "--set", edit)
    assert told.code == Exit.USAGE, told


def test_no_input_or_no_set_is_an_error(bare, shared, folder):
    """Exactly one input, and a set that is there."""
    assert bare("policy", "eval", str(folder / "rules")).code == Exit.USAGE
    told = shared("policy", "eval", "nothing", "--input", str(folder / "input.json"))
    assert told.code == Exit.FAILED
    assert "neither a folder nor a published set" in told.err


def test_a_clock_needs_a_time(bare, folder):
    """A rule that reads the clock is only asked with the time that the input gives."""
    path = folder / "rules" / "rules.rego"
    path.write_text(path.read_text() + '\ndeny contains "late" if time.now_ns() > 1798761600000000000\n')
    assert "has no `now`" in evaluated(bare, folder).err
    assert evaluated(bare, folder, "--set", 'now="2026-01-01T00:00:00Z"').code == Exit.OK
    assert evaluated(bare, folder, "--set", 'now="2027-06-01T00:00:00Z"').code == Exit.DENIED
