"""The rooms of a house that is elsewhere: the verbs commands call, each asked of the server."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mandamus.client.client import Client
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import DecisionId, Digest, ExemptionId, RunId
from mandamus.wire import back, notify, runs
from mandamus.wire.base import time, time_or_none

PAGE_MAX = 200
"""As many as the server gives at once."""
NOTHING = "sha256:" + "0" * 64
"""What nobody is bound to: the server then says itself that nothing waits."""


class Room:
    """What a server does not do is refused in words."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise MandamusError(
            Code.USAGE,
            f"this needs the home itself, and {self._client.url} is a server",
            remedy="run it where the home is, without --server and MANDAMUS_SERVER",
            context={"server": self._client.url},
        )


class Runs(Room):
    """The story of every run."""

    def request(self, _who: object, project: Path, request: Any) -> Any:
        """Ask for a run in a project, by its name; without one in the only project there is."""
        name = project.as_posix() if project.parts else self._only_project()
        made = self._client.request_run(
            name,
            request.workflow,
            request.environment,
            request.inputs,
            reason=request.reason,
            plan_only=request.plan_only,
        )
        return back.run(made)

    def outlook(self, _who: object, environment: str, project: str) -> Any:
        """Who would be asked about a run of a project in an environment."""
        return back.outlook(self._client.get_outlook(project, environment))

    def list(self, _who: object, wanted: Any, *, before: RunId | None = None, limit: int = 50) -> list[Any]:
        """Newest first."""
        filters = {name: value for name, value in vars(wanted).items() if not name.endswith("_us")}
        since, until = time_or_none(wanted.since_us), time_or_none(wanted.until_us)
        some = min(limit, PAGE_MAX)
        found = self._client.list_runs(**filters, since=since, until=until, cursor=before, limit=some)
        return [back.run(each) for each in itertools.islice(found, limit)]

    def drifted(self, _who: object) -> Sequence[Any]:
        """What the newest plans found changed outside."""
        return [back.drifted(each) for each in self._client.list_drift()]

    def locks(self, _who: object, environment: str) -> Sequence[Any]:
        """The states of an environment that steps hold now."""
        return [back.lock(each) for each in self._client.list_locks(environment)]

    def show(self, _who: object, run_id: RunId) -> Any:
        """One run with its steps and approvals."""
        return back.view(self._client.get_run(run_id))

    def change_set(self, _who: object, run_id: RunId, step: str) -> Mapping[str, Any]:
        """What a step would change."""
        return self._client.get_change_set(run_id, step)

    def logs(
        self, _who: object, run_id: RunId, step: str, *, phase: str, attempt: int | None = None, offset: int = 0
    ) -> runs.LogPiece:
        """Output of a step from a byte offset."""
        return self._client.get_log(run_id, step, phase=phase, attempt=attempt, offset=offset)

    def approve(
        self, _who: object, run_id: RunId, *, step: str | None = None, reason: str = "", group: str | None = None
    ) -> Any:
        """Say yes to what the waiting step is bound to now."""
        bound = self._bound(run_id, step)
        return back.approval(run_id, self._client.approve_run(run_id, bound, step=step, group=group, reason=reason))

    def reject(
        self, _who: object, run_id: RunId, *, step: str | None = None, reason: str = "", group: str | None = None
    ) -> Any:
        """Say no to it."""
        bound = self._bound(run_id, step)
        return back.approval(run_id, self._client.reject_run(run_id, bound, step=step, group=group, reason=reason))

    def cancel(self, _who: object, run_id: RunId, *, reason: str = "") -> Any:
        """Stop a run."""
        return back.run(self._client.cancel_run(run_id, reason=reason))

    def retry(self, _who: object, run_id: RunId, *, reason: str = "") -> Any:
        """Try the steps that stopped a run again."""
        return back.run(self._client.retry_run(run_id, reason=reason))

    def settle(self, _who: object, run_id: RunId, step: str, outcome: str, *, reason: str) -> Any:
        """Say what became of an effect."""
        return back.run(self._client.settle_step(run_id, step, outcome, reason=reason))

    def _bound(self, run_id: RunId, step: str | None) -> str:
        """What is decided on; with several steps to choose from the server asks for a name."""
        rows = back.view(self._client.get_run(run_id)).steps
        waiting = [row for row in rows if row.state == "waiting" and step in {None, row.name}]
        return next((row.binding.digest for row in waiting if row.binding is not None), NOTHING)

    def _only_project(self) -> str:
        names = [each.name for each in self._client.list_projects()]
        if len(names) == 1:
            return names[0]
        if not names:
            raise MandamusError(
                Code.NOT_FOUND,
                "the server has no project to run a workflow of",
                remedy="have its owner name the folder under `projects` in the platform file, and apply that there",
            )
        raise MandamusError(
            Code.USAGE,
            "which project the workflow is of is not said",
            remedy=f"add --project NAME: there is {', '.join(names)}",
        )


class Catalog(Room):
    """What may run."""

    def projects(self, _who: object) -> Sequence[Any]:
        """Every registered project, by name; of the folder only the server knows."""
        return list(self._client.list_projects())

    def workflows(self, _who: object, project: str) -> Sequence[Any]:
        """Every workflow of a project."""
        return [back.offered(each) for each in self._client.list_workflows(project)]

    def show_workflow(self, _who: object, project: str, file: str) -> Any:
        """One of them, with its text."""
        return back.offered(self._client.get_workflow(project, file))

    def environments(self, _who: object) -> Sequence[Any]:
        """The current version of every environment, by name."""
        return [back.environment(each) for each in self._client.list_environments()]

    def show_environment(self, _who: object, name: str) -> Any:
        """The current version of one environment."""
        return back.environment(self._client.get_environment(name))


class Exemptions(Room):
    """Rules that do not bind for a while."""

    def grant(
        self, _who: object, environment: str, set_name: str, rule: str, *, address: str = "", why: str, until_us: int
    ) -> Any:
        """Let a rule pass for a while."""
        granted = self._client.grant_exemption(
            environment, set_name, rule, address=address, why=why, until=time(until_us)
        )
        return back.exemption(granted)

    def end(self, _who: object, id_: ExemptionId, why: str = "") -> Any:
        """Take one back."""
        return back.exemption(self._client.end_exemption(id_, reason=why))

    def all(self, _who: object, environment: str | None = None, *, ended: bool = False) -> Sequence[Any]:
        """Those that count now, or all."""
        return [back.exemption(each) for each in self._client.list_exemptions(environment, ended=ended)]


class Policy(Room):
    """May it."""

    @property
    def exemptions(self) -> Exemptions:
        """Rules that do not bind for a while."""
        return Exemptions(self._client)

    def decisions(self, _who: object, run_id: RunId) -> Sequence[Any]:
        """The decisions of a run, oldest first."""
        found = sorted(self._client.list_decisions(run=run_id, limit=PAGE_MAX), key=lambda each: (each.at, each.id))
        return [back.decision(self._client.get_decision(each.id)) for each in found]

    def page(self, _who: object, wanted: Any, *, before: DecisionId | None, limit: int) -> Sequence[Any]:
        """Decisions, newest first."""
        found = self._client.list_decisions(
            environment=wanted.environment,
            point=wanted.point,
            outcome=wanted.outcome,
            run=wanted.run,
            since=time_or_none(wanted.since_us),
            cursor=before,
            limit=min(limit, PAGE_MAX),
        )
        return [back.listed(each) for each in itertools.islice(found, limit)]

    def versions(self, _who: object, name: str | None = None) -> Sequence[Any]:
        """Published policy sets, newest first."""
        return [back.set_version(each) for each in self._client.list_policy_sets(name)]


class Identity(Room):
    """Who there is."""

    def users(self, _who: object) -> Sequence[Any]:
        """Every user, by name."""
        return [back.user(each) for each in self._client.list_users()]

    def members(self, group: str) -> frozenset[str]:
        """The active users of a group."""
        active = {each.name for each in self._client.list_users() if each.active}
        return frozenset(
            active.intersection(*(each.members for each in self._client.list_groups() if each.name == group))
        )


class Tokens(Room):
    """What programs show."""

    def create(
        self,
        _who: object,
        name: str,
        *,
        days: int,
        permissions: frozenset[Permission] | None = None,
        account: str | None = None,
        projects: Sequence[str] | None = None,
    ) -> Any:
        """Make a token, of the caller's own or of a program."""
        allowed = None if permissions is None else sorted(permissions, key=lambda each: each.value)
        return back.minted(
            self._client.create_token(
                name,
                days=days,
                permissions=allowed,
                account=account,
                projects=None if projects is None else list(projects),
            )
        )

    def list(self, _who: object) -> Sequence[Any]:
        """The caller's own, newest first."""
        return [back.token(each) for each in self._client.list_tokens()]

    def revoke(self, _who: object, token: str) -> Any:
        """End one."""
        return back.token(self._client.revoke_token(token))


class Notify(Room):
    """Who is told of events."""

    def subscriptions(self, _who: object) -> Sequence[Any]:
        """Every subscription and how it stands."""
        return [notify.subscription_back(each) for each in self._client.list_subscriptions()]

    def deliveries(
        self, _who: object, name: str | None = None, state: Any = None, *, before: int | None = None, limit: int = 50
    ) -> Sequence[Any]:
        """What was told, or is to be, newest first."""
        cursor = None if before is None else str(before)
        found = self._client.list_deliveries(subscription=name, state=state, cursor=cursor, limit=limit)
        return [notify.delivery_back(each) for each in itertools.islice(found, limit)]

    def dead(
        self, _who: object, name: str | None = None, *, before: int | None = None, limit: int = 50
    ) -> Sequence[Any]:
        """The dead letters, newest first."""
        return self.deliveries(_who, name, "dead", before=before, limit=limit)

    def replay(self, _who: object, ids: Sequence[int] | None = None) -> int:
        """Have dead letters sent again."""
        return self._client.replay_deliveries(ids).deliveries

    def test(self, _who: object, name: str) -> Any:
        """Send a message of no meaning."""
        return notify.answer_back(self._client.test_subscription(name))


class Search(Room):
    """Reads of the log."""

    def find(self, _who: object, wanted: Any, *, before: int | None, limit: int) -> Any:
        """A page of events."""
        found = self._client.list_events(
            actor=wanted.actor,
            kind=wanted.kind,
            resource=wanted.resource,
            run=wanted.run,
            outcome=wanted.outcome,
            text=wanted.text,
            since=time_or_none(wanted.since),
            until=time_or_none(wanted.until),
            cursor=None if before is None else str(before),
            limit=limit,
        )
        return back.events(found.first())

    def show(self, _who: object, index: int) -> Any:
        """A leaf with its proof."""
        return back.shown(self._client.get_event(index))

    def standing(self, _who: object) -> Any:
        """How the log stands."""
        return back.standing(self._client.get_standing())


class Audit(Room):
    """The log."""

    @property
    def search(self) -> Search:
        """Reads of it."""
        return Search(self._client)

    def verify(self, _who: object) -> Any:
        """Have the server recompute its log and its database."""
        return back.report(self._client.verify_audit())


class Evidence(Room):
    """The proof."""

    def export(self, _who: object, run_id: RunId, path: Path) -> Digest:
        """Write the bundle of a run to a new file; gives the digest of what was written."""
        if path.exists():
            raise MandamusError(
                Code.CONFLICT, f"{path} is there already", remedy="name another file, or move this one away"
            )
        data = self._client.get_evidence(run_id)
        try:
            with path.open("xb") as file:
                file.write(data)
        except OSError as error:
            raise MandamusError(
                Code.UNAVAILABLE,
                f"{path} cannot be written: {error.strerror}",
                remedy="name a file in a folder that is there, is yours and has space",
            ) from error
        return canonical.digest(data)
