"""Policy sets: the versions of one, where it judges and how strictly, its texts, and what another version would say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from starlette.responses import RedirectResponse, Response

from mandamus.kernel.access import Permission
from mandamus.kernel.attachment import Attached
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest, is_digest
from mandamus.policy.backtest_model import FLIPS, Chosen
from mandamus.policy.backtest_work import Listener
from mandamus.policy.model import Point, SetVersion
from mandamus.web.door import Pages, Visit, path_of
from mandamus.web.trials import Trials

VERSIONS_MAX = 100
TEXT_CHARS_MAX = 100_000
DAYS = (1, 7, 30, 90, 365)
DAY_US = 86_400_000_000

pages = Pages()


@dataclass(frozen=True)
class Attachment:
    """Where a set judges: an environment or a project, its version there, and how strictly."""

    kind: str
    name: str
    attached: Attached
    version: int | None


@pages.get("/policies/sets/{set}", Permission.POLICY_READ)
def show_set(visit: Visit) -> Response:
    """One set: versions, where they judge, and the texts of one of them, the newest unless the address says which."""
    name = visit.path["set"]
    versions = _versions(visit, name)
    shown = _one_of(versions, visit.query.get("version", versions[0].digest))
    bundle = visit.house.policy.bundle(visit.who, shown.digest)
    return visit.page(
        "policy-set.html",
        name=name,
        versions=versions[:VERSIONS_MAX],
        shown=shown,
        attachments=attachments(visit, name, versions),
        options=bundle.options,
        texts=[(path, text[:TEXT_CHARS_MAX], len(text) > TEXT_CHARS_MAX) for path, text in bundle.sources],
        entries=bundle.entries,
        may_test=visit.who.may(Permission.POLICY_TEST),
    )


@pages.get("/policies/sets/{set}/backtest", Permission.POLICY_TEST)
def show_backtest(visit: Visit) -> Response:
    """How far the back-test of a version is, and the last report on it; then what flips from deny to allow is first."""
    name = visit.path["set"]
    versions = _versions(visit, name)
    candidate = _one_of(versions, visit.query.get("candidate", versions[0].digest))
    trials = cast("Trials", visit.request.app.state.trials)
    values: dict[str, Any] = {
        "name": name,
        "versions": versions[:VERSIONS_MAX],
        "candidate": candidate,
        "trial": trials.find(name, candidate.digest),
        "report": visit.house.backtests.last(visit.who, name, candidate.digest),
        "flips": [kind.value for kind in FLIPS],
    }
    if "part" in visit.query:
        return visit.part("_backtest.html", **values)
    return visit.page(
        "backtest.html",
        environments=[each.name for each in visit.house.catalog.environments(visit.who)],
        points=[point.value for point in Point],
        days=DAYS,
        **values,
    )


@pages.post("/policies/sets/{set}/backtest", Permission.POLICY_TEST)
def start_backtest(visit: Visit) -> Response:
    """Try a published version on the decisions of its set; the page that follows says how far it is."""
    name, form, house, who = visit.path["set"], visit.form, visit.house, visit.who
    candidate = _one_of(_versions(visit, name), form.get("candidate", ""))
    point, environment, days = form.get("point", ""), form.get("environment", ""), form.get("days", "")
    if (point and point not in set(Point)) or days not in {str(each) for each in DAYS}:
        raise MandamusError(Code.VALUE_INVALID, "this form is not whole", remedy="open the page again and use its form")
    if environment:
        house.catalog.show_environment(who, environment)
    chosen = Chosen(house.clock.now_us() - int(days) * DAY_US, environment, point)
    open_ = {each.name for each in house.catalog.environments(who) if not each.protected}

    def run(listener: Listener) -> object:
        return house.backtests.run(
            who, name, candidate.digest, chosen, protected=lambda each: each not in open_, listener=listener
        )

    visit.request.app.state.trials.start(name, candidate.digest, run)
    return RedirectResponse(f"{path_of('policies', 'sets', name, 'backtest')}?candidate={candidate.digest}", 303)


def attachments(visit: Visit, name: str, versions: Sequence[SetVersion]) -> list[Attachment]:
    """Every environment and project in which a set of the name judges, as far as the visitor may see them."""
    if not visit.who.may(Permission.ENVIRONMENT_READ):
        return []
    numbers = {each.digest: each.version for each in versions}
    catalog = visit.house.catalog
    places = [
        *(("environment", each.name, each.policies) for each in catalog.environments(visit.who)),
        *(("project", each.name, each.policies) for each in catalog.projects(visit.who)),
    ]
    return [
        Attachment(kind, place, attached, numbers.get(attached.set))
        for kind, place, policies in places
        for attached in policies
        if attached.name == name
    ]


def _versions(visit: Visit, name: str) -> Sequence[SetVersion]:
    found = visit.house.policy.versions(visit.who, name)
    if not found:
        raise MandamusError(
            Code.NOT_FOUND, f"there is no policy set {name[:80]}", remedy="see the names with `mandamus policy sets`"
        )
    return found


def _one_of(versions: Sequence[SetVersion], text: str) -> SetVersion:
    wanted = Digest(text) if is_digest(text) else None
    for each in versions:
        if each.digest == wanted:
            return each
    raise MandamusError(Code.NOT_FOUND, "that is no version of this set", remedy="choose one of its page")
