"""What a step printed: the last lines first, ranges with an address, search on the server, and the whole as a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from mandamus.executors import lines
from mandamus.executors.lines import Reader
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs.model import StepRow
from mandamus.runs.service import RunView
from mandamus.web import runs, terminal
from mandamus.web.door import Pages, Visit, path_of

WINDOW_LINES = 2_000
BEFORE_LINES = 20
"""How many lines stand before a range, so that it is read in its place."""

pages = Pages()


@dataclass(frozen=True)
class Log:
    """Which output: of a step of a run, one phase of one attempt."""

    view: RunView
    step: StepRow
    phase: str
    attempt: int

    def address(self, name: str = "log", **asked: object) -> str:
        """The path of a page about it."""
        # `from` is a word of Python: a template says `from_`.
        named = {name.removesuffix("_"): value for name, value in asked.items()}
        fields = {"phase": self.phase, "attempt": self.attempt, **named}
        return f"{path_of('runs', self.view.run.id, 'steps', self.step.name, name)}?{urlencode(fields)}"


@pages.get("/runs/{run}/steps/{step}/log", Permission.RUN_READ)
def show_log(visit: Visit) -> Response:
    """A window of lines: the last 2,000, those before a line (``before``), or a range (``from``, ``to``).

    ``q`` is looked for instead, ``part`` asks for the lines alone, as a script does while somebody scrolls. ``at`` is
    an address that can be given before lines are counted: it leads to the line that this byte stands in.
    """
    log = _log(visit)
    read = _read(visit, log)
    if "at" in visit.query:
        line = lines.line_at(read, runs.number(visit, "at", 0))
        return RedirectResponse(log.address(from_=line) + f"#L{line}", 303)
    if "q" in visit.query:
        return _found(visit, log, read)
    first, last = runs.number(visit, "from", 0), runs.number(visit, "to", 0)
    before = runs.number(visit, "before", 0)
    if first:
        start, count = max(first - BEFORE_LINES, 1), WINDOW_LINES
    elif before:
        start = max(before - WINDOW_LINES, 1)
        count = before - start
    else:
        start, count = None, WINDOW_LINES
    found = lines.window(read, start, count)
    shown = terminal.numbered(found.lines)
    part = "part" in visit.query
    values: dict[str, Any] = {
        "log": log,
        "run": log.view.run,
        "step": log.step,
        "lines": shown,
        "total": found.total,
        "marked": range(first, max(first, last) + 1),
        "start": shown[0].number if shown else 0,
        "end": shown[-1].number if shown else 0,
        "scrolls": part or not first,
    }
    if part:
        return visit.part("_log.html", **values)
    return visit.page("log.html", phases=runs.PHASES, query="", hits=None, **values)


@pages.get("/runs/{run}/steps/{step}/log.txt", Permission.RUN_READ)
def download_log(visit: Visit) -> Response:
    """All that a step printed, as a file."""
    log = _log(visit)
    read = _read(visit, log)
    parts, piece = [], read(0)
    while piece.data:
        parts.append(piece.data)
        piece = read(piece.next_offset)
    name = f"{log.view.run.id}-{log.phase}-{log.attempt}.txt"
    return Response(b"".join(parts), media_type="text/plain; charset=utf-8", headers=runs.attachment(name))


def _found(visit: Visit, log: Log, read: Reader) -> Response:
    text = visit.query["q"]
    if len(text) > lines.TEXT_CHARS_MAX:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"a text of {len(text)} characters cannot be searched for",
            remedy=f"look for at most {lines.TEXT_CHARS_MAX} characters",
        )
    hits = lines.search(read, text, runs.number(visit, "on", 1))
    return visit.page(
        "log.html", log=log, run=log.view.run, step=log.step, phases=runs.PHASES, query=text, hits=hits, marked=(),
        lines=terminal.numbered(hits.lines),
    )  # fmt: skip


def _log(visit: Visit) -> Log:
    view = visit.house.runs.show(visit.who, runs.run_of(visit))
    row = runs.row_of(view, visit.path["step"])
    phase = visit.query.get("phase", runs.PHASES[0])
    if phase not in runs.PHASES:
        raise MandamusError(Code.VALUE_INVALID, "that is no phase of a step", remedy="it is plan or apply")
    return Log(view, row, phase, runs.number(visit, "attempt", row.attempt))


def _read(visit: Visit, log: Log) -> Reader:
    return visit.house.runs.follow_log(visit.who, log.view.run.id, log.step.name, phase=log.phase, attempt=log.attempt)
