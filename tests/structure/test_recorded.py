"""The catalogue of what verbs record is whole: it names every verb there is, and every kind is recorded somewhere."""

from __future__ import annotations

import ast

from mandamus.audit.catalogue import REFUSED, VERBS
from mandamus.audit.kinds import Kind

KINDS = "src/mandamus/audit/kinds.py"
CATALOGUE = "src/mandamus/audit/catalogue.py"


def _asks(verb: ast.FunctionDef) -> bool:
    """Whether a method asks for a permission: by a decorator, or by itself because a transaction comes first."""
    calls = [node for node in verb.decorator_list if isinstance(node, ast.Call)]
    calls += [node.value for node in verb.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    return any(
        ast.unparse(call.func) in {"requires", "access.requires", "authorize", "access.authorize"}
        and any(ast.unparse(argument).startswith("Permission.") for argument in call.args)
        for call in calls
    )


def _verbs(src):
    return {
        f"{owner.name}.{member.name}": source.at(member, f"{owner.name}.{member.name} is not in {CATALOGUE}")
        for source in src
        for owner in source.tree.body
        if isinstance(owner, ast.ClassDef)
        for member in owner.body
        if isinstance(member, ast.FunctionDef) and not member.name.startswith("_") and _asks(member)
    }


def test_the_catalogue_names_every_verb(src):
    """Whatever asks for a permission says in the catalogue what it records, or why it records nothing."""
    missing = [where for verb, where in _verbs(src).items() if verb not in VERBS]
    assert not missing, "\n".join(missing)


def test_the_catalogue_names_nothing_else(src):
    """A verb that is gone is gone from the catalogue; the names stand in order, so that each is found."""
    assert not VERBS.keys() - _verbs(src).keys()
    assert list(VERBS) == sorted(VERBS)


def test_a_reason_is_a_reason():
    """Whoever records nothing says why, in words."""
    assert all(isinstance(promise, Kind) or len(promise.split()) > 3 for promise in VERBS.values())
    assert REFUSED not in VERBS.values()


def test_every_kind_is_recorded_somewhere(src):
    """No kind is in the list that no code makes an event of."""
    made = {
        node.attr
        for source in src
        if source.name not in {KINDS, CATALOGUE}
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"Kind", "EventKind"}
    }
    assert not [kind.name for kind in Kind if kind.name not in made]
