"""What a step printed: piece by piece from the output log to the terminal, made safe on the way."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mandamus.cli.session import Session
from mandamus.kernel.ansi import Shown
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.kernel.reader import did_you_mean
from mandamus.runs.lifecycle import RUN_CLOSED, STEP_CLOSED, StepState

if TYPE_CHECKING:
    from mandamus.cli.house import House
    from mandamus.runs.model import StepRow

PHASES = ("plan", "apply")
FOLLOW_S = 0.2
"""A follower looks for more this often: output reaches the database in such steps."""


@dataclass(frozen=True)
class Wanted:
    """Whose output: one attempt at one step; ``phases`` in their order."""

    run: RunId
    step: str
    attempt: int
    phases: tuple[str, ...]


def find(house: House, run_id: RunId, step: str, attempt: int | None, phase: str | None) -> Wanted:
    """What the words of the command line name; raises ``not_found``."""
    view = house.runs.show(house.who, run_id)
    rows = {row.name: row for row in view.steps}
    if step not in rows:
        raise MandamusError(
            Code.NOT_FOUND,
            f"{run_id} has no step {step}",
            remedy=did_you_mean(step, rows, f"its steps are {', '.join(rows)}" if rows else "it has no steps"),
        )
    newest = rows[step].attempt
    if attempt is not None and attempt > newest:
        raise MandamusError(
            Code.NOT_FOUND,
            f"step {step} of {run_id} has had {newest} attempt{'' if newest == 1 else 's'}, not {attempt}",
            remedy=f"leave out --attempt for the newest, or give 1 to {newest}",
        )
    return Wanted(run_id, step, attempt or newest, PHASES if phase is None else (phase,))


def show(session: Session, house: House, wanted: Wanted, *, follow: bool) -> None:
    """Print the output as data; which phase and attempt it is of is talk."""
    printed = False
    for phase in wanted.phases:
        shown = Shown(colour=session.screen.coloured)
        for count, data in enumerate(_pieces(house, wanted, phase, follow=follow)):
            if count == 0:
                session.screen.say(f"-- {phase} of step {wanted.step}, attempt {wanted.attempt}")
                printed = True
            session.screen.raw(shown.feed(data))
        session.screen.raw(shown.close())
    if not printed:
        session.screen.say(f"step {wanted.step} printed nothing in attempt {wanted.attempt}")


def document(house: House, wanted: Wanted, *, follow: bool) -> dict[str, Any]:
    """The output as one JSON document, a text for each phase."""
    texts: dict[str, str] = {}
    for phase in wanted.phases:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        parts = [decoder.decode(data) for data in _pieces(house, wanted, phase, follow=follow)]
        texts[phase] = "".join(parts) + decoder.decode(b"", final=True)
    return {"run": wanted.run, "step": wanted.step, "attempt": wanted.attempt, "output": texts}


def _pieces(house: House, wanted: Wanted, phase: str, *, follow: bool) -> Iterator[bytes]:
    pause = threading.Event()
    offset = 0
    while True:
        # Asked before the output is read: what is printed between the two is then read, not missed.
        over = not follow or _over(house, wanted, phase)
        piece = house.runs.logs(house.who, wanted.run, wanted.step, phase=phase, attempt=wanted.attempt, offset=offset)
        offset = piece.next_offset
        if piece.data:
            yield piece.data
        elif piece.done or over:
            return
        else:
            pause.wait(FOLLOW_S)


def _over(house: House, wanted: Wanted, phase: str) -> bool:
    """Whether nothing can be printed any more, also when a crash kept the end from being marked."""
    view = house.runs.show(house.who, wanted.run)
    row: StepRow = next(row for row in view.steps if row.name == wanted.step)
    if view.run.state in RUN_CLOSED or row.attempt > wanted.attempt or row.state in STEP_CLOSED:
        return True
    if phase == "plan":
        return row.state is not StepState.PENDING
    return row.state is StepState.INDETERMINATE
