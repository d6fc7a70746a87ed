"""The back-test: what a candidate would have made of every decision that a policy set ever made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mandamus.audit.kinds import Kind as EventKind
from mandamus.audit.model import Event, Resource
from mandamus.audit.service import Audit
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.attachment import Attached
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, raise_problems
from mandamus.kernel.ids import Digest, Ids
from mandamus.policy import backtest_rows, backtest_work, bundle, check, store
from mandamus.policy.attribution import Attribution
from mandamus.policy.backtest_model import Base, Chosen, Kind, Report
from mandamus.policy.backtest_work import Listener, Past
from mandamus.policy.model import Options
from mandamus.policy.replay import Engines, Lanes
from mandamus.policy.service import read
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database


class Backtests:
    """Tries candidates on the past of this home."""

    def __init__(
        self, db: Database, blobs: Blobs, audit: Audit, engines: Engines, clock: Clock, ids: Ids, cores: int
    ) -> None:
        self._past = Past(db, blobs)
        self._audit = audit
        self._engines = engines
        self._clock = clock
        self._ids = ids
        self._cores = cores

    @requires(Permission.POLICY_TEST)
    def run(
        self,
        who: Subject,
        name: str,
        candidate: Path | Digest,
        chosen: Chosen | None = None,
        *,
        protected: Callable[[str], bool],
        listener: Listener | None = None,
        options: Options | None = None,
        key: Path | None = None,
    ) -> Report:
        """Replay every chosen decision of a published set (by name or digest) with the candidate in its place.

        The candidate is a folder, read with the options of the set unless others are given, or a version that is
        published already. What it says is compared with what was decided, and the versions that decided are replayed
        on a sample and on every decision that flips.
        ``protected`` says of an environment whether silence denies there. The report is stored and recorded. Raises
        ``not_found``, ``policy_invalid`` for a candidate that could not be published, and ``policy_unavailable``.
        """
        began_s = self._clock.monotonic_s()
        with self._past.db.read() as conn:
            base = backtest_rows.find_base(conn, name)
        if isinstance(candidate, Path):
            attribution = self._candidate(read(candidate, options or self._options(base.active), key))
        else:
            attribution = Attribution(bundle.unpack(self._past.blobs.get(candidate)))
        report = backtest_work.run(
            self._past,
            lambda: Lanes(self._engines, self._cores),
            base,
            attribution,
            chosen or Chosen(),
            protected,
            listener or Listener(),
        )
        report.duration_ms = round((self._clock.monotonic_s() - began_s) * 1000)
        self._keep(who, report)
        return report

    @requires(Permission.POLICY_TEST)
    def last(self, who: Subject, name: str, candidate: Digest) -> Mapping[str, Any] | None:  # noqa: ARG002 - a verb's
        """The last report on a candidate against a published set, by name or digest, as it was stored; None without.

        Raises ``not_found`` for a set that nobody knows.
        """
        with self._past.db.read() as conn:
            base = backtest_rows.find_base(conn, name)
            found = store.newest_report(conn, base.active, candidate)
        report: Mapping[str, Any] | None = None if found is None else canonical.loads(found)
        return report

    def tried(self, environment: str, attached: Attached, candidate: Digest) -> bool:
        """Whether a set that is to take an attached one's place has a report on all its versions decided there.

        Also True where there is nothing to try: the very same set, or versions that never decided in that environment.
        """
        if attached.set == candidate:
            return True
        of_environment = Chosen(environment=environment)
        with self._past.db.read() as conn:
            versions = {version.digest for version in store.versions(conn, attached.name)}
            base = Base(attached.name, attached.set, frozenset({attached.set, *versions}))
            if backtest_rows.extent(conn, base, of_environment).count == 0:
                return True
            reports = [canonical.loads(report) for report in store.reports_on(conn, candidate)]
        whole = (Chosen().to_json(), of_environment.to_json())
        return any(report["set"] == attached.name and report["chosen"] in whole for report in reports)

    def _candidate(self, tree: bundle.Tree) -> Attribution:
        found = check.check(tree, self._engines)
        raise_problems(Code.POLICY_INVALID, list(found.problems), remedy="mend every line above; nothing was replayed")
        packed = bundle.pack(tree.files, found.entries, tree.options, found.modules, found.older)
        return Attribution(bundle.unpack(packed))

    def _options(self, active: Digest) -> Options:
        """Those of the version in use, so that the candidate has its digest when it is published as its successor."""
        return bundle.unpack(self._past.blobs.get(active)).options

    def _keep(self, who: Subject, report: Report) -> None:
        id_ = self._ids.new("bkt")
        with self._past.db.begin("policy.backtest") as tx:
            store.add_report(
                tx,
                id_,
                report.base.active,
                report.candidate,
                report.decisions,
                canonical.dumps(report.to_json()),
                who.user,
                self._clock.now_us(),
            )
            self._audit.record(
                tx,
                Event(
                    EventKind.POLICY_BACKTESTED,
                    who,
                    Resource("policy_set", report.candidate),
                    data={
                        "report": id_,
                        "base": report.base.active,
                        "candidate": report.candidate,
                        "decisions": report.decisions,
                        "deny_to_allow": report.counts[Kind.DENY_TO_ALLOW],
                        "allow_to_deny": report.counts[Kind.ALLOW_TO_DENY],
                    },
                ),
            )
