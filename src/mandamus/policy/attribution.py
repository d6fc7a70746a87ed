"""Which rule gave which member: OPA merges the ``deny`` rules of a package into one set and forgets whose is whose.

For an explanation, and only for that, every entry rule's head gets a name of its own in a copy of the module
(nothing else moves, so lines stay), and one added module unites them again under the old name. Evaluating the copy
gives the members rule by rule; the verdict itself always comes from the unmodified text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.kernel import canonical
from mandamus.policy.model import ROOT, RULES, Bundle, Point
from mandamus.policy.tokens import Text, Token

_POINTS = frozenset(point.value for point in Point)
_BEHIND_A_HEAD = frozenset({"contains", ":=", ":", "=", "if", "(", "[", "{"})


@dataclass(frozen=True)
class Head:
    """One entry rule and where it stands.

    ``name`` is the token that holds the rule's own name, ``partial`` says whether it is a ``contains`` rule, and
    ``package`` and ``before`` are the parts of its path that the package and the head give.
    """

    point: str
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
        self.heads: Sequence[Head] = tuple(head for path, text in bundle.modules for head in heads(path, text))
        # The author cannot write a name that holds the digest of what they write.
        self._prefix = f"mandamus_{bundle.digest.removeprefix('sha256:')[:20]}_"
        self.bundle = bundle

    def ambiguous(self, point: str, rule: str) -> bool:
        """Whether several rules give members of that name, so that only an evaluation tells them apart."""
        return sum((head.point, head.rule) == (point, rule) for head in self.heads) > 1

    def query(self) -> str:
        """The members of every renamed rule at the input's point: ``{name: [member]}``."""
        names = ", ".join(f'"{self._name(index)}"' for index, head in enumerate(self.heads) if head.partial)
        return f"{{n: v | some n in [{names}]; v := data.{ROOT}[input.point][n]}}"

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

    def members(self, value: Mapping[str, Sequence[Any]]) -> dict[int, Sequence[Any]]:
        """The value of `query` by the place of the rule in `heads`."""
        return {index: value[name] for index in range(len(self.heads)) if (name := self._name(index)) in value}

    def find(self, point: str, rule: str, member: object, told: Mapping[int, Sequence[Any]]) -> tuple[str, int]:
        """File and line of the rule that gave the member; the first of that name when none admits to it."""
        named = [(i, head) for i, head in enumerate(self.heads) if (head.point, head.rule) == (point, rule)]
        wanted = canonical.dumps(member)
        for index, head in named:
            if any(canonical.dumps(given) == wanted for given in told.get(index, ())):
                return head.file, head.line
        return (named[0][1].file, named[0][1].line) if named else ("", 0)

    def _name(self, index: int) -> str:
        return f"{self._prefix}{index}"

    def _unions(self) -> list[tuple[str, str]]:
        """One module per package that has entry rules: a module may only add to rules of its own package."""
        made: dict[tuple[str, ...], list[str]] = {}
        for index, head in enumerate(self.heads):
            if head.partial:
                lines = made.setdefault(head.package, [f"package {'.'.join(head.package)}"])
                old, new = (".".join((*head.before, name)) for name in (head.rule, self._name(index)))
                lines.append(f"{old} contains x if some x in {new}")
        return [(f"{self._prefix}{'_'.join(package)}.rego", "\n".join(lines)) for package, lines in made.items()]


def heads(path: str, text: str) -> list[Head]:
    """Every head of an entry rule in one module, in the order of the text."""
    scanned = Text(text)
    package, _ = scanned.package()
    found = []
    for index, token in enumerate(scanned.tokens):
        if token.kind != "word" or token.depth or not _starts_a_rule(scanned, index):
            continue
        reference, behind = scanned.reference(index)
        full = (*package, *reference)
        follows = scanned.tokens[behind].text if behind < len(scanned.tokens) else ":="
        if len(full) == 3 and full[0] == ROOT and full[1] in _POINTS and full[2] in RULES and follows in _BEHIND_A_HEAD:
            last = scanned.tokens[behind - 1]
            name = last if last.text == full[2] else scanned.tokens[behind - 2]
            line, _ = scanned.position(token.at)
            found.append(Head(full[1], full[2], path, line, name, follows == "contains", package, reference[:-1]))
    return found


def _starts_a_rule(scanned: Text, index: int) -> bool:
    token = scanned.tokens[index]
    return token.first or (index > 0 and scanned.tokens[index - 1].text in {"default", ";", "}"})
