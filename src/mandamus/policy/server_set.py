"""A policy set on an OPA server: moved under a root of its own, since all sets of a server share one ``data``.

Only names move, and only within their lines: ``package a.b`` becomes ``package ROOT.own.a.b`` and every ``data``
becomes ``data.ROOT.own``, which is to the set what ``data`` was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.kernel import canonical
from mandamus.policy.attribution import Attribution
from mandamus.policy.model import Bundle, Fault, Modules, fault
from mandamus.policy.tokens import Text

DECIDE = "decide"

_OWN = "own"
_WHERE_AM_I = ("rego", "metadata", "chain")


@dataclass(frozen=True)
class Settled:
    """A set as a server takes it: modules by the id they get there, in any order but with ``decide`` last.

    ``data`` is the document at ``/v1/data/ROOT``. The answer is at ``/v1/data/ROOT/decide``.
    """

    root: str
    data: bytes
    modules: tuple[tuple[str, str], ...]
    decide: tuple[str, str]

    def named_as_before(self, text: str) -> str:
        """What a server says of the set, in the set's own names."""
        text = text.replace(f"{self.root}/{_OWN}/", "").replace(self.decide[0], "the query")
        return text.replace(f".{self.root}.{_OWN}", "").replace(f"{self.root}.{_OWN}.", "")


def root_of(bundle: Bundle) -> str:
    """The root of a published set; nobody can write a name that holds the digest of what they write."""
    return f"mandamus_{bundle.digest.removeprefix('sha256:')}"


def root_of_copy(bundle: Bundle) -> str:
    """The root of the copy that tells its rules apart."""
    return f"{root_of(bundle)}_told"


def settled(bundle: Bundle) -> Settled:
    """A published set."""
    return settle(root_of(bundle), bundle.modules, bundle.data, bundle.query)


def settled_copy(attribution: Attribution) -> Settled:
    """The copy that tells its rules apart."""
    bundle = attribution.bundle
    return settle(root_of_copy(bundle), attribution.modules(), bundle.data, attribution.query())


def settle(root: str, modules: Modules, data: bytes, query: str) -> Settled:
    """Modules, data and a query under a root.

    Every module gets a function, of which ``decide`` calls each, so that a server neither takes ``decide`` before it
    has all modules nor gives one away while it has ``decide``. A function is no value, so the set does not see it.
    Raises ``policy_unavailable`` for what depends on where it is.
    """
    content = {"digest": root, _OWN: canonical.loads(data) if data else {}}
    moved, calls = [], []
    for index, (path, text) in enumerate(modules):
        scanned = Text(text)
        mark = f"{root}_{index}"
        moved.append((f"{root}/{_OWN}/{path}", f"{_moved(path, scanned, root)}\n{mark}(x) := x\n"))
        package = "".join(f"[{json.dumps(part)}]" for part in scanned.package()[0])
        calls.append(f"\tdata.{root}.{_OWN}{package}.{mark}(true)\n")
    lines = (
        f"package {root}\n\n{DECIDE} := answer if {{\n\tdata.{root}.digest == {json.dumps(root)}\n",
        *calls,
        f"\tanswer := {_moved('the query', Text(query), root)}\n}}\n",
    )
    return Settled(root, canonical.dumps(content), tuple(moved), (f"{root}/{DECIDE}.rego", "".join(lines)))


def _moved(path: str, scanned: Text, root: str) -> str:
    edits: list[tuple[int, str]] = []
    tokens = scanned.tokens
    _, package_at = scanned.package()
    for index, token in enumerate(tokens):
        if token.kind != "word" or (index and tokens[index - 1].text == "."):
            continue
        if token.text == "package" and token.at == package_at and not token.depth and index + 1 < len(tokens):
            edits.append((tokens[index + 1].at, f"{root}.{_OWN}."))
        elif token.text == "data" and not (index and tokens[index - 1].at == package_at):
            edits.append((token.end, f".{root}.{_OWN}"))
        elif token.text == "rego" and scanned.reference(index)[0][:3] == _WHERE_AM_I:
            raise fault(
                Fault.COMPILE_ERROR,
                f"{path}:{scanned.position(token.at)[0]}: rego.metadata.chain tells a rule where it is, and on an OPA "
                "server it is elsewhere",
                "use the embedded engine for this set, or leave out the call",
            )
    text = scanned.text
    for at, added in reversed(edits):
        text = f"{text[:at]}{added}{text[at:]}"
    return text


def told(answer: Any) -> str:
    """An error document of OPA's REST API as the text that the library gives: ``file:line: code: message``."""
    if not isinstance(answer, Mapping):
        return "no reason is given"
    errors = answer.get("errors")
    lines = [_line(each) for each in errors if isinstance(each, Mapping)] if isinstance(errors, Sequence) else []
    return "\n".join(lines) or f"{answer.get('code', '')}: {answer.get('message', '')}"


def _line(error: Mapping[str, Any]) -> str:
    found = error.get("location")
    place = found if isinstance(found, Mapping) else {}
    line = f"{place.get('file', '')}:{place.get('row', 1)}: {error.get('code', '')}: {error.get('message', '')}"
    details = error.get("details")
    row = details.get("line") if isinstance(details, Mapping) else None
    caret = details.get("idx") if isinstance(details, Mapping) else None
    if isinstance(row, str) and isinstance(caret, int) and 0 <= caret <= len(row):
        line += f"\n\t{row}\n\t{' ' * caret}^"
    return line
