"""Policy: the published sets, every decision ever made, and one decision with all it says."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from starlette.responses import Response

from mandamus.kernel import ids
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, RunId
from mandamus.policy.model import Outcome, Point, Wanted
from mandamus.web.door import Pages, Visit

LIMIT = 50
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
        sets=visit.house.policy.versions(visit.who),
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


def _word(words: type[W], text: str | None) -> W | None:
    if text is None:
        return None
    try:
        return words(text)
    except ValueError as error:
        raise MandamusError(
            Code.VALUE_INVALID, f"{text[:40]!r} is none of the list", remedy="choose one of it"
        ) from error
