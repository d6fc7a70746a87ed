"""The verbs of export: send the log to its sinks, say how far each is, and prove that one has everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mandamus.audit.export import Exporter, Pumped
from mandamus.audit.export_model import Taker
from mandamus.audit.export_reconcile import Copy, read_file, read_folder
from mandamus.audit.export_store import Cursor
from mandamus.audit.gate import Behind
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Report, Resource
from mandamus.audit.service import Audit
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.reader import did_you_mean
from mandamus.operations.sinks import SINKS_FILE, Form, Sink, load
from mandamus.store.database import Database

LOCKS_FOLDER = "export"


@dataclass(frozen=True)
class Lag:
    """A sink, how far it is, and how many published leaves it does not have."""

    sink: Sink
    cursor: Cursor
    lag: int

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {
            "sink": self.sink.name,
            "form": self.sink.form.value,
            "required": self.sink.required,
            "lag": self.lag,
            **vars(self.cursor),
        }


@dataclass(frozen=True)
class Sent:
    """What one sink was given, or the error that it ended with; what it took before that it has."""

    sink: Sink
    pumped: Pumped | None
    error: MandamusError | None = None

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        error = self.error.to_json() if self.error else None
        return {"sink": self.sink.name, **(vars(self.pumped) if self.pumped else {}), "error": error}


class LogExport:
    """The sinks of one home. ``open_taker`` makes what writes to a sink."""

    def __init__(
        self, home: Path, db: Database, audit: Audit, clock: Clock, open_taker: Callable[[Sink], Taker]
    ) -> None:
        self._file = home / SINKS_FILE
        self._db = db
        self._audit = audit
        self._open_taker = open_taker
        self._exporter = Exporter(db, audit.folder, lambda: audit.vkey, clock, home / LOCKS_FOLDER)

    @requires(Permission.AUDIT_ADMIN)
    def run(self, who: Subject, name: str | None = None, from_index: int | None = None) -> list[Sent]:
        """Give one sink, or each, all that it does not have; one that fails keeps no other from its share.

        With ``from_index`` the sink is given everything from that leaf again. Raises ``not_found`` for an unknown sink.
        """
        sinks = self._sinks(name)
        origin = self._audit.flush().origin
        for sink in sinks:
            if from_index is not None:
                self._exporter.rewind(sink.name, origin, from_index)
            self._record(who, sink, self._exporter.cursor(sink.name, origin).next)
        self._audit.flush()
        return [self._send(sink) for sink in sinks]

    @requires(Permission.AUDIT_VERIFY)
    def sinks(self, who: Subject) -> list[Lag]:  # noqa: ARG002 - the gate's
        """Every sink, how far it is, and what its last error was."""
        return self._lags()

    @requires(Permission.AUDIT_ADMIN)
    def reconcile(self, who: Subject, name: str, copy: Path | None = None) -> Report:
        """Compare what the sink has with the log; ``copy`` is a file with all that the sink has, or its folder.

        A sink that is a folder is read where it is. What the sink was not yet sent counts as missing. Of leaves that
        are pruned there is nothing left to compare with; the report says which they are.
        """
        sink = self._sinks(name)[0]
        checkpoint = self._exporter.published()
        found = Copy(checkpoint.origin)
        source = copy or (Path(sink.options["folder"]) if sink.form is Form.FILES else None)
        if source is None or not source.exists():
            raise MandamusError(
                Code.NOT_FOUND if source else Code.USAGE,
                f"there is no {source}" if source else f"the sink {name} cannot be read back",
                remedy="have the sink write out all it has of the log, and give that with --copy FILE",
            )
        if source.is_dir():
            read_folder(found, source, checkpoint.origin)
        else:
            read_file(found, source)
        mark = self._exporter.pruned(checkpoint.origin)
        kept = mark.min_index if mark else 0
        report = found.compare(self._exporter.records(checkpoint, kept), checkpoint.size)
        if mark is not None:
            report = replace(report, pruned=kept, pruned_by=mark.index)
        outcome = Outcome.OK if report.ok else Outcome.FAILED
        data = {"sink": name, "size": report.size, "outcome": report.outcome.value}
        with self._db.begin("audit.reconciled") as tx:
            self._audit.record(tx, Event(Kind.AUDIT_RECONCILED, who, Resource("sink", name), outcome, data=data))
        return report

    def names(self) -> list[str]:
        """The sinks as declared now; raises what the file of sinks raises."""
        return list(load(self._file))

    def behind(self) -> list[Behind]:
        """How far behind each sink is, for the gate of effects."""
        return [
            Behind(each.sink.name, each.sink.required, each.lag, each.sink.lag_max, each.cursor.error)
            for each in self._lags()
        ]

    def feed(self, name: str) -> None:
        """Give one sink all that it does not have, for the background: nobody's act, so no event of its own.

        Raises what the sink raises; does nothing for a sink that has everything.
        """
        behind = next((each for each in self._lags() if each.sink.name == name), None)
        if behind is not None and behind.lag > 0:
            self._exporter.pump(name, partial(self._open_taker, behind.sink))

    def _sinks(self, name: str | None) -> list[Sink]:
        known = load(self._file)
        if name is None:
            return list(known.values())
        if name not in known:
            raise MandamusError(
                Code.NOT_FOUND,
                f"there is no sink {name[:60]!r}",
                remedy=did_you_mean(name, known, f"declare it in {self._file}"),
            )
        return [known[name]]

    def _lags(self) -> list[Lag]:
        sinks = load(self._file)
        if not sinks:
            return []
        checkpoint = self._exporter.published()
        cursors = {name: self._exporter.cursor(name, checkpoint.origin) for name in sinks}
        return [Lag(sink, cursors[name], checkpoint.size - cursors[name].next) for name, sink in sinks.items()]

    def _record(self, who: Subject, sink: Sink, index: int) -> None:
        data = {"sink": sink.name, "form": sink.form.value, "next": index, "declared": sink.digest}
        with self._db.begin("audit.exported") as tx:
            self._audit.record(tx, Event(Kind.AUDIT_EXPORTED, who, Resource("sink", sink.name), data=data))

    def _send(self, sink: Sink) -> Sent:
        try:
            return Sent(sink, self._exporter.pump(sink.name, partial(self._open_taker, sink)))
        except MandamusError as error:
            return Sent(sink, None, error)
