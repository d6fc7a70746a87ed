"""The client: a method for each operation of the API, by its name in the contract."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from mandamus.client.pages import Pages
from mandamus.client.problems import invalid, misread
from mandamus.client.transport import TIMEOUT_S, Params, Sleep, Transport, pause, segment
from mandamus.kernel.access import Permission
from mandamus.kernel.ids import Entropy
from mandamus.wire import access, catalog, governance, identity, notify, runs
from mandamus.wire.base import Body, Page

PREFIX = "/api/v1"
VERIFY_S = 3_600.0
"""How long an answer to `verify_audit` is waited for: the server reads all of the log."""
SEND_S = 60.0
"""How long an answer to `test_subscription` is waited for: the server waits for the receiver."""
PHASE = "apply"

M = TypeVar("M", bound=BaseModel)
B = TypeVar("B", bound=Body)
W = TypeVar("W")


class Client:
    """A server, as whoever the token is of. Use it in a ``with`` block, or close it; a thread each.

    Every method raises `MandamusError` with what the server says is wrong: ``code``, ``message``, ``remedy``,
    ``context``; and ``unavailable`` when no answer comes. Reading is tried again by itself, and so are asking for a
    run and deciding on one: they carry an Idempotency-Key, so that nothing is done twice. What else changes something
    is tried once, unless it was surely not heard.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        entropy: Entropy,
        sleep: Sleep = pause,
        timeout_s: float = TIMEOUT_S,
        roots: Path | None = None,
        ticket: str = "",
    ) -> None:
        """``entropy`` gives random bytes (``os.urandom``); ``roots`` is a PEM file of certificates to trust instead.

        ``ticket`` is the change request's that everything is done for.

        Raises ``usage`` for an address that is none, and for plain http to another machine.
        """
        self._transport = Transport(
            url, token, entropy=entropy, sleep=sleep, timeout_s=timeout_s, roots=roots, ticket=ticket
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._transport.url

    def close(self) -> None:
        """End the connections."""
        self._transport.close()

    # Runs.

    def list_runs(
        self,
        *,
        state: str | None = None,
        environment: str | None = None,
        project: str | None = None,
        workflow: str | None = None,
        requester: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Pages[runs.Run]:
        """Runs, newest first; ``limit`` is how many come in a page at most."""
        wanted = {"state": state, "environment": environment, "project": project, "workflow": workflow}
        wanted |= {"requester": requester, "since": _moment(since), "until": _moment(until), "text": text}
        return self._pages("/runs", Page[runs.Run], {**wanted, "limit": limit}, cursor)

    def request_run(
        self,
        project: str,
        workflow: str,
        environment: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        plan_only: bool = False,
        key: str | None = None,
    ) -> runs.RunDetail:
        """Ask for a run of a workflow, by its path in a registered project."""
        asked = {"project": project, "workflow": workflow, "environment": environment, "inputs": dict(inputs or {})}
        body = _body(runs.NewRun, **asked, reason=reason, plan_only=plan_only)
        return self._post("/runs", runs.RunDetail, body, key or self._transport.key())

    def get_run(self, run: str) -> runs.RunDetail:
        """One run with its steps, what was decided, and who is still asked."""
        return self._get(f"/runs/{segment(run)}", runs.RunDetail)

    def get_change_set(self, run: str, step: str) -> dict[str, Any]:
        """What the step would change; empty while it is not planned."""
        return self._json(f"{PREFIX}/runs/{segment(run)}/steps/{segment(step)}/change-set")

    def get_log(
        self, run: str, step: str, *, phase: str = PHASE, attempt: int | None = None, offset: int = 0
    ) -> runs.LogPiece:
        """Some of what the step printed, from a byte offset."""
        params = {"phase": phase, "attempt": attempt, "offset": offset}
        answer = self._read(f"{PREFIX}/runs/{segment(run)}/steps/{segment(step)}/log", params)
        following = int(answer.headers["next-offset"])
        return runs.LogPiece(data=answer.content, next_offset=following, done=answer.headers["log-done"] == "true")

    def approve_run(
        self,
        run: str,
        binding: str,
        *,
        step: str | None = None,
        group: str | None = None,
        reason: str = "",
        key: str | None = None,
    ) -> runs.Approval:
        """Say yes to the digest that was looked at."""
        return self._decide("approve", run, key, binding=binding, step=step, group=group, reason=reason)

    def reject_run(
        self,
        run: str,
        binding: str,
        *,
        step: str | None = None,
        group: str | None = None,
        reason: str = "",
        key: str | None = None,
    ) -> runs.Approval:
        """Say no to it."""
        return self._decide("reject", run, key, binding=binding, step=step, group=group, reason=reason)

    def cancel_run(self, run: str, *, reason: str = "") -> runs.Run:
        """Stop a run."""
        return self._post(f"/runs/{segment(run)}/cancel", runs.Run, _body(runs.Why, reason=reason))

    def retry_run(self, run: str, *, reason: str = "") -> runs.Run:
        """Try the steps that stopped a run again, and those after them."""
        return self._post(f"/runs/{segment(run)}/retry", runs.Run, _body(runs.Why, reason=reason))

    def settle_step(self, run: str, step: str, outcome: str, *, reason: str) -> runs.Run:
        """Say what became of an effect that nobody knows the end of: ``succeeded``, ``failed`` or ``retry``."""
        body = _body(runs.Settle, outcome=outcome, reason=reason)
        return self._post(f"/runs/{segment(run)}/steps/{segment(step)}/settle", runs.Run, body)

    def list_inbox(self, *, cursor: str | None = None, limit: int | None = None) -> Pages[runs.RunDetail]:
        """Runs that wait for the caller's own word, newest first."""
        return self._pages("/inbox", Page[runs.RunDetail], {"limit": limit}, cursor)

    def list_drift(self) -> Pages[runs.Drifted]:
        """What the newest plan of each workflow in each environment found changed outside."""
        return self._pages("/drift", Page[runs.Drifted])

    def follow_run(self, run: str, *, last: int | None = None) -> Iterator[runs.Happened]:
        """What happens to a run, as it happens, behind a place in its chain or from the first event on.

        The last one is of the kind ``end``, when the run is closed. A stream that breaks is taken up where it broke.
        """
        path = f"{PREFIX}/runs/{segment(run)}/events"
        for message in self._transport.follow(path, last=None if last is None else str(last)):
            yield runs.Happened(place=int(message.id), kind=message.kind, data=json.loads(message.data))

    def follow_log(
        self, run: str, step: str, *, phase: str = PHASE, attempt: int | None = None, offset: int = 0
    ) -> Iterator[runs.LogPiece]:
        """What a step prints, as it prints it, from a byte offset on, until nothing can follow."""
        path = f"{PREFIX}/runs/{segment(run)}/steps/{segment(step)}/log/stream"
        params = {"phase": phase, "attempt": attempt}
        for message in self._transport.follow(path, params=params, last=str(offset)):
            if message.kind == "log":
                data = base64.b64decode(json.loads(message.data))
                yield runs.LogPiece(data=data, next_offset=int(message.id), done=False)

    def get_evidence(self, run: str) -> bytes:
        """The sealed bundle of a closed run, a zip to be verified offline."""
        return self._read(f"{PREFIX}/runs/{segment(run)}/evidence").content

    # What may run, and may it.

    def list_projects(self) -> Pages[governance.Project]:
        """Every registered project, by name."""
        return self._pages("/projects", Page[governance.Project])

    def list_workflows(self, project: str) -> Pages[catalog.Workflow]:
        """Every workflow of a project as its folder is now, with what it takes and does."""
        return self._pages(f"/projects/{segment(project)}/workflows", Page[catalog.Workflow])

    def get_workflow(self, project: str, workflow: str) -> catalog.WorkflowText:
        """One workflow by its path in the project, with the text of its file."""
        path = "/".join(segment(part) for part in workflow.split("/"))
        return self._get(f"/projects/{segment(project)}/workflows/{path}", catalog.WorkflowText)

    def get_outlook(self, project: str, environment: str) -> catalog.Outlook:
        """Who would be asked about a run of the project in the environment, if the caller asked for one."""
        return self._get(f"/projects/{segment(project)}/environments/{segment(environment)}/outlook", catalog.Outlook)

    def list_environments(self) -> Pages[governance.Environment]:
        """The current version of every environment, by name."""
        return self._pages("/environments", Page[governance.Environment])

    def get_environment(self, environment: str) -> governance.Environment:
        """The current version of one environment."""
        return self._get(f"/environments/{segment(environment)}", governance.Environment)

    def list_locks(self, environment: str) -> Pages[governance.Lock]:
        """The states of an environment that steps hold now."""
        return self._pages(f"/environments/{segment(environment)}/locks", Page[governance.Lock])

    def list_policy_sets(self, name: str | None = None) -> Pages[governance.PolicySet]:
        """Published policy sets, every version, newest first."""
        return self._pages("/policy/sets", Page[governance.PolicySet], {"name": name})

    def get_backtest(self, name: str, candidate: str) -> governance.Backtest:
        """The last report on a candidate, by its digest, tried on all that a set ever decided."""
        path = f"{PREFIX}/policy/sets/{segment(name)}/backtest"
        return _model(path, self._read(path, {"candidate": candidate}), governance.Backtest)

    def list_decisions(
        self,
        *,
        environment: str | None = None,
        point: str | None = None,
        outcome: str | None = None,
        run: str | None = None,
        since: datetime | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Pages[governance.DecisionLine]:
        """Recorded decisions, newest first."""
        wanted = {"environment": environment, "point": point, "outcome": outcome, "run": run, "since": _moment(since)}
        return self._pages("/policy/decisions", Page[governance.DecisionLine], {**wanted, "limit": limit}, cursor)

    def get_decision(self, decision: str) -> governance.Decision:
        """One decision with all it says."""
        return self._get(f"/policy/decisions/{segment(decision)}", governance.Decision)

    def list_exemptions(self, environment: str | None = None, *, ended: bool = False) -> Pages[governance.Exemption]:
        """Exemptions that count now, soonest to end first; with ``ended`` all there ever were."""
        params = {"environment": environment, "ended": "true" if ended else None}
        return self._pages("/policy/exemptions", Page[governance.Exemption], params)

    def grant_exemption(
        self, environment: str, set_name: str, rule: str, *, address: str = "", why: str, until: datetime
    ) -> governance.Exemption:
        """Let a rule pass for a while."""
        body = _body(
            governance.NewExemption,
            environment=environment,
            set=set_name,
            rule=rule,
            address=address,
            why=why,
            until=until,
        )
        return self._post("/policy/exemptions", governance.Exemption, body)

    def end_exemption(self, exemption: str, *, reason: str = "") -> governance.Exemption:
        """Take an exemption back at once."""
        body = _body(runs.Why, reason=reason)
        return self._post(f"/policy/exemptions/{segment(exemption)}/end", governance.Exemption, body)

    # The audit log.

    def list_events(
        self,
        *,
        actor: str | None = None,
        kind: str | None = None,
        resource: str | None = None,
        run: str | None = None,
        outcome: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Pages[governance.Event]:
        """Events the caller may read, newest first; each page is a search, and recorded as one."""
        wanted = {"actor": actor, "kind": kind, "resource": resource, "run": run, "outcome": outcome, "text": text}
        moments = {"since": _moment(since), "until": _moment(until)}
        return self._pages("/audit/events", Page[governance.Event], {**wanted, **moments, "limit": limit}, cursor)

    def get_event(self, index: int) -> governance.Proven:
        """One leaf, byte for byte, with its proof and the checkpoint that it is proved in."""
        return self._get(f"/audit/events/{int(index)}", governance.Proven)

    def get_standing(self) -> governance.Standing:
        """How the log stands: its newest checkpoint, what waits for the next, and what witnesses and anchors have."""
        return self._get("/audit/standing", governance.Standing)

    def get_checkpoint(self) -> governance.Checkpoint:
        """The newest signed checkpoint, and the key that verifies it."""
        return self._get("/audit/checkpoint", governance.Checkpoint)

    def verify_audit(self) -> governance.Report:
        """Have the server recompute the published log and the database from their bytes."""
        path = f"{PREFIX}/audit/verify"
        answer = self._transport.send("POST", path, timeout_s=VERIFY_S)
        return _model(path, answer, governance.Report)

    # Who is told of events.

    def list_subscriptions(self) -> Pages[notify.Subscription]:
        """Every subscription and how it stands, by name."""
        return self._pages("/notify/subscriptions", Page[notify.Subscription])

    def test_subscription(self, subscription: str) -> notify.Answer:
        """Have a message of no meaning sent to a subscription, now and once."""
        path = f"{PREFIX}/notify/subscriptions/{segment(subscription)}/test"
        return _model(path, self._transport.send("POST", path, timeout_s=SEND_S), notify.Answer)

    def list_deliveries(
        self,
        *,
        subscription: str | None = None,
        state: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Pages[notify.Delivery]:
        """What was told, or is to be, newest first."""
        wanted = {"subscription": subscription, "state": state, "limit": limit}
        return self._pages("/notify/deliveries", Page[notify.Delivery], wanted, cursor)

    def replay_deliveries(self, ids: Sequence[int] | None = None) -> notify.Replayed:
        """Have dead letters sent again, all of them when none is named."""
        body = _body(notify.Replay, ids=None if ids is None else list(ids))
        return self._post("/notify/deliveries/replay", notify.Replayed, body)

    # Who.

    def get_me(self) -> identity.Me:
        """Who the token is of, and what it may."""
        return self._get("/me", identity.Me)

    def list_users(self) -> Pages[identity.User]:
        """Every user, by name."""
        return self._pages("/users", Page[identity.User])

    def list_groups(self) -> Pages[identity.Group]:
        """Every group with its members, by name."""
        return self._pages("/groups", Page[identity.Group])

    def list_roles(self) -> Pages[access.Role]:
        """Every role, built in or declared."""
        return self._pages("/roles", Page[access.Role])

    def list_grants(self) -> Pages[access.Grant]:
        """Every grant, by name."""
        return self._pages("/grants", Page[access.Grant])

    def list_sessions(self, *, user: str | None = None, everybody: bool = False) -> Pages[access.Session]:
        """The caller's sessions in browsers, newest first; another's or everybody's for who may change identities."""
        wanted = {"user": user, "everybody": "true" if everybody else None}
        return self._pages("/sessions", Page[access.Session], wanted)

    def end_session(self, session: str) -> access.Session:
        """End a session at once."""
        path = f"{PREFIX}/sessions/{segment(session)}"
        return _model(path, self._transport.send("DELETE", path), access.Session)

    def end_access(self, user: str) -> access.EndedAccess:
        """End everything a user comes in with."""
        path = f"{PREFIX}/users/{segment(user)}/end-access"
        return _model(path, self._transport.send("POST", path), access.EndedAccess)

    def review_access(self) -> access.Review:
        """Who may do what where, who may approve what, and since when."""
        return self._get("/access/review", access.Review)

    def review_access_table(self) -> str:
        """The same as one table for a spreadsheet."""
        return self._read(f"{PREFIX}/access/review.csv").content.decode()

    def list_tokens(self) -> Pages[identity.Token]:
        """The caller's own tokens, newest first; everybody's for whoever may change identities."""
        return self._pages("/tokens", Page[identity.Token])

    def create_token(
        self,
        name: str,
        *,
        days: int | None = None,
        permissions: list[Permission] | None = None,
        account: str | None = None,
        projects: list[str] | None = None,
    ) -> identity.MintedToken:
        """Make a token. Its secret is in this answer and nowhere else."""
        given: dict[str, Any] = {} if days is None else {"days": days}
        given |= {"permissions": permissions, "account": account, "projects": projects}
        body = _body(identity.NewToken, name=name, **given)
        return self._post("/tokens", identity.MintedToken, body)

    def revoke_token(self, token: str) -> identity.Token:
        """End a token at once."""
        path = f"{PREFIX}/tokens/{segment(token)}"
        return _model(path, self._transport.send("DELETE", path), identity.Token)

    # The server itself.

    def get_openapi(self) -> dict[str, Any]:
        """The contract of this server."""
        return self._json("/api/openapi.json")

    def get_docs(self) -> str:
        """The contract for people, a page of HTML."""
        return self._read("/api/docs").text

    def get_health(self) -> dict[str, Any]:
        """The process answers."""
        return self._json("/healthz")

    def get_ready(self) -> dict[str, Any]:
        """The server can work; raises ``unavailable`` at once while it cannot."""
        found: dict[str, Any] = self._transport.send("GET", "/readyz", tries=1).json()
        return found

    def get_version(self) -> dict[str, Any]:
        """What runs there."""
        return self._json("/version")

    def get_metrics(self) -> str:
        """Numbers in the text format of Prometheus."""
        return self._read("/metrics").text

    def _decide(self, word: str, run: str, key: str | None, **said: Any) -> runs.Approval:
        body = _body(runs.Decide, **said)
        return self._post(f"/runs/{segment(run)}/{word}", runs.Approval, body, key or self._transport.key())

    def _get(self, path: str, model: type[M]) -> M:
        return _model(path, self._read(f"{PREFIX}{path}"), model)

    def _post(self, path: str, model: type[M], body: Body, key: str | None = None) -> M:
        sent = body.model_dump(mode="json")
        return _model(path, self._transport.send("POST", f"{PREFIX}{path}", json=sent, key=key), model)

    def _pages(
        self, path: str, model: type[Page[W]], params: Params | None = None, cursor: str | None = None
    ) -> Pages[W]:
        def fetch(at: str | None) -> Page[W]:
            return _model(path, self._read(f"{PREFIX}{path}", {**(params or {}), "cursor": at}), model)

        return Pages(fetch, cursor)

    def _json(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._read(path).json()
        return found

    def _read(self, path: str, params: Params | None = None) -> httpx2.Response:
        return self._transport.send("GET", path, params=params)


def _body(model: type[B], **given: Any) -> B:
    try:
        return model(**given)
    except ValidationError as error:
        raise invalid(error) from error


def _model(path: str, answer: httpx2.Response, model: type[M]) -> M:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        raise misread(path, error) from error


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
