"""Policy: the published sets, every decision ever made, and one decision with all it says."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

from starlette.responses import Response

from mandamus.kernel import ids
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, RunId
from mandamus.policy import explain
from mandamus.policy.attribution import Attribution
from mandamus.policy.model import Outcome, Point, SetVersion, Wanted
from mandamus.web.door import Pages, Visit

LIMIT = 50
EXEMPTIONS_MAX = 200
EXPLAIN_COST = 20.0
"""To ask a decision again takes a worker of its own: it counts as so many pages."""
W = TypeVar("W", bound=StrEnum)

pages = Pages()


@pages.get("/policies", Permission.POLICY_READ)
def list_policies(visit: Visit) -> Response:
    """Sets, and decisions by filter, newest first."""
    asked = visit.query
    wanted = Wanted(
        environment=asked.get("environment"),
        point=_word(Point, asked.get("point")),
        outcome=_word(Outcome, asked.get("outcome")),
        run=RunId(ids.parse("run", asked["run"])) if "run" in asked else None,
    )
    before = DecisionId(ids.parse("dec", asked["cursor"])) if "cursor" in asked else None
    found = visit.house.policy.page(visit.who, wanted, before=before, limit=LIMIT + 1)
    return visit.page(
        "policies.html",
        sets=_newest(visit.house.policy.versions(visit.who)),
        decisions=found[:LIMIT],
        following=found[LIMIT - 1].id if len(found) > LIMIT else None,
        filters={name: value for name, value in asked.items() if name in {"environment", "point", "outcome", "run"}},
        points=[each.value for each in Point],
        outcomes=[each.value for each in Outcome],
    )


@pages.get("/policies/decisions/{decision}", Permission.POLICY_READ)
def show_decision(visit: Visit) -> Response:
    """One decision: what it says by which rule of which file and line, and what it was made from."""
    found = visit.house.policy.get(visit.who, DecisionId(ids.parse("dec", visit.path["decision"])))
    return visit.page("decision.html", decision=found, said=found.verdict)


@pages.get("/policies/decisions/{decision}/explain", Permission.POLICY_READ)
def explain_decision(visit: Visit) -> Response:
    """Why a decision came out as it did: the recorded input is asked once more of the recorded sets, with a trace."""
    visit.request.app.state.limits.take(visit.who.user, EXPLAIN_COST)
    policy = visit.house.policy
    found = policy.get(visit.who, DecisionId(ids.parse("dec", visit.path["decision"])))
    sets = {each: Attribution(policy.bundle(visit.who, each)) for each in found.verdict.sets}
    explained = explain.explain(visit.house.pool, found, sets, rule=visit.query.get("rule", ""))
    return visit.page("explain.html", decision=found, said=found.verdict, explained=explained)


@pages.get("/policies/exemptions", Permission.POLICY_READ)
def list_exemptions(visit: Visit) -> Response:
    """Rules that do not bind for a while: who said so, why and until when; with ``ended`` all there ever were."""
    ended, environment = "ended" in visit.query, visit.query.get("environment")
    found = visit.house.policy.exemptions.all(visit.who, environment, ended=ended)
    return visit.page(
        "exemptions.html",
        exemptions=found[:EXEMPTIONS_MAX],
        more=max(len(found) - EXEMPTIONS_MAX, 0),
        ended=ended,
        environment=environment,
        now_us=visit.house.clock.now_us(),
    )


def _newest(versions: Sequence[SetVersion]) -> list[SetVersion]:
    """The newest version of each name."""
    found: dict[str, SetVersion] = {}
    for each in versions:
        if each.name not in found or found[each.name].version < each.version:
            found[each.name] = each
    return [found[name] for name in sorted(found)]


def _word(words: type[W], text: str | None) -> W | None:
    if text is None:
        return None
    try:
        return words(text)
    except ValueError as error:
        raise MandamusError(
            Code.VALUE_INVALID, f"{text[:40]!r} is none of the list", remedy="choose one of it"
        ) from error
