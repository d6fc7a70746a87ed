"""The auditor's report on a sample: what it was drawn from and how, each run, and each control over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.audit.model import Checkpoint
from mandamus.evidence.controls import CONTROLS
from mandamus.evidence.markup import Markup, listed, page, pairs, table, tag
from mandamus.evidence.page import word
from mandamus.evidence.sampling import ALGORITHM, Closed, Drawn
from mandamus.kernel.clock import rfc3339

FORMAT = "evidence-sample/1"


@dataclass(frozen=True)
class Asked:
    """What was asked for: runs that ended from ``since_us`` to before ``until_us``, so many of them, by this seed."""

    since_us: int
    until_us: int
    count: int
    seed: str


@dataclass(frozen=True)
class Found:
    """What came of one drawn run: its bundle's file and verdict, and what it tells when it is proved.

    ``file`` is empty when there is no bundle; ``problems`` then say why.
    """

    drawn: Drawn
    file: str
    outcome: str
    problems: Sequence[str]
    told: Mapping[str, Any] | None


def report(
    asked: Asked, checkpoint: Checkpoint, population: Sequence[Closed], found: Sequence[Found]
) -> dict[str, Any]:
    """The report, JSON-ready; the page is made of it."""
    return {
        "format": FORMAT,
        "from": rfc3339(asked.since_us),
        "to": rfc3339(asked.until_us),
        "n": asked.count,
        "seed": asked.seed,
        "algorithm": ALGORITHM,
        "log": {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()},
        "population": [{"run": closed.run, "leaf": closed.leaf} for closed in population],
        "proved": sum(one.told is not None for one in found),
        "drawn": [
            {
                "rank": one.drawn.rank,
                "key": one.drawn.key,
                "run": one.drawn.closed.run,
                "leaf": one.drawn.closed.leaf,
                "file": one.file,
                "outcome": one.outcome,
                "problems": list(one.problems),
                "told": one.told,
            }
            for one in found
        ],
    }


def render(told: Mapping[str, Any]) -> bytes:
    """The page of a report."""
    return page(
        f"Sample of {len(told['drawn'])} runs of {told['log']['origin']}",
        *_method(told),
        *_runs(told),
        *_controls(told),
        tag("h2", "Population"),
        tag("p", "Every run that ended in the period, by id, with the leaf of the log that tells it."),
        table(("run", "leaf"), ((one["run"], one["leaf"]) for one in told["population"])),
    )


def _method(told: Mapping[str, Any]) -> list[Markup]:
    log = told["log"]
    return [
        pairs(
            (
                ("ended", f"from {told['from']} to before {told['to']}"),
                ("population", f"{len(told['population'])} runs"),
                ("asked for", f"{told['n']} runs, seed {told['seed']}"),
                ("drawn by", told["algorithm"]),
                ("log", f"{log['origin']}, {log['size']} leaves, root {log['root']}"),
                ("proved", f"{told['proved']} of {len(told['drawn'])}"),
            )
        ),
        tag("p", "Draw it again from your own copy of the log; for each run of the population:"),
        tag("pre", "printf '%s\\n%s\\n' SEED RUN | sha256sum"),
    ]


def _runs(told: Mapping[str, Any]) -> list[Markup]:
    rows = [(one["rank"], one["run"], word("yes" if one["told"] else "no"), *_row(one)) for one in told["drawn"]]
    return [
        tag("h2", "Runs"),
        table(("rank", "run", "proved", "ended", "asked by", "what", "policy", "decided by", "worth knowing"), rows),
    ]


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    told = one["told"]
    if told is None:
        return one["outcome"], "", "", "", "", listed(one["problems"])
    outcomes = [decision["outcome"] for decision in told["decisions"]]
    counted = [f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes)]
    votes = [f"{vote['by']}: {vote['verdict']}" for vote in told["approvals"]]
    return (
        word(told["state"]),
        f"{told['requester']['user']}: {told['reason'] or 'no reason'}",
        f"{told['workflow']} in {told['environment']}",
        ", ".join(counted),
        ", ".join(votes) or "nobody was asked",
        listed(told["notes"]),
    )


def _controls(told: Mapping[str, Any]) -> list[Markup]:
    proved = [one for one in told["drawn"] if one["told"] is not None]
    rows = []
    for at, control in enumerate(CONTROLS):
        shown = [f"{one['run']}: {_leaves(one['told']['controls'][at]['facts'])}" for one in proved]
        rows.append((control.framework, control.id, control.requires, listed(shown), control.beside))
    return [
        tag("h2", "Controls"),
        tag("p", "Which leaves of each proved run show what a control asks for. Whether it is met is yours to say."),
        table(("framework", "control", "requires", "evidence", "not in a bundle"), rows),
    ]


def _leaves(facts: Mapping[str, Sequence[int]]) -> str:
    return "; ".join(f"{name} {_span(leaves)}" for name, leaves in facts.items())


def _span(leaves: Sequence[int]) -> str:
    if not leaves:
        return "none"
    return ", ".join(map(str, leaves)) if len(leaves) <= 6 else f"{leaves[0]} to {leaves[-1]} ({len(leaves)})"
