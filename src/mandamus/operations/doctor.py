"""Doctor: looks at an opened home and the machine, and says what to do about each finding. Changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mandamus.audit.gatekeeper import Gatekeeper
from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import decode
from mandamus.audit.model import Report
from mandamus.audit.service import Audit
from mandamus.audit.verify import verify_log
from mandamus.catalog.service import Catalog
from mandamus.engine.effect import EffectKey, Effects, State
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest, RunId
from mandamus.operations import gate_checks
from mandamus.operations.checkup import Finding, Level, engine_holder
from mandamus.policy.engine import Evaluator
from mandamus.runs import health as run_health
from mandamus.store import health
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database

SHOWN_MAX = 20
"""Findings shown of one kind; the rest is counted."""

LOOKS = 5
LOOK_AGAIN_S = 0.3
"""Rows and events of a run that moves are read one after the other: only a difference that stays is one."""

Named = Callable[[], Iterable[tuple[Digest, str]]]
"""Gives the blobs that the rows of one domain name, and by what."""

Tell = Callable[[str], None]
"""Told what is being looked at: long work shows that it goes on."""


def silent(_text: str) -> None:
    """Tells nobody."""


class Doctor:
    """Examines one home.

    ``named`` gives the blobs that rows name, one callable for each domain below runs. ``sandbox`` raises when no
    sandbox can be made. ``tools`` gives, by the name of a tool, a callable that says its path and version or raises
    ``tool_missing``. ``decisions`` gives how the rows of decisions differ from the leaves that tell of them.
    """

    def __init__(
        self,
        *,
        home: Path,
        db: Database,
        blobs: Blobs,
        audit: Audit,
        effects: Effects,
        gate: Gatekeeper,
        catalog: Catalog,
        evaluator: Evaluator,
        clock: Clock,
        sandbox: Callable[[], None],
        tools: Mapping[str, Callable[[], str]],
        named: Sequence[Named],
        decisions: Callable[[Iterable[Mapping[str, Any]]], list[str]],
    ) -> None:
        self._home = home
        self._db = db
        self._blobs = blobs
        self._audit = audit
        self._effects = effects
        self._gate = gate
        self._catalog = catalog
        self._evaluator = evaluator
        self._clock = clock
        self._sandbox_check = sandbox
        self._tools = tools
        self._named = named
        self._decisions = decisions

    @requires(Permission.SYSTEM_READ)
    def examine(self, who: Subject, tell: Tell = silent) -> list[Finding]:
        """Everything there is to look at, in the order in which it is best mended."""
        checks: Sequence[tuple[str, Callable[[Tell], Iterable[Finding]]]] = (
            ("database", self._database),
            ("audit log", self._log),
            ("gate", lambda _tell: self._gate_rows(who)),
            ("blobs", self._blob_store),
            ("rows", self._rows),
            ("decisions", self._decided),
            ("runs", self._runs),
            ("effects", self._unsettled),
            ("policy engine", self._policy),
            ("sandbox", lambda _tell: self._sandbox(who)),
            ("tools", self._tool_paths),
        )
        findings: list[Finding] = []
        for name, check in checks:
            tell(name)
            findings += _guarded(name, check, tell)
        return findings

    def _database(self, _tell: Tell) -> Iterator[Finding]:
        with self._db.read() as conn:
            damage, lacking = health.damage(conn), health.lacking(conn)
        remedy = "stop every process of this home and restore it from a backup"
        yield from _listed("database", damage, remedy, f"{self._db.engine.dialect.name}, whole")
        yield from _listed("schema", [f"{what} is missing" for what in lacking], remedy, "this release's")

    def _log(self, tell: Tell) -> Iterator[Finding]:
        published = verify_log(self._audit.folder, self._audit.vkey)
        tell("audit log: database")
        stored = self._audit.verify_database()
        yield from _report("published log", published)
        yield from _report("log in the database", stored)
        behind = stored.size - published.size
        yield from gate_checks.lag(self._audit, self._gate, behind)

    def _gate_rows(self, who: Subject) -> Iterator[Finding]:
        targets = self._catalog.environments(who)
        yield from gate_checks.rows(self._gate, [(target.name, target.witnesses) for target in targets])
        yield from gate_checks.clock(self._audit, self._clock)
        yield from gate_checks.broken(self._gate, self._clock)

    def _blob_store(self, tell: Tell) -> Iterator[Finding]:
        seen: set[Digest] = set()
        problems: list[str] = []
        for named in (self._run_blobs, *self._named):
            for digest, by in named():
                if digest in seen:
                    continue
                seen.add(digest)
                if len(seen) % 100 == 0:
                    tell(f"blobs: {len(seen)}")
                try:
                    self._blobs.get(digest)
                except MandamusError as error:
                    problems.append(f"{by}: {error.message}")
        remedy = "restore the blobs from a backup; apply nothing that names them"
        yield from _listed("blobs", problems, remedy, f"{len(seen)} named by rows, all there and whole")

    def _run_blobs(self) -> list[tuple[Digest, str]]:
        with self._db.read() as conn:
            return list(run_health.named_blobs(conn))

    def _rows(self, tell: Tell) -> Iterator[Finding]:
        with self._db.read() as conn:
            names = [run.id for run in run_health.all_runs(conn)]
        found: dict[RunId, list[str]] = {run_id: [] for run_id in names}
        pause = threading.Event()
        for look in range(LOOKS):
            for count, run_id in enumerate(found):
                if count % 100 == 0:
                    tell(f"rows: {count} of {len(found)} runs")
                found[run_id] = self._differences(run_id)
            found = {run_id: differences for run_id, differences in found.items() if differences}
            if not found:
                break
            pause.wait(LOOK_AGAIN_S if look + 1 < LOOKS else 0)
        problems = [f"{run_id}: {difference}" for run_id, differences in found.items() for difference in differences]
        remedy = "keep a copy; then `mandamus audit verify` says whether the log or the rows were changed"
        yield from _listed("rows", problems, remedy, f"{len(names)} runs, each what its events add up to")

    def _differences(self, run_id: RunId) -> list[str]:
        leaves = [decode(leaf.bytes) for leaf in self._audit.events(run_id)]
        keys = self._audit.platform_keys()
        with self._db.read() as conn:
            return run_health.check(conn, run_id, leaves, keys)

    def _decided(self, _tell: Tell) -> Iterator[Finding]:
        pause = threading.Event()
        problems: list[str] | None = None
        for look in range(LOOKS):
            leaves = self._audit.told(Kind.DECISION_RECORDED)
            found = self._decisions(leaves)
            problems = found if problems is None else [each for each in found if each in problems]
            if not problems:
                break
            pause.wait(LOOK_AGAIN_S if look + 1 < LOOKS else 0)
        remedy = "keep a copy; then `mandamus audit verify` says whether the log or the rows were changed"
        yield from _listed("decisions", problems or (), remedy, f"{len(leaves)} decisions, each as it was recorded")

    def _runs(self, _tell: Tell) -> Iterator[Finding]:
        holder = engine_holder(self._home)
        text = "no process is the engine, which is well while nothing runs" if holder is None else f"process {holder}"
        yield Finding("engine", Level.OK, text)
        with self._db.read() as conn:
            stuck = list(run_health.stuck_runs(conn, self._clock.now_us(), engine=holder is not None))
        for run_id, why, verb in stuck[:SHOWN_MAX]:
            yield Finding("runs", Level.WARNING, f"{run_id}: {why}", f"`mandamus runs {verb} {run_id}`")
        yield from _rest("runs", len(stuck))
        if not stuck:
            yield Finding("runs", Level.OK, "none is stuck")

    def _unsettled(self, _tell: Tell) -> Iterator[Finding]:
        keys = self._effects.unsettled()
        working = engine_holder(self._home) is not None
        shown = 0
        for key in keys[:SHOWN_MAX]:
            state = self._effects.state(key)
            if state is State.INTENDED and working:
                continue
            shown += 1
            yield _unsettled(key, lost=state is State.INDETERMINATE)
        yield from _rest("effects", len(keys))
        if not shown:
            yield Finding("effects", Level.OK, f"{len(keys)} under way" if keys else "all settled")

    def _policy(self, _tell: Tell) -> Iterator[Finding]:
        # A worker of its own is started for this, with everything a decision needs.
        found = self._evaluator.inspect({"doctor.rego": "package doctor\n\nimport rego.v1\n\nok := true\n"}, b"{}")
        if found.unparsed or found.uncompiled is not None:
            message = f"{self._evaluator.name} does not take a policy of one line"
            yield Finding("policy engine", Level.FAILED, message, "run the set-up again (`make setup`)")
        else:
            yield Finding("policy engine", Level.OK, self._evaluator.name)

    def _sandbox(self, who: Subject) -> Iterator[Finding]:
        targets = self._catalog.environments(who)
        open_ones = [target.name for target in targets if target.pool.sandbox != "required"]
        try:
            self._sandbox_check()
        except MandamusError as error:
            needed = not targets or len(open_ones) < len(targets)
            yield Finding("sandbox", Level.FAILED if needed else Level.WARNING, error.message, error.remedy)
        else:
            yield Finding("sandbox", Level.OK, "bubblewrap makes one")
        for name in open_ones:
            message = f"steps in environment {name} run without isolation"
            remedy = "set `sandbox: required` in its pool, then `mandamus env apply` it"
            yield Finding("sandbox", Level.WARNING, message, remedy)

    def _tool_paths(self, _tell: Tell) -> Iterator[Finding]:
        for name, find in self._tools.items():
            try:
                yield Finding(name, Level.OK, find())
            except MandamusError as error:
                # Whoever has no step for it does not need it, and whoever has is told so by that step.
                yield Finding(name, Level.WARNING, error.message, error.remedy)


def _guarded(name: str, check: Callable[[Tell], Iterable[Finding]], tell: Tell) -> Iterator[Finding]:
    """The check's findings; one that cannot be carried out is a finding, and the next one follows."""
    try:
        yield from check(tell)
    except MandamusError as error:
        yield Finding(name, Level.FAILED, error.message, error.remedy)
    except Exception as error:  # noqa: BLE001 - what is broken may break in any way, and the rest must be looked at
        lines = str(error).splitlines()
        message = f"cannot be looked at: {type(error).__name__}{f': {lines[0]}' if lines else ''}"
        yield Finding(name, Level.FAILED, message, "restore the home from a backup, or run with --debug and report it")


def _report(name: str, report: Report) -> Iterator[Finding]:
    problems = [f"{problem.verdict}: {problem}" for problem in report.problems]
    remedy = "keep a copy as it is, stop what writes to this home, and compare it with a copy of the log elsewhere"
    yield from _listed(name, problems, remedy, f"{report.size} leaves verify")


def _listed(name: str, problems: Sequence[str], remedy: str, fine: str) -> Iterator[Finding]:
    for problem in problems[:SHOWN_MAX]:
        yield Finding(name, Level.FAILED, problem, remedy)
    if not problems:
        yield Finding(name, Level.OK, fine)
    elif len(problems) > SHOWN_MAX:
        yield Finding(name, Level.FAILED, f"and {len(problems) - SHOWN_MAX} more like these", remedy)


def _rest(name: str, count: int) -> Iterator[Finding]:
    if count > SHOWN_MAX:
        yield Finding(name, Level.WARNING, f"and {count - SHOWN_MAX} more like these")


def _unsettled(key: EffectKey, *, lost: bool) -> Finding:
    where = f"the {key.phase} of step {key.step} of {key.run}"
    if lost:
        remedy = f"look at it, then `mandamus runs settle {key.run} {key.step} --as succeeded --reason '...'`"
        return Finding("effects", Level.WARNING, f"nobody knows what became of {where}", remedy)
    message = f"{where} was promised and has no result"
    return Finding(
        "effects", Level.WARNING, message, f"`mandamus runs watch {key.run}` asks the tool what became of it"
    )
