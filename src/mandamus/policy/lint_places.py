"""Where in a module's text a reference stands: syntax trees carry no positions, tokens do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mandamus.policy.tokens import Text, Token

_STATEMENTS = frozenset({"package", "import", "default", "else", "if"})
_OPEN_ENDED = frozenset({"if", ":=", "=", "contains", "else", "in", "|", ","})
"""Behind these a line goes on, so the next begins no rule."""


@dataclass(frozen=True)
class Mention:
    """A reference as it is written: its first variable and the parts behind it, None for one that is computed.

    ``argument`` says that it is all that stands before a comma.
    """

    root: str
    parts: tuple[str | None, ...]
    argument: bool = False


class Places:
    """One module's text, divided into its rules; ``names`` are the rules' first names in the order of its tree."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self._text = Text(text)
        self._names = names
        starts = [index for index in range(len(self._text.tokens)) if self._begins(index)]
        ends = [*starts[1:], len(self._text.tokens)]
        self._rules = [(self._tokens[s].text, s, e) for s, e in zip(starts, ends, strict=False)]

    def find(self, mention: Mention, rule: int | None) -> list[tuple[int, int]]:
        """Lines and columns of a mention in a rule (by its place in ``names``; None is the whole text).

        Where tree and text cannot be brought together it is looked for in rules of the same name, then everywhere;
        what is nowhere stands where the rule does, or at the top.
        """
        spans = self._spans(rule)
        for some in (spans, [(0, len(self._tokens))]):
            found = [at for start, end in some for at in self._within(mention, start, end)]
            if found:
                return [self._text.position(at) for at in found]
        return [self._text.position(self._tokens[start].at) for start, _ in spans[:1]] or [(1, 1)]

    @property
    def _tokens(self) -> Sequence[Token]:
        return self._text.tokens

    def _spans(self, rule: int | None) -> list[tuple[int, int]]:
        if rule is None:
            return []
        name = self._names[rule]
        same = [(start, end) for own, start, end in self._rules if own == name]
        if len(same) == Counter(self._names)[name]:
            return [same[self._names[:rule].count(name)]]
        return same

    def _begins(self, index: int) -> bool:
        token, before = self._tokens[index], self._tokens[index - 1] if index else None
        if token.kind != "word" or token.depth or token.text in _STATEMENTS:
            return False
        if before is None or before.text in ("default", ";"):
            return True
        return (token.first and before.text not in _OPEN_ENDED) or before.text == "}"

    def _within(self, mention: Mention, start: int, end: int) -> Iterator[int]:
        for index in range(start, end):
            token = self._tokens[index]
            own = token.kind == "word" and token.text == mention.root
            if own and not (index and self._tokens[index - 1].text == ".") and self._follows(mention, index + 1):
                yield token.at

    def _follows(self, mention: Mention, index: int) -> bool:
        """Whether the parts of a reference stand from a token on."""
        for part in mention.parts:
            here = self._tokens[index : index + 3]
            signs = [token.text for token in here]
            if signs[:1] == ["."] and signs[1:2] == [part]:
                index += 2
            elif signs[:1] == ["["] and part is None:
                index = self._behind(index)
            elif signs[:1] == ["["] and signs[1:] == [part, "]"] and here[1].kind == "string":
                index += 3
            else:
                return False
        return not mention.argument or self._tokens[index].text == ","

    def _behind(self, index: int) -> int:
        """The token behind a bracket's end."""
        depth = self._tokens[index].depth
        index += 1
        while index < len(self._tokens) and self._tokens[index].depth > depth:
            index += 1
        return index + 1
