"""What may go wrong is said in few words, the worst first."""

from __future__ import annotations

import types

from mandamus.kernel.changeset import Action, Change, ChangeSet, Confidence
from mandamus.web.changes import shown
from mandamus.web.risk import glance


def changes(*actions: Action, **options):
    """A change set as a page shows it, with one object for each action."""
    made = tuple(
        Change(address=f"a{at}", type="bucket", name=f"a{at}", action=action, destructive=action is Action.REPLACE)
        for at, action in enumerate(actions)
    )
    tool = {"name": "terraform", "version": "1.9"}
    return shown(ChangeSet(tool=tool, fidelity=Confidence.EXACT, changes=made, **options).to_json())


def decision(warnings: int = 0, spared: int = 0):
    """A decision as far as it counts here."""
    return types.SimpleNamespace(verdict=types.SimpleNamespace(warnings=[0] * warnings, spared=[0] * spared))


def said(*args, protected: bool = False) -> list[tuple[str, str]]:
    """Level and words of each risk."""
    return [(each.level, each.words) for each in glance(*args, protected=protected)]


def test_what_is_lost_comes_first():
    """Deletes and replaces are counted before all else, and then nothing is called safe."""
    found = said(changes(Action.CREATE, Action.DELETE, Action.DELETE, Action.REPLACE), [decision(warnings=1)], [])
    assert found == [("bad", "deletes 2 objects"), ("bad", "replaces 1 object"), ("warn", "policy warns 1 time")]


def test_nothing_destroyed_is_said():
    """Also on a protected environment, which is said as well."""
    assert said(changes(Action.CREATE), [], []) == [("ok", "nothing is destroyed")]
    assert said(changes(Action.CREATE), [], [], protected=True)[0] == ("warn", "the environment is protected")


def test_what_is_uncertain_or_overridden_is_said():
    """No sandbox, an incomplete plan, drift, a rule that a yes overrides, a violation that is let pass, and no plan."""
    drift = (Change(address="x", type="bucket", name="x", action=Action.UPDATE),)
    asked = [types.SimpleNamespace(override=True)]
    found = said(changes(sandbox="none", complete=False, drift=drift), [decision(spared=2)], asked)
    words = [words for _, words in found]
    assert {level for level, _ in found[:2]} == {"bad"}
    for wanted in ("without a sandbox", "could not say everything", "1 object changed outside", "overrides", "2 viol"):
        assert any(wanted in each for each in words), wanted
    assert "nothing is destroyed" not in words
    assert said(None, [], []) == [("warn", "nothing is planned now")]
