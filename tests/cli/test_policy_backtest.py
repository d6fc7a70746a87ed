"""``mandamus policy backtest``: what it shows, in which order, and how it ends."""

from __future__ import annotations

import pytest

from mandamus.kernel.errors import Exit


@pytest.fixture(scope="module")
def judged(shared):
    """A home in which one run was allowed and one was denied."""
    assert shared.ask().code == Exit.OK
    assert shared.ask(public="true").code == Exit.DENIED
    return shared


@pytest.fixture
def candidate(judged, tmp_path):
    """The set's own rules with something replaced."""

    def make(old: str = "", new: str = ""):
        rules = (judged.project / "policy" / "rules.rego").read_text()
        assert old in rules
        (tmp_path / "rules.rego").write_text(rules.replace(old, new) if old else rules + "# the same\n")
        return str(tmp_path)

    return make


def test_the_same_rules_pass(judged, candidate):
    """Nothing flips, the past is said again, and the exit code is 0 also when anything would fail it."""
    told = judged("policy", "backtest", "policy", "--candidate", candidate(), "--fail-on", "any")
    assert told.code == Exit.OK, told
    assert "deny-to-allow 0" in told.out
    assert "all the same" in told.out


def test_what_would_pass_comes_first_and_fails_when_asked_to(judged, candidate):
    """The decision, then and now, with the rule's place and words; exit code 1 only with ``--fail-on``."""
    where = candidate("input.run.inputs.public", "not input.run.inputs.public")
    words = ("policy", "backtest", "policy", "--candidate", where)
    told = judged(*words)
    assert told.code == Exit.OK, told
    assert told.out.startswith("was denied, would pass: ")
    assert told.out.index("would pass") < told.out.index("would be denied")
    assert "rules.rego:" in told.out
    assert "nothing may be public" in told.out
    assert judged(*words, "--fail-on", "deny-to-allow").code == Exit.FAILED
    assert judged(*words, "--fail-on", "approvals,errors").code == Exit.OK


def test_json_has_every_change_and_the_counts(judged, candidate):
    """One document: what would pass first, then the rest, each with its decision, and whether to believe it."""
    where = candidate("input.run.inputs.public", "not input.run.inputs.public")
    found = judged("--output", "json", "policy", "backtest", "policy", "--candidate", where).json
    kinds = [change["kinds"][0] for change in found["changes"]]
    assert kinds == sorted(kinds, key=["deny-to-allow", "allow-to-deny"].index)
    assert len(kinds) == found["counts"]["deny-to-allow"] + found["counts"]["allow-to-deny"] > 1
    assert all(change["decision"].startswith("dec_") for change in found["changes"])
    assert found["fidelity"]["kept"] is True
    assert found["decisions"] > len(kinds) - 1


def test_a_terminal_gets_a_bar(judged, candidate):
    """Where it can be redrawn, and nowhere else."""
    words = ("policy", "backtest", "policy", "--candidate", candidate())
    assert "decisions" in judged(*words, tty=True).err
    assert "[" not in judged(*words).err


def test_a_rule_that_never_fires_is_named(judged, candidate):
    """With file and line, so that nobody takes silence for a test."""
    where = candidate('input.step.name == "change"', 'input.step.name == "nothing"')
    told = judged("policy", "backtest", "policy", "--candidate", where)
    assert "no recorded decision makes this rule say anything" in told.out


def test_nothing_chosen_is_said(judged, candidate):
    """No decision in question is not the same as no change."""
    told = judged("policy", "backtest", "policy", "--candidate", candidate(), "--since", "2999-01-01")
    assert told.code == Exit.OK
    assert "nothing is known" in told.out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("policy", "--fail-on", "denials"), Exit.USAGE, "deny-to-allow"),
        (("policy", "--since", "yesterday"), Exit.USAGE, "2027-01-31"),
        (("policy", "--env", "nowhere"), Exit.FAILED, "nowhere"),
        (("nobody",), Exit.FAILED, "policy sets"),
    ],
)
def test_a_word_nobody_knows_is_an_error(judged, candidate, words, code, says):
    """A misspelt kind, moment, environment or set chooses nothing in silence."""
    told = judged("policy", "backtest", *words, "--candidate", candidate())
    assert told.code == code, told
    assert says in told.err
