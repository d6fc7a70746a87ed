"""The HTTP executor: one request from a process of its own in the sandbox, to no address that the pool keeps closed."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mandamus
from mandamus.executors import http_spec, marks, request
from mandamus.executors.model import (
    Applied,
    Command,
    Executor,
    Exit,
    Marks,
    Planned,
    Probed,
    Runner,
    Task,
    Toolbox,
    Verdict,
)
from mandamus.kernel import canonical
from mandamus.kernel.document import Node
from mandamus.kernel.errors import Code, MandamusError, Problem

ANSWER_BYTES_MAX = 256 * 1024
"""Of an answer's body, how much is kept."""

_START = "import sys; sys.path.append(sys.argv[1]); from mandamus.executors.http_child import main; main()"
_SENT, _ANSWER = "sent", "answer"
_GRACE_S = 1.0
_HARD_STOP_S = 2.0
_SHOWN_CHARS = 300
_HEADERS = frozenset(
    {"content-type", "date", "etag", "last-modified", "link", "location", "request-id", "retry-after", "x-request-id"}
)


@dataclass(frozen=True)
class _Found:
    """How far an exchange came. ``answer`` is the child's word, None when it left none."""

    sent: bool
    answer: Mapping[str, Any] | None = field(repr=False)

    @property
    def status(self) -> int | None:
        return None if self.answer is None else self.answer.get("status")

    @property
    def detail(self) -> str:
        return "" if self.answer is None else str(self.answer.get("detail", ""))


class Http:
    """See ``model.Executor`` for the contract. ``roots`` is a file of certificates to trust instead of the system's."""

    name = "http"

    def __init__(self, runner: Runner, python: Path, prefix: Path, roots: str) -> None:
        self._runner = runner
        self._python = python
        self._prefix = prefix
        self._roots = roots

    def validate(self, node: Node) -> list[Problem]:
        """Method, url, headers, body and what counts as success."""
        return http_spec.problems(node)

    def plan(self, task: Task) -> Planned:
        """Nobody can say what the receiver will do; the plan is what exactly would be sent."""
        self._runner.check(task.sandbox)
        if task.sandbox.mode != "none" and not task.sandbox.network:
            raise MandamusError(
                Code.ENVIRONMENT_INVALID,
                f"step {task.step} is an http step, and the pool of this environment has no network",
                remedy="set `network: true` in the environment's pool, then `mandamus env apply`",
            )
        asked = http_spec.asked(task)
        http_spec.url_of(task, asked)
        return request.planned(task, self.name, asked, {"tool": self.name})

    def apply(self, task: Task, blob: bytes) -> Applied:
        """Send the planned request once. Raises ``effect_indeterminate`` when it was sent and no answer came."""
        asked = request.opened(task, self.name, blob, http_spec.asked(task))
        wire = self._wire(task, asked)
        hard_s = wire["timeout_s"] + _HARD_STOP_S
        command = self._command(task, json.dumps(wire).encode())
        done = self._runner.run(task, command, marks=_marks(task), deadline_s=hard_s, grace_s=_GRACE_S)
        found = _found(task)
        if found.status is None:
            error = _unanswered(task, asked, found, done)
            if error.code is Code.EFFECT_INDETERMINATE:
                raise error
            return Applied(ok=False, error=error)
        outputs = _outputs(found.answer or {})
        if http_spec.expected(asked, found.status):
            return Applied(ok=True, outputs=outputs)
        return Applied(ok=False, outputs=outputs, error=_unexpected(task, asked, outputs), partial=True)

    def probe(self, task: Task, blob: bytes) -> Probed:
        """By what the child left: nothing sent, an answer, or sent and no answer."""
        self._runner.sweep()
        trace = marks.read(_marks(task))
        found = _found(task)
        if not trace.started:
            return Probed(Verdict.NOT_STARTED, "the request was never begun")
        asked = canonical.loads(blob)["request"]
        if found.status is not None:
            outputs = _outputs(found.answer or {})
            ok = http_spec.expected(asked, found.status)
            verdict = Verdict.SUCCEEDED if ok else Verdict.FAILED
            return Probed(verdict, f"the receiver answered {found.status}", outputs=outputs)
        if found.sent and asked["method"] not in http_spec.SAFE:
            return Probed(Verdict.UNKNOWN, "the request was sent and no answer is known")
        if found.answer is not None or trace.code is not None:
            return Probed(Verdict.FAILED, found.detail or "it was stopped before anything was sent")
        return Probed(Verdict.NOT_STARTED, "nothing was sent" if not found.sent else "it asked for no change")

    def _wire(self, task: Task, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What the child gets: the request in the parts it needs."""
        url = http_spec.url_of(task, asked)
        body = http_spec.body(asked)
        limits_s = [asked["timeout_s"], *([] if task.deadline_s is None else [task.deadline_s])]
        return {
            "method": asked["method"],
            "scheme": url.scheme,
            "host": url.host,
            "port": url.port,
            "target": url.target,
            "headers": [["Host", url.authority], *_headers(task, asked, body)],
            "body": base64.b64encode(body).decode(),
            "allow": list(task.sandbox.allow_private),
            "roots": self._roots,
            "timeout_s": min(limits_s),
            "answer_bytes_max": ANSWER_BYTES_MAX,
            "folder": str(task.box),
        }

    def _command(self, task: Task, wire: bytes) -> Command:
        package = Path(mandamus.__file__).resolve().parent
        readable = [package, self._prefix]
        if self._roots:
            readable.append(Path(self._roots))
        return Command(
            argv=(str(self._python), "-I", "-S", "-B", "-c", _START, str(package.parent)),
            cwd=task.box,
            stdin=wire,
            writable=(task.box,),
            read_only=tuple(readable),
        )


def build(toolbox: Toolbox) -> Executor:
    """The entry point. The option ``http_roots`` names a file of trusted certificates (PEM)."""
    roots = toolbox.options.get("http_roots", "")
    return Http(
        toolbox.runner,
        python=Path(sys.executable).resolve(),
        prefix=Path(sys.base_prefix).resolve(),
        roots=str(Path(roots).absolute()) if roots else "",
    )


def _headers(task: Task, asked: Mapping[str, Any], body: bytes) -> list[list[str]]:
    """The step's headers and ours. The idempotency key lets a receiver see that it has this request already."""
    given = {name.lower() for name in asked["headers"]}
    made = {"User-Agent": "mandamus", "Accept": "*/*"}
    if "json" in asked:
        made["Content-Type"] = "application/json"
    elif "body" in asked:
        made["Content-Type"] = "text/plain; charset=utf-8"
    if asked["method"] not in http_spec.SAFE:
        made["Idempotency-Key"] = f"{task.run}-{task.step}-{task.attempt}"
    ours = [[name, value] for name, value in made.items() if name.lower() not in given]
    fixed = [["Accept-Encoding", "identity"], ["Connection", "close"]]
    if body or asked["method"] not in http_spec.SAFE:
        fixed.append(["Content-Length", str(len(body))])
    return [*ours, *([name, value] for name, value in asked["headers"].items()), *fixed]


def _marks(task: Task) -> Marks:
    return Marks(task.marks, task.phase)


def _found(task: Task) -> _Found:
    sent = (task.box / _SENT).exists()
    try:
        answer = json.loads((task.box / _ANSWER).read_bytes())
    except FileNotFoundError:
        return _Found(sent, None)
    return _Found(sent, answer)


def _outputs(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Status, some headers, and the body: as ``json`` where it is exact JSON, else as text in ``body``."""
    data = base64.b64decode(answer["body"])
    headers = {name: value for name, value in answer["headers"] if name in _HEADERS}
    outputs: dict[str, Any] = {"status": answer["status"], "headers": headers}
    if not answer["whole"]:
        outputs["truncated"] = True
    elif "json" in headers.get("content-type", ""):
        try:
            made = {**outputs, "json": canonical.loads(data)}
            request.storable(made)
        except MandamusError:
            pass
        else:
            return made
    outputs["body"] = data.decode("utf-8", "replace")
    return outputs


def _unexpected(task: Task, asked: Mapping[str, Any], outputs: Mapping[str, Any]) -> MandamusError:
    wanted = ", ".join(map(str, asked["expect"])) or "200 to 299"
    said = outputs["body"] if "body" in outputs else canonical.dumps(outputs["json"]).decode()
    said = request.line(task.redactor.text(said), _SHOWN_CHARS)
    return MandamusError(
        Code.TOOL_FAILED,
        f"step {task.step}: the receiver answered {outputs['status']}, not {wanted}" + (f": {said}" if said else ""),
        remedy="mend what the receiver objects to, or list the status under `expect`",
        context={"status": outputs["status"]},
    )


def _unanswered(task: Task, asked: Mapping[str, Any], found: _Found, done: Exit) -> MandamusError:
    """Why there is no answer, and whether it may have taken effect all the same."""
    kind = "" if found.answer is None else str(found.answer["error"])
    said = task.redactor.text(found.detail) or done.tail[-_SHOWN_CHARS:] or "the exchange was stopped"
    detail = request.line(said, _SHOWN_CHARS)
    if found.sent and asked["method"] not in http_spec.SAFE:
        return MandamusError(
            Code.EFFECT_INDETERMINATE,
            f"step {task.step}: the request was sent and no answer came, so it may have taken effect: {detail}",
            remedy=f"look at the receiver, then `mandamus runs settle {task.run} {task.step} "
            "--as succeeded|failed|retry --reason ...`",
        )
    if kind == "denied":
        return http_spec.denied(task, detail)
    if done.cancelled:
        return MandamusError(
            Code.STEP_CANCELLED,
            f"step {task.step} was cancelled",
            remedy=f"`mandamus runs retry {task.run}` runs it again",
        )
    code = Code.STEP_TIMEOUT if kind == "timeout" or done.timed_out else Code.TOOL_FAILED
    return MandamusError(
        code,
        f"step {task.step}: {detail}",
        remedy="check the address, and that the receiver is reachable from this worker",
    )
