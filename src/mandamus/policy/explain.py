"""Why a set said what it said: a recorded input is asked again of the recorded set, with OPA's trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.kernel.reader import did_you_mean
from mandamus.policy import frames
from mandamus.policy.attribution import Attribution, Head
from mandamus.policy.because_reads import Reader
from mandamus.policy.engine import Lends, Session, put
from mandamus.policy.explain_trace import Tried, mismatch, tries
from mandamus.policy.model import ROOT, Decision, Entry
from mandamus.policy.query import decide_query
from mandamus.policy.trees import PARSE, to_parse

TRACE_S = 20.0


@dataclass(frozen=True)
class Untried:
    """A rule that OPA passed over because a comparison in it cannot hold; ``why`` is empty when it is not known."""

    rule: str
    file: str
    line: int
    why: str


@dataclass(frozen=True)
class Explained:
    """One set at one point: what the rules gave, what was tried, what was passed over, and what rules printed.

    ``differs`` are rules that now give something else than the record says; ``trouble`` is why something is missing.
    """

    attached: Attached
    given: Mapping[str, Any]
    tried: tuple[Tried, ...]
    untried: tuple[Untried, ...]
    notes: tuple[str, ...]
    differs: tuple[str, ...] = ()
    trouble: str = ""

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {
            "set": self.attached.to_json(),
            "given": dict(self.given),
            "differs": list(self.differs),
            "trouble": self.trouble,
            "tried": [one.to_json() for one in self.tried],
            "untried": [vars(one) for one in self.untried],
            "notes": list(self.notes),
        }


def explain(
    lends: Lends,
    decision: Decision,
    sets: Mapping[Digest, Attribution],
    *,
    rule: str = "",
    full: bool = False,
) -> list[Explained]:
    """Every set that was asked (by digest) once more; ``rule`` is the name of the only rule that counts.

    Raises ``not_found`` when no set has that rule at that point. What is wrong with a set stands in its `Explained`.
    """
    verdict = decision.verdict
    recorded = {each["set"]: each["value"] for each in canonical.loads(verdict.results)}
    made: list[Explained] = []
    known: set[str] = set()
    for attached in verdict.attached:
        attribution = sets[attached.set]
        entries = attribution.bundle.at(verdict.point.value)
        known.update(entry.rule for entry in entries)
        wanted = [entry for entry in entries if _named(entry.rule, rule)]
        if wanted:
            then = recorded.get(attached.set)
            made.append(_explained(lends, attribution, attached, wanted, verdict.input, then, full=full))
    if rule and not made:
        raise MandamusError(
            Code.NOT_FOUND,
            f"no set that was asked has a rule {rule!r} at the point {verdict.point.value}",
            remedy=did_you_mean(rule, sorted(known), "name one of " + (", ".join(sorted(known)) or "another decision")),
        )
    return made


def _named(full: str, wanted: str) -> bool:
    return not wanted or full == wanted or full.endswith(f".{wanted}")


def trace(
    lends: Lends, attribution: Attribution, attached: Attached, point: str, data: bytes, *, full: bool = False
) -> Explained:
    """The same for an input that nobody recorded."""
    return _explained(lends, attribution, attached, attribution.bundle.at(point), data, None, full=full)


def _explained(
    lends: Lends,
    attribution: Attribution,
    attached: Attached,
    entries: Sequence[Entry],
    data: bytes,
    recorded: Mapping[str, Any] | None,
    *,
    full: bool,
) -> Explained:
    given: Mapping[str, Any] = {}
    tried: list[Tried] = []
    untried: list[Untried] = []
    notes: tuple[str, ...] = ()
    trouble = ""
    try:
        with lends.session() as session:
            query = decide_query(entries, clock=attribution.bundle.clock)
            _load(session, attribution, query)
            reply = session.ask(data)
            trouble = reply.refusal.message if reply.refusal else ""
            given = reply.value or {}
            notes = reply.printed
            heads = [head for head in attribution.heads if head.rule in {entry.rule for entry in entries}]
            traced = session.ask(data, trace=True, deadline_s=TRACE_S).trace
            tried = tries(traced or (), dict(attribution.bundle.sources), full=full)
            if traced is None and not trouble:
                trouble = "there is no trace: a builtin erred in it"
            else:
                untried = _untried(session, attribution, _missing(heads, tried), data)
    except MandamusError as error:
        trouble = trouble or f"{error.message} (a trace may be too large: name one rule with --rule)"
    differs = () if recorded is None else tuple(sorted(_other(recorded, given, entries)))
    return Explained(attached, given, tuple(tried), tuple(untried), notes, differs, trouble)


def _load(session: Session, attribution: Attribution, query: str) -> None:
    refused = put(session, attribution.bundle, query)
    if refused:
        raise MandamusError(
            Code.POLICY_INVALID, f"the set does not compile here: {refused.message}", remedy="see `mandamus doctor`"
        )


def _other(recorded: Mapping[str, Any], given: Mapping[str, Any], entries: Sequence[Entry]) -> set[str]:
    """The rules that say something else now; when there is no answer any more, all of them."""
    rules = {entry.rule for entry in entries}
    return {rule for rule in rules if canonical.dumps(given.get(rule)) != canonical.dumps(recorded.get(rule))}


def _missing(heads: Sequence[Head], tried: Sequence[Tried]) -> list[Head]:
    """The entry rules of which there is no trace at any depth."""
    seen = set()
    left = list(tried)
    while left:
        one = left.pop()
        seen.add((one.file, one.line))
        left += one.calls
    return [head for head in heads if (head.file, head.line) not in seen]


def _untried(session: Session, attribution: Attribution, heads: Sequence[Head], data: bytes) -> list[Untried]:
    if not heads:
        return []
    bare = attribution.bundle.options.profile == ROOT
    document = canonical.loads(data) if bare else None
    trees = {}
    session.load(PARSE, b"", (), frames.SLOT_PARSE)
    for path, text in attribution.bundle.modules:
        found = session.ask(to_parse(path, text), frames.SLOT_PARSE).value
        if isinstance(found, dict):
            trees[path] = found
    reader = Reader(trees)
    made = []
    for head in heads:
        of_name = [each for each in attribution.heads if (each.file, each.rule) == (head.file, head.rule)]
        rules = [tree for full, tree in reader.of_file.get(head.file, ()) if full == head.rule]
        why = ""
        if bare and len(of_name) == len(rules):
            why = mismatch(reader, rules[of_name.index(head)], document)
        made.append(Untried(head.rule, head.file, head.line, why))
    return made
