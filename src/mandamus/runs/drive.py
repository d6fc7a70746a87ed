"""Drive: see a run through in this process when nobody else does, else watch the process that does."""

from __future__ import annotations

import threading

from mandamus.kernel.ids import RunId
from mandamus.runs import advance, store
from mandamus.runs.lifecycle import RUN_CLOSED, RunState
from mandamus.runs.model import Notice, Run
from mandamus.runs.rooms import Rooms, Watcher

FOLLOW_S = 0.1
"""SQLite cannot wake another process; a follower looks at one row this often."""


def start(rooms: Rooms) -> bool:
    """Become the engine of this home, and with it the log's integrator; False when another process is."""
    if not rooms.engine.start({"run": lambda job: advance.advance(rooms, job)}):
        return False
    rooms.audit.start()
    return True


def stop(rooms: Rooms) -> None:
    """Let the work under way come to its end, publish what is recorded, and let another process be the engine."""
    rooms.engine.stop()
    rooms.audit.stop()


def drive(rooms: Rooms, run_id: RunId, watcher: Watcher) -> Run:
    """Return when the run has ended or waits, and everything so far is in a published checkpoint.

    If nobody is the engine of this home, this process is, until then; else it follows the engine's rows, ready to
    take over when that process ends before the run does.
    """
    rooms.watchers.append(watcher)
    seen: dict[str, str] = {}
    pause = threading.Event()
    try:
        while not start(rooms):
            run = _look(rooms, run_id, seen, watcher)
            if _at_rest(run):
                return run
            pause.wait(FOLLOW_S)
        try:
            rooms.engine.wait_idle("run", run_id, lambda: _at_rest(_get(rooms, run_id)))
        finally:
            stop(rooms)
    finally:
        rooms.watchers.remove(watcher)
        rooms.audit.flush()
    return _get(rooms, run_id)


def _look(rooms: Rooms, run_id: RunId, seen: dict[str, str], watcher: Watcher) -> Run:
    """Tell the watcher what has changed since the last look."""
    with rooms.db.read() as conn:
        run = store.get_run(conn, run_id)
        rows = store.list_steps(conn, run_id)
    for row in rows:
        if seen.get(row.name, "pending") != row.state.value:
            text = "" if row.error is None else str(row.error.get("message", ""))
            watcher(Notice(run_id, row.name, row.state.value, text))
        seen[row.name] = row.state.value
    return run


def _at_rest(run: Run) -> bool:
    if run.state in RUN_CLOSED:
        return run.evidence is not None
    looked_at = run.wakes_seen >= run.wakes
    return looked_at and run.state in {RunState.WAITING, RunState.INDETERMINATE}


def _get(rooms: Rooms, run_id: RunId) -> Run:
    with rooms.db.read() as conn:
        return store.get_run(conn, run_id)
