"""See a run through from a command: live progress, Ctrl-C, and the summary at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mandamus.cli import outcome
from mandamus.cli.interrupt import Interrupt
from mandamus.cli.progress import Progress
from mandamus.cli.session import Session
from mandamus.kernel.errors import Exit
from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import RunState

if TYPE_CHECKING:
    from mandamus.cli.house import House
    from mandamus.runs.service import RunView

Tell = Callable[[Session, "House", "RunView"], None]
More = Callable[["House", "RunView"], Mapping[str, object]]


def nothing_more(_house: House, _view: RunView) -> Mapping[str, object]:
    """Adds nothing to the document."""
    return {}


@contextmanager
def interruptible(session: Session, house: House) -> Iterator[Interrupt]:
    """Ctrl-C means the run, from the moment ``guard`` names it."""

    def cancel(run_id: RunId) -> None:
        house.runs.cancel(house.who, run_id, reason="interrupted at the keyboard")

    with Interrupt(cancel, lambda run_id: session.command("runs", "show", run_id)) as interrupt:
        yield interrupt


@contextmanager
def leavable(session: Session) -> Iterator[Interrupt]:
    """Ctrl-C means whoever looks on: the run goes on."""
    with Interrupt(None, lambda run_id: session.command("runs", "show", run_id)) as interrupt:
        yield interrupt


def see_through(
    session: Session,
    house: House,
    interrupt: Interrupt,
    run_id: RunId,
    *,
    fine: frozenset[RunState] = frozenset(),
    tell: Tell = outcome.told,
    more: More = nothing_more,
) -> Exit:
    """Follow a run until it waits or has ended, then tell how it stands; gives the exit code.

    ``fine`` are the states in which the command has done what it was asked for. People are told by ``tell``; the JSON
    document gets what ``more`` gives besides.
    """
    interrupt.guard(run_id)
    with Progress(session.screen, session.handed.monotonic_s) as progress:
        house.drive(run_id, progress)
    view = house.runs.show(house.who, run_id)
    if session.wants_json:
        session.screen.json({**outcome.as_json(session, house, view), **more(house, view)})
    else:
        tell(session, house, view)
    return outcome.exit_of(view.run, fine)
