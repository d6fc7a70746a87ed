"""Where the tests are: the rules of a Rego text whose name begins with ``test_``, found as ``opa test`` finds them.

OPA's syntax trees say what is a test, the tokens say where it stands. Two tests of one name in a package are two tests:
the second one's head gets a name of its own in the copy that is evaluated, on the same line.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.policy.testing_model import Test
from mandamus.policy.tokens import Text, Token
from mandamus.policy.trees import package_of

PREFIX = "test_"
SKIPPED_PREFIX = "todo_test_"


@dataclass(frozen=True)
class _Head:
    """Where a test's head stands: the parts of its name, the line, and the token of the last part."""

    parts: tuple[str, ...]
    line: int
    token: Token


def find(texts: Mapping[str, str], trees: Mapping[str, Mapping[str, Any]]) -> tuple[list[Test], dict[str, str]]:
    """Every test of some files in order, and the texts in which each has a name of its own."""
    seen: Counter[tuple[str, ...]] = Counter()
    tests: list[Test] = []
    renamed: dict[str, str] = {}
    for path, chained in texts.items():
        text = _unchained(chained)
        package = package_of(trees[path])
        changes: list[tuple[Token, str]] = []
        for head, keys in _in_file(text, trees[path]):
            full = (*package, *head.parts)
            count = seen[full]
            seen[full] += 1
            last = f"{head.parts[-1]}__{count:02d}__" if count else head.parts[-1]
            if count:
                changes.append((head.token, last))
            name = ".".join(head.parts) + (f"#{count:02d}" if count else "")
            skip = head.parts[-1].startswith(SKIPPED_PREFIX)
            tests.append(Test(".".join(package), name, path, head.line, (*full[:-1], last), keys, skip))
        renamed[path] = _with_names(text, changes)
    return tests, renamed


def _in_file(text: str, tree: Mapping[str, Any]) -> Iterator[tuple[_Head, tuple[Mapping[str, Any], ...]]]:
    rules: dict[tuple[str, ...], list[tuple[Mapping[str, Any], ...]]] = {}
    for rule in tree.get("rules", ()):
        parts = _name(rule["head"]["ref"])
        if parts:
            rules.setdefault(parts, []).append(_keys(rule["head"], len(parts)))
    for head in _heads(Text(text)):
        keys = rules.get(head.parts)
        if keys:
            yield head, keys.pop(0)


def _name(reference: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The parts up to the first that makes it a test; empty when none does."""
    parts: list[str] = []
    for index, part in enumerate(reference):
        if part["type"] not in (("var",) if index == 0 else ("string",)):
            break
        parts.append(part["value"])
        if part["value"].startswith((PREFIX, SKIPPED_PREFIX)):
            return tuple(parts)
    return ()


def _keys(head: Mapping[str, Any], names: int) -> tuple[Mapping[str, Any], ...]:
    """What makes cases: the rest of the reference, where not all of it is constant and the rule is no set."""
    rest = tuple(head["ref"][names:])
    cases = "value" in head and any(part["type"] != "string" for part in rest)
    return rest if cases else ()


def _heads(text: Text) -> Iterator[_Head]:
    for index, token in enumerate(text.tokens):
        if token.kind != "word" or token.depth or not (token.first or _follows_a_rule(text, index)):
            continue
        parts: list[str] = []
        # `reference` reads on to the end; the name may be a part of that.
        for name, at in _parts(text, index):
            parts.append(name)
            if name.startswith((PREFIX, SKIPPED_PREFIX)):
                yield _Head(tuple(parts), text.position(token.at)[0], text.tokens[at])
                break


def _follows_a_rule(text: Text, index: int) -> bool:
    return index > 0 and text.tokens[index - 1].text in {";", "}"}


def _parts(text: Text, index: int) -> Iterator[tuple[str, int]]:
    """The names of a reference with the index of each one's token."""
    names, behind = text.reference(index)
    at = index
    for name in names:
        while at < behind and text.tokens[at].text != name:
            at += 1
        yield name, at
        at += 1


def _unchained(text: str) -> str:
    """The text with a head of its own, on the same line, for each further body of a test, as in ``test_x if {} {}``."""
    tokens = [token for token in Text(text).tokens if not token.depth]
    head, places = "", []
    start = 0
    for before, token in itertools.pairwise(tokens):
        if before.first and before.kind == "word":
            start, head = before.at, ""
        if token.text == "if" and not head:
            head = " ".join(text[start : token.at].split())
        if token.text == "{" and before.text == "}" and PREFIX in head:
            places.append((token.at, f"{head} if "))
    for at, inserted in reversed(places):
        text = text[:at] + inserted + text[at:]
    return text


def _with_names(text: str, changes: Sequence[tuple[Token, str]]) -> str:
    for token, name in reversed(changes):
        written = name if token.kind == "word" else f'"{name}"'
        text = text[: token.at] + written + text[token.end :]
    return text
