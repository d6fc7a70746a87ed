"""Turns nodes of a document into typed values and gathers every problem on the way."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal

from mandamus.kernel.document import Finding, Kind, Node, Position
from mandamus.kernel.errors import Code, Problem, raise_problems

TEXT_CHARS_MAX = 1024 * 1024
DURATION_S_MAX = 366 * 86_400
UNKNOWN_MAX = 1_000
"""Unknown keys that one map is told of: looking for the nearest known one takes time, and hostile files have many."""

_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?")
_UNITS_S = (86_400, 3600, 60, 1)


def suggest(name: str, known: Iterable[str], *, nearness: float = 0.6) -> str | None:
    """The known name nearest to a mistyped one, or None when nothing is near; 1 is the same name, 0 a stranger."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=nearness)
    return near[0] if near else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy: the nearest known name, else the sentence given, else the list of what is known."""
    names = list(known)
    near = suggest(name, names)
    if near is not None:
        return f"did you mean `{near}`?"
    return otherwise


def duration_s(text: str) -> int:
    """Seconds of a duration such as ``90s``, ``2m``, ``1h30m`` or ``7d``; raises ``ValueError``."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError("write a duration such as 90s, 2m, 1h30m or 7d")
    total = sum(int(part or 0) * unit for part, unit in zip(match.groups(), _UNITS_S, strict=True))
    if total > DURATION_S_MAX:
        raise ValueError("a duration is at most 366d")
    return total


class Reader:
    """Reads values and notes what is wrong; every method gives a usable value, so that reading can go on.

    With ``late=True`` a text with ``${{ }}`` is let through where another type stands, and the default is given: its
    value is only known in a run.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, at: Node | Position, finding: Finding, message: str, remedy: str) -> None:
        """Note a problem."""
        place = at.at if isinstance(at, Node) else at
        self.problems.append(place.problem(finding, message, remedy))

    def raise_for(self, code: Code, remedy: str) -> None:
        """Raise everything noted, in the file's order, or return when there is nothing."""
        raise_problems(code, sorted(self.problems, key=lambda p: (p.file, p.line, p.col)), remedy=remedy)

    def table(self, node: Node, what: str, known: Collection[str], required: Iterable[str] = ()) -> Mapping[str, Node]:
        """The fields of a map with a fixed set of keys; notes unknown and missing ones."""
        if not self._is_map(node, what):
            return {}
        names = ", ".join(f"`{name}`" for name in known)
        for key in [key for key in node.fields if key not in known][:UNKNOWN_MAX]:
            remedy = did_you_mean(key, known, f"the keys here are {names}" if names else "delete it")
            self.add(node.key_at(key), Finding.UNKNOWN_KEY, f"{what} has no key `{_show(key)}`", remedy)
        for key in required:
            if key not in node.fields:
                self.add(node, Finding.MISSING_KEY, f"{what} needs the key `{key}`", f"add `{key}:`")
        return {key: child for key, child in node.fields.items() if key in known}

    def mapping(self, node: Node, what: str) -> Mapping[str, Node]:
        """The fields of a map whose keys are the user's own."""
        return node.fields if self._is_map(node, what) else {}

    def sequence(self, node: Node, what: str) -> Sequence[Node]:
        """The elements of a list."""
        if node.kind is Kind.LIST:
            return node.elements
        hint = f"write [{node.value}]" if isinstance(node.value, str) else "write [...]"
        self._wrong(node, what, "list", hint)
        return ()

    def text(self, node: Node, what: str, *, default: str = "", empty: bool = False, late: bool = True) -> str:
        """A string; ``empty`` says whether "" is one, ``late=False`` refuses ``${{ }}``."""
        if not isinstance(node.value, str):
            hint = "put it in quotes" if node.kind is Kind.SCALAR and node.value is not None else "give a string"
            self._wrong(node, what, "string", hint)
            return default
        if not late and node.late:
            self.add(
                node,
                Finding.EXPRESSION_REFUSED,
                f"{what} cannot hold an expression",
                "write the value itself; it is fixed before the run",
            )
            return default
        if not node.value and not empty:
            self.add(node, Finding.WRONG_VALUE, f"{what} is empty", "give a value, or delete the key")
            return default
        if len(node.value) > TEXT_CHARS_MAX:
            self.add(node, Finding.LIMIT, f"{what} is over {TEXT_CHARS_MAX} characters", "keep it in a file")
            return default
        return node.value

    def texts(self, node: Node, what: str, *, late: bool = True) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self.text(item, f"an element of {what}", late=late) for item in self.sequence(node, what))

    def choice(self, node: Node, what: str, choices: Collection[str], default: str) -> str:
        """One of a set of words."""
        value = self.text(node, what, default=default, late=False)
        if value in choices or value == default:
            return value
        names = ", ".join(f"`{name}`" for name in choices)
        self.add(
            node,
            Finding.WRONG_VALUE,
            f"{what} cannot be `{_show(value)}`",
            did_you_mean(value, choices, f"choose from {names}"),
        )
        return default

    def boolean(self, node: Node, what: str, *, default: bool = False, late: bool = False) -> bool:
        """``true`` or ``false``."""
        if isinstance(node.value, bool):
            return node.value
        if not (late and node.late):
            self._wrong(node, what, "boolean", "write true or false, without quotes")
        return default

    def integer(
        self, node: Node, what: str, *, minimum: int, maximum: int, default: int = 0, late: bool = False
    ) -> int:
        """A whole number between two bounds, both included."""
        value = node.value
        if late and node.late:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong(node, what, "integer", f"write a whole number from {minimum} to {maximum}")
            return default
        if not minimum <= value <= maximum:
            self.add(node, Finding.WRONG_VALUE, f"{what} is {value}", f"give {minimum} to {maximum}")
            return default
        return value

    def number(self, node: Node, what: str, *, default: Decimal = Decimal(0), late: bool = False) -> Decimal:
        """A number, whole or with a fraction."""
        value = node.value
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return Decimal(value)
        if not (late and node.late):
            self._wrong(node, what, "number", "write a number, without quotes")
        return default

    def duration_s(self, node: Node, what: str, *, minimum: int = 1, default: int = 0) -> int:
        """Seconds of a duration such as ``2m``."""
        if not isinstance(node.value, str):
            self._wrong(node, what, "duration", "write a number and its unit, such as 90s, 2m or 1h30m")
            return default
        try:
            seconds = duration_s(node.value)
        except ValueError as error:
            self.add(node, Finding.WRONG_VALUE, f"{what} is `{_show(node.value)}`", str(error))
            return default
        if seconds < minimum:
            self.add(node, Finding.WRONG_VALUE, f"{what} is `{_show(node.value)}`", f"give at least {minimum}s")
            return default
        return seconds

    def _is_map(self, node: Node, what: str) -> bool:
        if node.kind is not Kind.MAP:
            self._wrong(node, what, "map", "write key: value lines below it, indented")
        return node.kind is Kind.MAP

    def _wrong(self, node: Node, what: str, wanted: str, remedy: str) -> None:
        article = "an" if wanted[0] in "aeiou" else "a"
        self.add(node, Finding.WRONG_TYPE, f"{what} is {article} {wanted}, not {node.shape}", remedy)


def _show(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "..."
