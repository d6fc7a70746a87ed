"""Asking for a run: the form of a workflow, beside it what it will do and who would be asked, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from mandamus.audit.forms import is_ticket
from mandamus.audit.secret_forms import holds_secret
from mandamus.catalog.model import Environment, Offered
from mandamus.kernel import canonical, ids
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest, RunId
from mandamus.runs.model import Request, Run
from mandamus.runs.outlook import Outlook
from mandamus.serving.refusals import record
from mandamus.web.catalog import may_ask
from mandamus.web.door import Pages, Visit, see
from mandamus.web.fields import Field, blank, read

REASON_CHARS_MAX = 2_000
KEY_CHARS_MAX = 64
OUTLOOKS_MAX = 8
"""Of more environments the one that is chosen is told of, and the first of the others."""
TRIES = 50
WAIT_S = 0.2

pages = Pages()


@dataclass(frozen=True)
class Asked:
    """What stands in the form beside the inputs, and what is wrong with each of it, by name."""

    environment: str = ""
    reason: str = ""
    ticket: str = ""
    plan_only: bool = False
    errors: Mapping[str, str] | None = None

    def wrong(self, name: str) -> str:
        """What is wrong with one of them, or nothing."""
        return (self.errors or {}).get(name, "")


@pages.get("/catalog/{project}/{file:path}", Permission.RUN_REQUEST)
def show_form(visit: Visit) -> Response:
    """The form, empty or with what an earlier run was asked with (``?from=RUN``)."""
    workflow = _workflow(visit)
    if "from" not in visit.query:
        return _page(visit, workflow, blank(workflow.inputs), Asked(visit.query.get("environment", "")))
    before = _before(visit, workflow)
    asked = Asked(before.environment, _shown(before.reason), before.ticket, before.plan_only)
    return _page(visit, workflow, blank(workflow.inputs, before.inputs), asked, before=before)


@pages.post("/catalog/{project}/{file:path}", Permission.RUN_REQUEST)
def ask(visit: Visit) -> Response:
    """Ask for the run, once however often the form is sent; what is wrong stands beside its field."""
    workflow, form = _workflow(visit), visit.form
    inputs, fields = read(workflow.inputs, form)
    asked = _read(form, may_ask(visit, workflow.project))
    if asked.errors or any(field.error for field in fields):
        return _page(visit, workflow, fields, asked, status=422)
    if form.get("digest") != workflow.digest:
        moved = MandamusError(
            Code.CONFLICT,
            "the workflow has changed since this form was made",
            remedy="look at what it does now, and send the form again",
        )
        return _page(visit, workflow, fields, asked, error=moved)
    try:
        return see("runs", _once(visit, workflow, asked, inputs))
    except MandamusError as error:
        if error.code not in {Code.FORBIDDEN, Code.CONFLICT, Code.INPUT_INVALID, Code.WORKFLOW_INVALID}:
            raise
        record(visit.request, error)
        return _page(visit, workflow, fields, asked, error=error)


def _workflow(visit: Visit) -> Offered:
    """The workflow that the path names, when the visitor may ask for it somewhere."""
    found = visit.house.catalog.show_workflow(visit.who, visit.path["project"], visit.path["file"])
    if found.problem:
        raise MandamusError(
            Code.WORKFLOW_INVALID,
            f"{found.file} of project {found.project} cannot run:\n{found.problem}",
            remedy="correct the file; `mandamus check` shows every problem at once",
        )
    return found


def _before(visit: Visit, workflow: Offered) -> Run:
    """The run that the form is filled in from; raises ``value_invalid`` for one of another workflow."""
    found = visit.house.runs.show(visit.who, RunId(ids.parse("run", visit.query["from"]))).run
    if (found.project, found.workflow_file) != (workflow.project, workflow.file):
        raise MandamusError(
            Code.VALUE_INVALID,
            f"{found.id} is no run of {workflow.file} of project {workflow.project}",
            remedy="open the form from the page of the run",
        )
    return found


def _read(form: Mapping[str, str], allowed: Sequence[Environment]) -> Asked:
    environment, ticket = form.get("environment", ""), form.get("ticket", "").strip()
    reason = form.get("reason", "").replace("\r\n", "\n")
    errors = {}
    if environment not in {each.name for each in allowed}:
        errors["environment"] = "choose where it is to run"
    if len(reason) > REASON_CHARS_MAX:
        errors["reason"] = f"has {len(reason)} characters: give at most {REASON_CHARS_MAX}"
    elif _shown(reason) != reason:
        errors["reason"] = "holds what looks like a secret, and stands in the log for ever: leave that out"
    if ticket and not is_ticket(ticket):
        errors["ticket"] = "is no ticket: give up to 100 letters, digits and . _ / # : -"
    return Asked(environment, _shown(reason), ticket, "plan_only" in form, errors)


def _shown(text: str) -> str:
    """The text, or nothing when it holds a secret."""
    return "" if holds_secret(text.encode("utf-8", "replace")) else text


def _once(visit: Visit, workflow: Offered, asked: Asked, inputs: Mapping[str, Any]) -> RunId:
    """The run that was asked for, also when the same form was sent before or is under way.

    Raises ``conflict`` when its key was sent with something else, and what asking for the run raises.
    """
    key, requests, user = visit.form.get("key", ""), visit.house.requests, visit.who.user
    if not (0 < len(key) <= KEY_CHARS_MAX and key.isascii() and key.isprintable()):
        raise MandamusError(Code.VALUE_INVALID, "this form is not whole", remedy="open the page again and use its form")
    parts = [visit.request.url.path, workflow.digest, inputs, asked.environment, asked.reason, asked.ticket]
    digest = canonical.digest_of([*parts, asked.plan_only])
    kept = _begin(visit, key, digest)
    if kept is not None:
        return RunId(kept.decode())
    try:
        run = _ask(visit, workflow, asked, inputs)
    except Exception:
        # Nothing came of it: the same form may be sent again.
        requests.forget(user, key)
        raise
    requests.finish(user, key, run.encode())
    return run


def _begin(visit: Visit, key: str, digest: Digest) -> bytes | None:
    """Take the form's key, and wait for whoever has it: of two clicks the second ends on the page of the same run."""
    pause = threading.Event()
    for left in reversed(range(TRIES)):
        try:
            return visit.house.requests.begin(visit.who.user, key, digest)
        except MandamusError as error:
            if error.code is not Code.CONFLICT:
                raise
            if not error.retryable or not left:
                raise MandamusError(
                    Code.CONFLICT,
                    "this form was sent before, and what came of it is not this",
                    remedy="look at the list of runs; to ask for another one, send the form again",
                ) from error
            pause.wait(WAIT_S)
    raise AssertionError("the last try has returned or raised")


def _ask(visit: Visit, workflow: Offered, asked: Asked, inputs: Mapping[str, Any]) -> RunId:
    who = replace(visit.who, ticket=asked.ticket)
    root = visit.house.catalog.root_of(who, workflow.project)
    request = Request(workflow.file, asked.environment, inputs, asked.reason, plan_only=asked.plan_only)
    return visit.house.runs.request(who, root, request).id


def _page(
    visit: Visit,
    workflow: Offered,
    fields: Sequence[Field],
    asked: Asked,
    *,
    before: Run | None = None,
    error: MandamusError | None = None,
    status: int = 200,
) -> Response:
    allowed = may_ask(visit, workflow.project)
    chosen = asked.environment if asked.environment in {each.name for each in allowed} else ""
    if not chosen and len(allowed) == 1:
        chosen = allowed[0].name
    return visit.page(
        "request.html",
        status=status if error is None else error.code.http_status,
        workflow=workflow,
        fields=fields,
        asked=asked,
        chosen=chosen,
        environments=allowed,
        outlooks=_outlooks(visit, workflow, allowed, chosen),
        before=before,
        error=error,
        key=visit.renderer.key(),
        wrong=sum(bool(field.error) for field in fields) + len(asked.errors or {}),
        reads={secret: step.name for step in workflow.steps for secret in step.secrets},
    )


def _outlooks(visit: Visit, workflow: Offered, allowed: Sequence[Environment], chosen: str) -> list[Outlook]:
    names = sorted((each.name for each in allowed), key=lambda name: (name != chosen, name))
    return [visit.house.runs.outlook(visit.who, name, workflow.project) for name in names[:OUTLOOKS_MAX]]
