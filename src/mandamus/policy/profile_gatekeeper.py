"""Gatekeeper's convention: constraint templates and constraints in YAML judge every Kubernetes object of a plan.

Format: https://open-policy-agent.github.io/gatekeeper/website/docs/howto and .../constrainttemplates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mandamus.kernel.attachment import Level
from mandamus.policy.model import DENY, RULE, WARN, Entry, Options, Said
from mandamus.policy.profile_foreign import ADAPTER, ANSWER, answer, literal, members, refuse, rules, text_or_object
from mandamus.policy.profile_gatekeeper_files import Constraint, Found, Template, found_in
from mandamus.policy.profile_gatekeeper_input import DOCUMENT
from mandamus.policy.tokens import Text

PACKAGE = "gatekeeper"
_RULE = "violation"
_ACTIONS: Mapping[str, tuple[str, Level | None]] = {
    "deny": (DENY, None),
    "warn": (WARN, None),
    "dryrun": (DENY, Level.SHADOW),
}


class Gatekeeper:
    """See the module."""

    name = PACKAGE
    suffixes = (".yaml", ".yml")

    def modules(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `Profile.modules`: the Rego of the templates, on the lines that it has in the YAML."""
        found = found_in(files)
        refuse(found.problems)
        made: dict[str, str] = {}
        for template in found.templates:
            for source in template.sources:
                path = source.file if source.file not in made else f"{source.file}#{len(made)}"
                made[path] = _renamed(source.text, template.kind, is_library=source.is_library)
        return {**made, ADAPTER: DOCUMENT} if made else {}

    def tests(self, files: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002 - the profile's signature
        """See `Profile.tests`: tests lie beside the sources of templates, which are not what is evaluated."""
        return {}

    def entries(
        self,
        trees: Mapping[str, Mapping[str, Any]],
        files: Mapping[str, str],
        options: Options,  # noqa: ARG002 - the profile's signature
    ) -> list[Entry]:
        """See `Profile.entries`: one per template that has constraints."""
        found = found_in(files)
        known = {rule.full for rule in rules(trees)}
        return [
            Entry("plan", full, _body(constraints), _RULE)
            for template in found.templates
            if (full := f"{PACKAGE}.{template.kind}.{_RULE}") in known
            and (constraints := _constraints(found, template))
        ]

    def read(self, entry: Entry, given: Sequence[tuple[str, Any]]) -> list[Said]:
        """See `Profile.read`: for each constraint and object a set of objects with a text ``msg``."""
        said: list[Said] = []
        for one in answer(entry, given)[ANSWER]:
            kind, level = _ACTIONS[one["action"]]
            for member in members(entry, one["said"], required=True):
                text = text_or_object(entry, member, ("msg",))
                own = text if isinstance(text, dict) else {"msg": text}
                meta = {**own.get("meta", {}), "constraint": one["constraint"]}
                said.append(Said(kind, entry.rule, {**own, "meta": meta, "address": one["address"]}, level))
        return said


def _constraints(found: Found, template: Template) -> list[Constraint]:
    return [constraint for constraint in found.constraints if constraint.kind == template.kind]


def _body(constraints: Sequence[Constraint]) -> str:
    """Asks the template's rule for each pair of a constraint and an object that it matches."""
    given = literal([vars(constraint) for constraint in constraints])
    # A reference to a variable within the object behind `with` would not be looked up, so it is bound before.
    asked = (
        'd := {"review": o.review, "parameters": c.parameters}; i := data.mandamus.adapter.inventory; '
        f"x := {RULE} with input as d with data.inventory as i"
    )
    one = f'{{"constraint": c.name, "action": c.action, "address": o.address, "said": [[type_name(x), x] | {asked}]}}'
    pairs = f"some c in {given}; some o in data.mandamus.adapter.objects; data.mandamus.adapter.matches(c.match, o)"
    return f'data.mandamus.adapter.readable; v := {{"{ANSWER}": [{one} | {pairs}]}}'


def _renamed(text: str, kind: str, *, is_library: bool) -> str:
    """The text in packages that belong to its template alone, as Gatekeeper keeps them apart; lines stay."""
    scanned = Text(text)
    prefix = f"{PACKAGE}.{kind}"
    made = text
    for index, token in reversed(list(enumerate(scanned.tokens))):
        if token.kind != "word":
            continue
        before = scanned.tokens[index - 1] if index else None
        follows = [one.text for one in scanned.tokens[index + 1 : index + 3]]
        if token.text == "data" and (before is None or before.text != ".") and follows == [".", "lib"]:
            made = f"{made[: token.end]}.{prefix}{made[token.end :]}"
        elif before is not None and before.text == "package" and not token.depth:
            end = token.at if is_library else scanned.tokens[scanned.reference(index)[1] - 1].end
            made = f"{made[: token.at]}{prefix}{'.' if is_library else ''}{made[end:]}"
    return made


GATEKEEPER = Gatekeeper()
