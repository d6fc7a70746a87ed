"""Which rule gave which member: OPA merges the ``deny`` rules of a package into one set and forgets whose is whose.

For an explanation, and only for that, every entry rule's head gets a name of its own in a copy of the module
(nothing else moves, so lines stay), and one added module unites them again under the old name. Evaluating the copy
gives the members rule by rule; the verdict itself always comes from the unmodified text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.policy import profiles
from mandamus.policy.model import Bundle
from mandamus.policy.query import decide_query
from mandamus.policy.tokens import Text, Token

_BEHIND_A_HEAD = frozenset({"contains", ":=", ":", "=", "if", "(", "[", "{"})


@dataclass(frozen=True)
class Head:
    """One entry rule and where it stands.

    ``rule`` is its full name without ``data``, ``name`` the token that holds the rule's own name, ``partial`` says
    whether it is a ``contains`` rule, and ``package`` and ``before`` are the parts of its path that the package and
    the head give.
    """

    rule: str
    file: str
    line: int
    name: Token
    partial: bool
    package: tuple[str, ...]
    before: tuple[str, ...]


class Attribution:
    """The heads of a bundle and the copy that tells them apart."""

    def __init__(self, bundle: Bundle) -> None:
        rules = frozenset(entry.rule for entry in bundle.entries)
        self.heads: Sequence[Head] = tuple(head for path, text in bundle.modules for head in heads(path, text, rules))
        # The author cannot write a name that holds the digest of what they write.
        self._prefix = f"mandamus_{bundle.digest.removeprefix('sha256:')[:20]}_"
        self.bundle = bundle

    def ambiguous(self, rule: str) -> bool:
        """Whether several rules give members of that name, so that only an evaluation tells them apart."""
        return sum(head.rule == rule for head in self.heads) > 1

    def query(self) -> str:
        """Asks every renamed rule at the input's point, as `decide_query` does."""
        entries = [
            replace(entry, rule=self._renamed(index))
            for index, head in enumerate(self.heads)
            for entry in self.bundle.entries
            if head.partial and entry.rule == head.rule
        ]
        return decide_query(entries, clock=self.bundle.clock)

    def modules(self) -> list[tuple[str, str]]:
        """The copy, and the module that unites what it tells apart."""
        renamed = []
        for path, text in self.bundle.modules:
            copy = text
            for index, head in reversed(list(enumerate(self.heads))):
                if head.file == path and head.partial:
                    name = self._name(index) if head.name.kind == "word" else f'"{self._name(index)}"'
                    copy = copy[: head.name.at] + name + copy[head.name.end :]
            renamed.append((path, copy))
        return [*renamed, *self._unions()]

    def members(self, value: Mapping[str, Sequence[Any]]) -> dict[int, list[Any]]:
        """The value of `query` by the place of the rule in `heads`."""
        return {
            index: self._read(head.rule, value.get(self._renamed(index), ()))
            for index, head in enumerate(self.heads)
            if head.partial
        }

    def _read(self, rule: str, given: Sequence[Any]) -> list[Any]:
        """What the set's profile makes of one rule's value; nothing where it makes nothing of it."""
        profile = profiles.find(self.bundle.options.profile)
        found: list[Any] = []
        for entry in self.bundle.entries:
            if entry.rule == rule:
                with suppress(MandamusError):
                    found += [said.member for said in profile.read(entry, [(str(kind), v) for kind, v in given])]
        return found

    def find(self, rule: str, member: object, told: Mapping[int, Sequence[Any]]) -> tuple[str, int]:
        """File and line of the rule that gave the member; the first of that name when none admits to it."""
        named = [(index, head) for index, head in enumerate(self.heads) if head.rule == rule]
        wanted = canonical.dumps(member)
        for index, head in named:
            if any(canonical.dumps(given) == wanted for given in told.get(index, ())):
                return head.file, head.line
        return (named[0][1].file, named[0][1].line) if named else ("", 0)

    def _name(self, index: int) -> str:
        return f"{self._prefix}{index}"

    def _renamed(self, index: int) -> str:
        head = self.heads[index]
        return ".".join((*head.package, *head.before, self._name(index)))

    def _unions(self) -> list[tuple[str, str]]:
        """One module per package that has entry rules: a module may only add to rules of its own package."""
        made: dict[tuple[str, ...], list[str]] = {}
        for index, head in enumerate(self.heads):
            if head.partial:
                lines = made.setdefault(head.package, [f"package {'.'.join(head.package)}"])
                own = head.rule.split(".")[-1]
                old, new = (".".join((*head.before, name)) for name in (own, self._name(index)))
                lines.append(f"{old} contains x if some x in {new}")
        return [(f"{self._prefix}{'_'.join(package)}.rego", "\n".join(lines)) for package, lines in made.items()]


def heads(path: str, text: str, rules: frozenset[str]) -> list[Head]:
    """Every head of an entry rule (full names) in one module, in the order of the text."""
    scanned = Text(text)
    package, _ = scanned.package()
    found = []
    for index, token in enumerate(scanned.tokens):
        if token.kind != "word" or token.depth or not _starts_a_rule(scanned, index):
            continue
        reference, behind = scanned.reference(index)
        full = (*package, *reference)
        follows = scanned.tokens[behind].text if behind < len(scanned.tokens) else ":="
        if ".".join(full) in rules and follows in _BEHIND_A_HEAD:
            last = scanned.tokens[behind - 1]
            name = last if last.text == full[-1] else scanned.tokens[behind - 2]
            line, _ = scanned.position(token.at)
            found.append(Head(".".join(full), path, line, name, follows == "contains", package, reference[:-1]))
    return found


def _starts_a_rule(scanned: Text, index: int) -> bool:
    token = scanned.tokens[index]
    return token.first or (index > 0 and scanned.tokens[index - 1].text in {"default", ";", "}"})
