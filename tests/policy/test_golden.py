"""A recorded decision saved as a test: it passes as long as the rules say the same, and fails when they do not."""

from __future__ import annotations

import time

import pytest

from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId
from mandamus.policy import bundle, testing, testing_files
from mandamus.policy.attribution import Attribution
from mandamus.policy.golden import golden
from mandamus.policy.model import Decision, Options, Outcome

ID = DecisionId("dec_00000000000000000000000000")
OWN = """package mandamus.plan

deny contains {"msg": "no", "meta": {"n": 12345678901234567890}} if input.environment.name == "prod"

warn contains "late" if time.now_ns() > time.parse_rfc3339_ns("2025-01-01T00:00:00Z")

require_approval contains "never" if input.environment.name == "dev"
"""
FOREIGN = """package main

deny contains r.address if {
	some r in input.resource_changes
	r.mode == "managed"
}

violation := "never" if input.nothing
"""
NATIVE = {"terraform": {"resource_changes": [{"address": 'a["}`x"]', "mode": "managed"}]}}
DOCUMENT = {"environment": {"name": "prod"}, "native": NATIVE}
SETS = {
    "our own": (OWN, Options(), ('== "prod"', '== "production"')),
    "no longer a set of two": (OWN, Options(), ('contains "late"', 'contains "later"')),
    "a convention's": (FOREIGN, Options(profile="conftest"), ('== "managed"', '== "data"')),
}


@pytest.fixture
def folder(tmp_path):
    """Where a set's rules are written by hand."""
    made = tmp_path / "set"
    made.mkdir()
    return made


@pytest.fixture
def saved(publish, decide, policy, pool, who):
    """The test of what a set decides, and the folder it is written to."""

    def save(folder, text, options=None, document=DOCUMENT, name="public_1"):
        (folder / "rules.rego").write_text(text)
        digest = publish({"rules.rego": text}, options)
        verdict = decide(document, [digest])
        made = golden(pool, Decision(ID, None, None, verdict), digest, Attribution(policy.bundle(who, digest)), name)
        for path, content in made.files.items():
            (folder / path).write_text(content)
        return verdict

    return save


def results(folder, pool):
    sources = testing_files.read([folder])
    return testing.run(sources, pool, testing.Settings(), time.monotonic, lambda _done, _of: None)


@pytest.mark.parametrize("name", SETS)
def test_it_passes_until_the_rules_say_otherwise(saved, pool, folder, name):
    """Numbers, quotes and the clock included; one rule that says another thing fails it."""
    text, options, (old, new) = SETS[name]
    assert saved(folder, text, options).outcome is Outcome.DENY
    report = results(folder, pool)
    assert [(test.name, test.result.value) for test in report.tests] == [("test_public_1", "pass")], report.tests
    assert old in text
    (folder / "rules.rego").write_text(text.replace(old, new))
    assert [test.result.value for test in results(folder, pool).tests] == ["fail"]


def test_without_its_record_it_fails(saved, pool, folder):
    """A lost data file is no pass."""
    saved(folder, OWN)
    (folder / "public_1.json").unlink()
    assert [test.result.value for test in results(folder, pool).tests] == ["fail"]


def test_several_stand_side_by_side_and_nothing_is_published_of_them(saved, policy, pool, folder):
    """The set is the same with and without them, but for the test's text, which publishing compiles and takes."""
    saved(folder, OWN)
    before = policy.read(folder)
    saved(folder, OWN, name="public_2", document={**DOCUMENT, "environment": {"name": "dev"}})
    assert results(folder, pool).ok
    tree = policy.read(folder)
    assert policy.problems(tree) == []
    assert tree.modules == before.modules
    assert bundle.data_of(tree.files) == b""


def test_no_text_of_the_record_stands_in_the_rego(saved, folder):
    """What was judged cannot become code."""
    saved(folder, OWN, document={**DOCUMENT, "run": {"inputs": {"x": '"} data.evil'}}})
    assert "evil" not in (folder / "public_1_test.rego").read_text()
    assert "evil" in (folder / "public_1.json").read_text()


@pytest.mark.parametrize("name", ["", "A", "a-b", "1a", 'a"', "../a"])
def test_a_name_is_a_word(saved, folder, name):
    """It becomes part of a rule's name and of two files."""
    with pytest.raises(MandamusError) as caught:
        saved(folder, OWN, name=name)
    assert caught.value.code is Code.USAGE


def test_a_decision_without_an_answer_cannot_be_saved(saved, folder):
    """A fault says nothing about the rules."""
    with pytest.raises(MandamusError, match="gave no answer"):
        saved(folder, OWN + '\ndeny contains "x" if to_number("z") == 1\n')
