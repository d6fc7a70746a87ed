"""Routes of policy: sets, their versions, and every decision ever made."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from mandamus.api import given
from mandamus.api.door import Routes, TheHouse, Who
from mandamus.kernel import ids
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, Digest, ExemptionId, RunId
from mandamus.policy.model import Outcome, Point, Wanted
from mandamus.wire import governance as wire
from mandamus.wire.base import Page, micros, micros_or_none
from mandamus.wire.runs import Why

LIMIT = 50
LIMIT_MAX = 200

routes = Routes("policy")


@routes.verb("GET", "/policy/sets", Permission.POLICY_READ)
def list_policy_sets(house: TheHouse, who: Who, name: str | None = None) -> Page[wire.PolicySet]:
    """Published policy sets, every version, newest first."""
    return Page(items=[wire.policy_set(each) for each in house.policy.versions(who, name)])


@routes.verb("GET", "/policy/sets/{name}/backtest", Permission.POLICY_TEST)
def get_backtest(house: TheHouse, who: Who, name: given.PolicySet, candidate: str) -> wire.Backtest:
    """The last report on a candidate, by its digest, tried on all that a set ever decided."""
    found = house.backtests.last(who, name, Digest(candidate))
    if found is None:
        remedy = f"try it: `mandamus policy backtest {name} --candidate DIR`"
        raise MandamusError(Code.NOT_FOUND, f"{name} was not tried with that candidate yet", remedy=remedy)
    return wire.Backtest(document=dict(found))


@routes.verb("GET", "/policy/decisions", Permission.POLICY_READ)
def list_decisions(
    house: TheHouse,
    who: Who,
    *,
    environment: str | None = None,
    point: Point | None = None,
    outcome: Outcome | None = None,
    run: str | None = None,
    since: given.Moment = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT,
) -> Page[wire.DecisionLine]:
    """Recorded decisions, newest first."""
    wanted = Wanted(
        environment=environment,
        point=point,
        outcome=outcome,
        run=None if run is None else RunId(ids.parse("run", run)),
        since_us=micros_or_none(since),
    )
    before = None if cursor is None else DecisionId(ids.parse("dec", cursor))
    found = house.policy.page(who, wanted, before=before, limit=limit + 1)
    page = found[:limit]
    return Page(items=[wire.decision_line(each) for each in page], next=page[-1].id if len(found) > limit else None)


@routes.verb("GET", "/policy/decisions/{decision}", Permission.POLICY_READ)
def get_decision(house: TheHouse, who: Who, decision: given.Decision) -> wire.Decision:
    """One decision with all it says."""
    return wire.decision(house.policy.get(who, DecisionId(ids.parse("dec", decision))))


@routes.verb("GET", "/policy/exemptions", Permission.POLICY_READ)
def list_exemptions(
    house: TheHouse, who: Who, environment: str | None = None, *, ended: bool = False
) -> Page[wire.Exemption]:
    """Exemptions that count now, soonest to end first; with ``ended`` all there ever were."""
    found = house.policy.exemptions.all(who, environment, ended=ended)
    return Page(items=[wire.exemption(each) for each in found])


@routes.verb("POST", "/policy/exemptions", Permission.POLICY_EXEMPT, status_code=201)
def grant_exemption(house: TheHouse, who: Who, body: wire.NewExemption) -> wire.Exemption:
    """Let a rule pass for a while; whoever grants it approves nothing in that environment while it counts."""
    house.catalog.show_environment(who, body.environment)
    granted = house.policy.exemptions.grant(
        who, body.environment, body.set, body.rule, address=body.address, why=body.why, until_us=micros(body.until)
    )
    return wire.exemption(granted)


@routes.verb("POST", "/policy/exemptions/{exemption}/end", Permission.POLICY_EXEMPT)
def end_exemption(house: TheHouse, who: Who, exemption: given.Exemption, body: Why) -> wire.Exemption:
    """Take an exemption back at once."""
    return wire.exemption(house.policy.exemptions.end(who, ExemptionId(ids.parse("exm", exemption)), body.reason))
