"""Why a rule fired: the input paths that it read where it fired, with the values that were there."""

from __future__ import annotations

import pytest

from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached, Level
from mandamus.policy.because import PATHS_MAX, VALUE_BYTES_MAX
from mandamus.policy.model import Options, Outcome

HEAD = "package mandamus.plan\n\n"


def change(address, **more):
    return {"address": address, "type": "bucket", "action": "create", "after": {"acl": "private"}, **more}


DOCUMENT = {
    "environment": {"name": "prod", "vars": {"a-b": 1}},
    "change_set": {
        "changes": [
            change("a"),
            change("b", after={"acl": "public", "rules": [{"port": 1}, {"port": 22}]}),
            change("c", action="delete"),
            change("d", action="delete"),
        ]
    },
}

C = "input.change_set.changes"

CASES = {
    "a path": ('input.environment.name == "prod"', {"input.environment.name": "prod"}),
    "a name that is no word": ('input.environment.vars["a-b"] == 1', {'input.environment.vars["a-b"]': 1}),
    "what is not there": ("not input.environment.vars.owner", {"input.environment.vars.owner": {"note": "undefined"}}),
    "a key with a default": (
        'object.get(input.environment.vars, "tier", 0) == 0',
        {"input.environment.vars.tier": {"note": "undefined"}},
    ),
    "some in": (f'some change in {C}\nchange.after.acl == "public"', {f"{C}[1].after.acl": "public"}),
    "some with a key": (f'some i, change in {C}\nchange.address == "d"', {f"{C}[3].address": "d"}),
    "an index": (f'some i\n{C}[i].address == "c"', {f"{C}[2].address": "c"}),
    "an older iteration": (f'change := {C}[_]\nchange.address == "c"', {f"{C}[2].address": "c"}),
    "an alias": ('e := input.environment\nname := e.name\nname == "prod"', {"input.environment.name": "prod"}),
    "one in the other": (
        f"some change in {C}\nsome rule in change.after.rules\nrule.port == 22",
        {f"{C}[1].after.rules[1].port": 22},
    ),
    "a count": (
        f'count([c | some c in {C}; c.action == "delete"]) > 1',
        {f"{C}[_].action": ["create", "create", "delete", "delete"]},
    ),
    "every": (
        f'every c in {C} {{\n c.type == "bucket"\n}}',
        {f"{C}[_].type": ["bucket"] * 4},
    ),
    "a function": (f"some change in {C}\nis_public(change)", {f"{C}[1].after.acl": "public"}),
    "a rule": ("prod", {"input.environment.name": "prod"}),
    "elements of a rule": (
        'some change in deleted\nchange.address == "d"',
        {f"{C}[3].action": "delete", f"{C}[3].address": "d"},
    ),
    "an index that a rule gives": (
        'some [i, what] in goes\nwhat == "delete"\naddress(i) == "d"',
        {f"{C}[3].action": "delete", f"{C}[3].address": "d"},
    ),
    "an index within an index": (
        f"some i in public\nsome k, _ in {C}[i].after.rules\nport(i, k) == 22",
        {f"{C}[1].after.acl": "public", f"{C}[1].after.rules[1].port": 22},
    ),
    "nothing": ("1 == 1", {}),
}
HELPERS = f"""
is_public(c) if c.after.acl in {{"public", "open"}}

prod if input.environment.name == "prod"

goes contains [n, action] if {{
	some n in indices
	action := {C}[n].action
}}

indices contains n if some n, _ in {C}

public contains i if {C}[i].after.acl == "public"

port(i, k) := {C}[i].after.rules[k].port

address(i) := {C}[i].address

deleted contains c if {{
	some c in {C}
	c.action == "delete"
}}
"""


@pytest.mark.parametrize("name", CASES)
def test_a_rule_says_what_it_read(publish, decide, name):
    """The concrete paths where it fired, whichever way the rule comes to them, and what was there."""
    body, expected = CASES[name]
    verdict = decide(DOCUMENT, [publish({"a.rego": f'{HEAD}deny contains "no" if {{\n{body}\n}}\n{HELPERS}'})])
    (violation,) = verdict.violations
    assert dict(violation.because) == expected
    assert verdict.error is None


def test_each_firing_has_its_own(publish, decide):
    """One rule, several members: each names the element it is about; helpers beside it do not matter."""
    text = f"""{HEAD}deny contains {{"msg": msg, "address": change.address}} if {{
	some change in {C}
	change.action == "delete" # a comment
	msg := sprintf("%s goes", [change.address])
}}

deny contains "also" if input.environment.name == "prod"

deny contains "always"
"""
    verdict = decide(DOCUMENT, [publish({"a.rego": text})])
    found = {v.msg: dict(v.because) for v in verdict.violations}
    assert found == {
        "c goes": {f"{C}[2].action": "delete", f"{C}[2].address": "c"},
        "d goes": {f"{C}[3].action": "delete", f"{C}[3].address": "d"},
        "also": {"input.environment.name": "prod"},
        "always": {},
    }


def test_what_fired_comes_before_what_was_only_looked_through(publish, decide):
    """First the element that fired, then single places, then whole lists: so the limit never cuts the first."""
    body = f'count([1 | some c in {C}; c.type == "bucket"]) > 1\n\tinput.environment.name == "prod"\n\tsome c in {C}'
    text = f'{HEAD}deny contains "no" if {{\n\t{body}\n\tc.address == "b"\n}}\n'
    (violation,) = decide(DOCUMENT, [publish({"a.rego": text})]).violations
    assert list(violation.because) == [f"{C}[1].address", "input.environment.name", f"{C}[_].type"]


def test_values_are_short_and_few(publish, decide):
    """A large value is told by its digest, and no violation names more than so many paths."""
    many = "\n".join(f'input.environment.vars["v{n}"] == {n}' for n in range(30))
    text = f'{HEAD}deny contains "many" if {{\n{many}\n}}\n\ndeny contains "large" if count(input.native.large) > 0\n'
    large = "x" * 1000
    document = {"environment": {"vars": {f"v{n}": n for n in range(30)}}, "native": {"large": large}}
    verdict = decide(document, [publish({"a.rego": text}, Options())])
    found = {v.msg: v.because for v in verdict.violations}
    assert len(found["many"]) == PATHS_MAX
    size = canonical.dumps(large)
    assert found["large"] == {
        "input.native.large": {"note": "too long to show", "bytes": len(size), "digest": canonical.digest(size)}
    }
    assert all(len(canonical.dumps(value)) <= VALUE_BYTES_MAX for value in found["large"].values())


def test_helpers_that_call_helpers_end(publish, decide):
    """What a rule reads is looked for within bounds, however often its helpers are called."""
    levels = "\n\n".join(f"f{n}(x) if {{\n" + f"\tf{n + 1}(x)\n" * 8 + "}" for n in range(8))
    text = f'{HEAD}deny contains "no" if f0(input.environment.name)\n\n{levels}\n\nf8(x) if x == "prod"\n'
    (violation,) = decide(DOCUMENT, [publish({"a.rego": text})]).violations
    assert dict(violation.because) == {"input.environment.name": "prod"}


def test_what_spares_has_reasons_and_an_allow_has_none(publish, decide):
    """A shadow set says why it would have denied; warnings of an allow cost nothing and say nothing."""
    digest = publish({"a.rego": f'{HEAD}deny contains "no" if input.environment.name == "prod"\n'})
    other = publish({"a.rego": f'{HEAD}warn contains "hm" if input.environment.name == "prod"\n'})
    verdict = decide(DOCUMENT, [Attached(digest, level=Level.SHADOW), Attached(other)])
    assert verdict.outcome is Outcome.ALLOW
    assert [dict(v.because) for v in verdict.spared] == [{"input.environment.name": "prod"}]
    assert [dict(v.because) for v in verdict.warnings] == [{}]


def test_trouble_with_the_reasons_changes_no_verdict(publish, decide, policy, monkeypatch):
    """Whatever becomes of the copy, the decision is the same but for its reasons."""
    digest = publish({"a.rego": f'{HEAD}deny contains "no" if input.environment.name == "prod"\n'})

    def broken(*_arguments):
        raise RuntimeError("no")

    monkeypatch.setattr(policy._reasons, "_of", broken)
    verdict = decide(DOCUMENT, [digest])
    assert verdict.outcome is Outcome.DENY
    assert verdict.error is None
    assert [dict(v.because) for v in verdict.violations] == [{}]


def test_a_foreign_rule_names_its_own_document(publish, decide):
    """Paths are those of the document that the convention's rules see, also for a rule that is no set."""
    text = """package main

deny contains msg if {
	some r in input.resource_changes
	r.change.after.acl == "public"
	msg := r.address
}

violation := ["all"] if input.format_version == "1.2"
"""
    native = {
        "format_version": "1.2",
        "resource_changes": [{"address": "b", "change": {"after": {"acl": "public"}}}],
    }
    digest = publish({"a.rego": text}, Options(profile="conftest"))
    verdict = decide({**DOCUMENT, "native": {"terraform": native}}, [digest])
    assert {v.msg: dict(v.because) for v in verdict.violations} == {
        "b": {"input.resource_changes[0].change.after.acl": "public", "input.resource_changes[0].address": "b"},
        "all": {"input.format_version": "1.2"},
    }


def test_the_same_input_gives_the_same_reasons(publish, decide):
    """Two firings that say the same: always the same one is told."""
    text = f'{HEAD}deny contains "one" if {{\n\tsome c in {C}\n\tc.action == "delete"\n\tc.address != ""\n}}\n'
    digest = publish({"a.rego": text})
    told = {canonical.dumps(dict(decide(DOCUMENT, [digest]).violations[0].because)) for _ in range(3)}
    assert told == {canonical.dumps({f"{C}[2].action": "delete", f"{C}[2].address": "c"})}
