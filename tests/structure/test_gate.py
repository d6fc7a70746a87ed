"""The gate is a type: who may make its values, and that a verb cannot be reached without a permission."""

from __future__ import annotations

import ast

from mandamus.kernel.access import Permission

MAKERS = {
    "Judged": "src/mandamus/runs/gate.py",
    "Approved": "src/mandamus/runs/approval.py",
    "Applied": "src/mandamus/runs/apply.py",
}
MODEL = "mandamus.runs.model"

INTERNAL = {
    "mandamus.policy.service.Policy.record": "the stage that asked writes the answer down; who may ask is its matter",
    "mandamus.audit.service.Audit.open": "bootstrap calls it at every start; no door reaches it",
    "mandamus.evidence.service.Evidence.seal": "every run that ends is sealed by the platform; no door reaches it",
    "mandamus.catalog.service.Catalog.environment_for": "the verb that asks hands on the permission it needs there",
}
"""Methods that take ``who`` first and are no verbs, with the reason."""


def _made_here(tree: ast.Module, value: str) -> list[ast.Call]:
    """Calls that construct ``runs.model.<value>``, whatever the module calls it."""
    names, modules = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == MODEL:
            names |= {alias.asname or alias.name for alias in node.names if alias.name == value}
        elif isinstance(node, ast.ImportFrom) and node.module == "mandamus.runs":
            modules |= {alias.asname or alias.name for alias in node.names if alias.name == "model"}
        elif isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name for alias in node.names if alias.name == MODEL}
    wanted = names | {f"{module}.{value}" for module in modules}
    # `replace` and `__new__` make one too.
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        if (called := ast.unparse(node.func)) in wanted or called.removesuffix(".__new__") in wanted - {called}
    ]


def test_only_its_stage_makes_a_gate_value(src):
    """``Judged``, ``Approved`` and ``Applied`` are constructed only by the stage that can answer for them."""
    found = [
        source.at(call, f"makes {value}, which only {maker} may")
        for value, maker in MAKERS.items()
        for source in src
        if source.name != maker
        for call in _made_here(source.tree, value)
    ]
    assert not found, "\n".join(found)


def test_each_stage_makes_its_value(src):
    """The scan sees the constructions that are there, so it would see others."""
    by_name = {source.name: source for source in src}
    for value, maker in MAKERS.items():
        assert _made_here(by_name[maker].tree, value), f"{maker} does not make {value}"


def test_no_gate_value_is_altered(src):
    """No code of runs calls ``dataclasses.replace`` on a gate value: that would make one past its stage."""
    found = [
        source.at(node, "replaces a gate value")
        for source in src
        if source.name.startswith("src/mandamus/runs/")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"replace", "dataclasses.replace", "copy.replace"}
        if node.args and ast.unparse(node.args[0]).split(".")[-1] in {"judged", "approved", "applied"}
    ]
    assert not found, "\n".join(found)


def _verbs(src):
    """Public methods whose first parameter is ``who``, also behind a transaction, by their full name."""
    for source in src:
        parts = source.path.relative_to(source.root / "src").with_suffix("").parts
        if parts[-1] != "service" and (len(parts) != 3 or parts[1] not in {"operations", "runs"}):
            continue
        for owner in source.tree.body:
            if not isinstance(owner, ast.ClassDef):
                continue
            for member in owner.body:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    names = [argument.arg for argument in [*member.args.posonlyargs, *member.args.args]]
                    if names[1:2] == ["who"] or names[1:3] == ["tx", "who"]:
                        yield ".".join([*parts, owner.name, member.name]), member


def _permission(verb: ast.FunctionDef) -> str:
    """What is asked for before anything runs: by the outermost decorator, or in a transaction by the first line."""
    asks = verb.decorator_list[0] if verb.decorator_list else None
    if asks is None and verb.args.args[1].arg == "tx":
        first = verb.body[1] if len(verb.body) > 1 else None
        asks = first.value if isinstance(first, ast.Expr) else None
    if isinstance(asks, ast.Call) and ast.unparse(asks.func) in {"requires", "authorize", "access.authorize"}:
        named = [ast.unparse(argument) for argument in asks.args]
        return next((name for name in named if name.startswith("Permission.")), "")
    return ""


def test_every_verb_has_a_permission(src):
    """A public method whose first parameter is ``who`` is bound to a permission before anything else."""
    verbs = dict(_verbs(src))
    assert len(verbs) > 10, "the scan lost the services"
    bare = [name for name, verb in verbs.items() if not _permission(verb) and name not in INTERNAL]
    assert not bare, "\n".join(bare)


def test_no_exception_outlives_its_reason(src):
    """Every method listed as no verb is still there, still without a permission."""
    verbs = dict(_verbs(src))
    stale = [name for name in INTERNAL if name not in verbs or _permission(verbs[name])]
    assert not stale, "\n".join(stale)


def test_every_permission_guards_something(src):
    """A permission nobody asks for would be a promise without a lock."""
    asked = {
        node.attr
        for source in src
        if source.name != "src/mandamus/kernel/access.py"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Permission"
    }
    unused = sorted({permission.name for permission in Permission} - asked)
    assert not unused, unused
