"""Spacelift's convention: each file of ``package spacelift`` is a policy of one type, judged on its own.

Which type it is stands in the options, else its rules say. Format: https://docs.spacelift.io/concepts/policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mandamus.kernel.errors import Problem
from mandamus.policy.bundle import TEST_SUFFIX
from mandamus.policy.model import Entry, Options, Point, Said
from mandamus.policy.profile_foreign import ADAPTER, OWN, Rule, answer, asking, problem, refuse, rules
from mandamus.policy.profile_isolated import policies_of, renamed
from mandamus.policy.profile_spacelift_input import ALIASES, DOCUMENT
from mandamus.policy.profile_spacelift_read import READERS
from mandamus.policy.profile_terraform import HEAD, NEEDS_PLAN, PLAN, RUN
from mandamus.policy.query import CLOCK, reference_to
from mandamus.policy.tokens import Text

PACKAGE = "spacelift"
TYPES: Mapping[str, tuple[str, ...]] = {
    "approval": ("approve", "reject"),
    "push": ("track", "propose", "ignore"),
    "trigger": ("trigger",),
    "login": ("allow", "admin", "deny_admin", "space_admin", "space_write", "space_read"),
    "access": ("write", "read", "deny_write"),
    "plan": ("deny", "warn"),
    "initialization": ("deny",),
    "notification": ("inbox", "slack", "webhook", "pull_request"),
}
"""The types, in the order in which they are recognised, and the rules that only they have (plan: what is left)."""

_SPELT = {
    "terraform_plan": "plan",
    "git_push": "push",
    "stack_access": "access",
    "run_initialization": "initialization",
}
_SETS = ("deny", "warn")
_PUSH = ("track", "propose", "ignore", "ignore_track")
_LOGIN = ("allow", "admin", "deny", "space_admin", "space_write", "space_read")
_ACCESS = ("write", "read", "deny", "deny_write")
_HYPOTHETICAL_MAX = 10
_SAYS_YES = 'input.approval.verdict == "yes"; '


class Spacelift:
    """See the module."""

    name = PACKAGE
    suffixes: tuple[str, ...] = ()

    def modules(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `Profile.modules`: every policy in a package of its own, as Spacelift evaluates them one by one."""
        policies = policies_of(files, PACKAGE, _is_module)
        found = {
            path: renamed(text, PACKAGE, policies[path]) if path in policies else text
            for path, text in files.items()
            if _is_module(path)
        }
        aliases = {f"{OWN}aliases/{name}.rego": _aliases(files[path], name) for path, name in policies.items()}
        if not found:
            return {}
        return {
            **found,
            **{path: text for path, text in aliases.items() if text},
            ADAPTER: HEAD + PLAN + RUN + DOCUMENT,
        }

    def tests(self, files: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002 - the profile's signature
        """See `Profile.tests`: a test sees one policy under its own package, so none belongs to the whole."""
        return {}

    def entries(
        self, trees: Mapping[str, Mapping[str, Any]], files: Mapping[str, str], options: Options
    ) -> list[Entry]:
        """See `Profile.entries`."""
        problems: list[Problem] = []
        made: list[Entry] = []
        for path, name in policies_of(files, PACKAGE, _is_module).items():
            if path in trees:
                own = {rule.name: rule for rule in rules({path: trees[path]}) if rule.package == f"{PACKAGE}.{name}"}
                kind = _kind(options.kind, own)
                wrong = _wrong(kind, own, options.kind)
                if wrong:
                    problems.append(problem(path, 1, "policy_type", *wrong))
                else:
                    made += _asked(kind, own, changes=_mentions(files[path], "changes"))
        refuse(problems)
        return made

    def read(self, entry: Entry, given: Sequence[tuple[str, Any]]) -> list[Said]:
        """See `Profile.read`."""
        return READERS[entry.kind](entry, answer(entry, given))


def _is_module(path: str) -> bool:
    return path.endswith(".rego") and not path.endswith(TEST_SUFFIX)


def _aliases(text: str, name: str) -> str:
    """The names that Spacelift gives every plan policy, of which the text uses some and defines none."""
    scanned = Text(text).tokens
    words = {token.text for token in scanned if token.kind == "word"}
    defined = {token.text for token in scanned if token.kind == "word" and token.first and not token.depth}
    used = [rule for alias, rule in ALIASES.items() if alias in words - defined]
    return "\n\n".join([f"package {PACKAGE}.{name}", *used]) + "\n" if used else ""


def _mentions(text: str, word: str) -> bool:
    """Whether the Rego has the word, as a name or a text; comments do not count."""
    return any(token.text == word for token in Text(text).tokens)


def _kind(chosen: str, own: Mapping[str, Rule]) -> str:
    """The type of a policy; empty when nothing tells."""
    spelt = chosen.lower().removesuffix("_policy")
    if spelt:
        return _SPELT.get(spelt, spelt)
    return next((kind for kind, names in TYPES.items() if any(name in own for name in names)), "")


def _wrong(kind: str, own: Mapping[str, Rule], chosen: str) -> tuple[str, str] | None:
    """Why a file cannot be a policy of that type, and what to do."""
    known = ", ".join(name for name in TYPES if name != "notification")
    if chosen and kind not in TYPES:
        return f"there is no policy type {chosen!r}", f"use one of {known}"
    if kind == "notification":
        return "a notification policy decides nothing", "leave the file out"
    wanted = {"login": _LOGIN, "access": _ACCESS}.get(kind, TYPES.get(kind, ()))
    if not any(name in own for name in wanted):
        return f"no rule of the file is one of a policy of type {kind or known}", "name the type with `kind`"
    if kind == "approval" and "approve" not in own:
        return "an approval policy without `approve` lets no run through", "write a rule `approve`"
    return None


def _asked(kind: str, own: Mapping[str, Rule], *, changes: bool) -> list[Entry]:
    """What is asked of one policy; ``changes`` says that it mentions what is planned."""
    if kind in ("plan", "initialization"):
        point, guard = (Point.PLAN, NEEDS_PLAN) if kind == "plan" else (Point.TRIGGER, "")
        return [
            Entry(point.value, own[name].full, asking(guard=guard), f"{name} {'set' if own[name].partial else 'rule'}")
            for name in (_SETS if kind == "plan" else ("deny",))
            if name in own
        ]
    if kind == "approval":
        return [*_approve(own["approve"], changes=changes), *(_reject(own["reject"]) if "reject" in own else ())]
    if kind == "trigger":
        return [Entry(Point.TRIGGER.value, own["trigger"].full, asking(), "trigger")]
    reads = {"reads": 'contains(input.action, ":read")'}
    point, names, facts = {
        "push": (Point.TRIGGER, _PUSH, {"plan_only": "data.mandamus.adapter.plan_only"}),
        "login": (Point.ACCESS, _LOGIN, {**reads, "space": "input.environment.name"}),
        "access": (Point.ACCESS, _ACCESS, reads),
    }[kind]
    present = [name for name in names if name in own]
    others = {name: own[name].full for name in present}
    return [Entry(point.value, own[present[0]].full, asking(others, facts=facts), kind)]


def _approve(rule: Rule, *, changes: bool) -> list[Entry]:
    """A policy about what is planned is asked with the plan, of how many yeses would do; any other as they come in."""
    if changes:
        body = asking(guard=NEEDS_PLAN, facts={"enough": _enough(rule)})
        return [Entry(Point.PLAN.value, rule.full, body, "approve beforehand")]
    body = asking(facts={"given": "count(d.reviews.current.approvals)"})
    return [Entry(point.value, rule.full, body, "approve") for point in (Point.PLAN, Point.APPLY)]


def _enough(rule: Rule) -> str:
    """How many yeses of people without a team would do."""
    guess = 'h := object.union(d, {"reviews": data.mandamus.adapter.hypothetical[k]})'
    asked = f"{reference_to(rule.full)} {CLOCK} with input as h"
    return f"[k | some k in numbers.range(0, {_HYPOTHETICAL_MAX}); {guess}; {asked}]"


def _reject(rule: Rule) -> list[Entry]:
    return [
        Entry(Point.PLAN.value, rule.full, asking(guard=NEEDS_PLAN), "reject"),
        Entry(Point.APPROVAL.value, rule.full, asking(only=_SAYS_YES), "reject"),
        Entry(Point.APPLY.value, rule.full, asking(), "reject"),
    ]


SPACELIFT = Spacelift()
