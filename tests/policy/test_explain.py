"""What is told of a decision afterwards: the tree of what was tried, and whether it would be made again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import DecisionId
from mandamus.policy.attribution import Attribution
from mandamus.policy.explain import explain
from mandamus.policy.model import BuiltinErrors, Decision, Options

ID = DecisionId("dec_00000000000000000000000000")
HEAD = "package mandamus.plan\n\n"
CHANGES = {"change_set": {"changes": [{"address": f"a{n}", "action": "create"} for n in range(200)]}}


@pytest.fixture
def explained(publish, decide, policy, pool, who):
    """Decide and explain at once."""

    def make(text, document, options=None, *, alter=lambda results, _digest: results, **how):
        digest = publish({"a.rego": text}, options)
        verdict = decide(document, [digest])
        verdict = replace(verdict, results=canonical.dumps(alter(canonical.loads(verdict.results), digest)))
        sets = {digest: Attribution(policy.bundle(who, digest))}
        return explain(pool, Decision(ID, None, None, verdict), sets, **how)

    return make


def test_repeated_iterations_are_one_line(explained):
    """Two hundred tries that stop at one line are one stop; in full they are two hundred."""
    text = f'{HEAD}deny contains c.address if {{\n\tsome c in input.change_set.changes\n\tc.action == "delete"\n}}\n'
    ((stop,),) = (next(each.stops for each in one.tried) for one in explained(text, CHANGES))
    assert (stop.line, stop.times, stop.text) == (5, 200, 'c.action == "delete"')
    assert stop.values == {"c": {"address": "a0", "action": "create"}}
    ((every,),) = ([each.stops for each in one.tried] for one in explained(text, CHANGES, full=True))
    assert [each.values["c"]["address"] for each in every] == [f"a{n}" for n in range(200)]


def test_helpers_stand_beneath_what_called_them(explained):
    """As deep as they go, up to a limit that ``full`` lifts."""
    chain = "\n\n".join(f"f{n}(x) if f{n + 1}(x)" for n in range(8))
    text = f'{HEAD}deny contains "no" if f0(input.environment.name)\n\n{chain}\n\nf8(x) if x == "dev"\n'

    def depth(tried):
        return 1 + max((depth(call) for call in tried.calls), default=0)

    document = {"environment": {"name": "prod"}}
    assert [depth(one.tried[0]) for one in explained(text, document)] == [4]
    assert [depth(one.tried[0]) for one in explained(text, document, full=True)] == [9]


def test_what_was_passed_over_says_which_comparison(explained):
    """The engine leaves no trace of such a rule, and its author looks for it."""
    text = f'{HEAD}deny contains "no" if {{\n\tinput.step.name == "x"\n\tinput.environment.name == "dev"\n}}\n'
    ((one,),) = (each.untried for each in explained(text, {"environment": {"name": "prod"}, "step": {"name": "x"}}))
    assert (one.file, one.line) == ("a.rego", 3)
    assert one.why == 'input.environment.name is "prod", not "dev"'
    ((one,),) = (each.untried for each in explained(text, {"step": {"name": "x"}}))
    assert one.why == "input.environment.name is undefined"


def test_a_replay_that_says_something_else_is_named(explained):
    """The record is compared rule by rule; the same record has no difference."""
    text = f'{HEAD}deny contains "no" if input.environment.name == "prod"\n\nwarn contains "hm" if true\n'
    document = {"environment": {"name": "prod"}}
    assert [one.differs for one in explained(text, document)] == [()]

    def alter(results, _digest):
        results[0]["value"]["mandamus.plan.deny"] = [["set", ["other"]]]
        return results

    assert [one.differs for one in explained(text, document, alter=alter)] == [("mandamus.plan.deny",)]


def test_an_error_is_told(explained):
    """A set whose builtins err has an error and no values; where such errors are undefined it has its tree."""
    text = f'{HEAD}deny contains "no" if to_number(input.environment.name) > 0\n\ndeny contains "yes" if true\n'
    document = {"environment": {"name": "z"}}
    (one,) = explained(text, document)
    assert "to_number" in one.trouble
    assert one.differs == ()
    (one,) = explained(text, document, alter=lambda _, digest: [{"set": digest, "value": {"mandamus.plan.deny": []}}])
    assert one.differs == ("mandamus.plan.deny",)
    lenient = Options(builtin_errors=BuiltinErrors.UNDEFINED)
    (one,) = explained(text, document, lenient)
    assert one.trouble == ""
    assert {(each.line, each.true) for each in one.tried} == {(3, 0), (5, 1)}


def test_a_convention_shows_its_own_rules_alone(explained):
    """What makes the document that they judge is ours and no part of the story."""
    text = (
        'package main\n\ndeny contains r.address if {\n\tsome r in input.resource_changes\n\tr.mode == "managed"\n}\n'
    )
    native = {
        "terraform": {"resource_changes": [{"address": "a", "mode": "managed"}, {"address": "b", "mode": "data"}]}
    }
    (one,) = explained(text, {"native": native}, Options(profile="conftest"))
    assert [(each.rule, each.true, [stop.times for stop in each.stops]) for each in one.tried] == [("deny", 1, [1])]


def test_one_rule_of_many(explained):
    """The others are not even asked; one that is not there is an error with those that are."""
    text = f'{HEAD}deny contains "no" if true\n\nwarn contains "hm" if true\n'
    (one,) = explained(text, {}, rule="warn")
    assert list(one.given) == ["mandamus.plan.warn"]
    with pytest.raises(MandamusError) as caught:
        explained(text, {}, rule="wran")
    assert "mandamus.plan.warn" in caught.value.remedy
