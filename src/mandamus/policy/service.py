"""May it: publish policy sets, decide at a point, record the decision with everything that made it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.model import Outcome as EventOutcome
from mandamus.audit.service import Audit
from mandamus.kernel import access, canonical
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.clock import Clock, rfc3339
from mandamus.kernel.errors import Code, MandamusError, Problem, raise_problems
from mandamus.kernel.ids import DecisionId, Digest, Ids, RunId
from mandamus.policy import bundle as bundles
from mandamus.policy import check, judge, store
from mandamus.policy.attribution import Attribution
from mandamus.policy.engine import Evaluator
from mandamus.policy.model import (
    ROOT,
    Decision,
    Fault,
    Outcome,
    Point,
    PolicySet,
    Requirement,
    Verdict,
    Violation,
    fault,
)
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database, Tx

INPUT_BYTES_MAX = 16 << 20
INPUT_DEPTH_MAX = 100
_KEPT = 64


@dataclass
class _Judging:
    """What the sets said so far."""

    violations: list[Violation] = field(default_factory=list)
    warnings: list[Violation] = field(default_factory=list)
    requires: list[Requirement] = field(default_factory=list)
    results: list[bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    defined: bool = False
    data: bytes = b""
    engine: str = "none"

    def trouble(self, kind: Fault, text: str) -> None:
        self.errors.append(f"{kind.value}: {text}")

    def outcome(self) -> Outcome:
        if self.errors or self.violations:
            return Outcome.DENY
        return Outcome.NEEDS_APPROVAL if self.requires else Outcome.ALLOW


class Policy:
    """The policy sets of this home and the decisions they made."""

    def __init__(self, db: Database, blobs: Blobs, audit: Audit, evaluator: Evaluator, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._blobs = blobs
        self._audit = audit
        self._evaluator = evaluator
        self._clock = clock
        self._ids = ids
        self._lock = threading.Lock()
        self._bundles: OrderedDict[Digest, Attribution] = OrderedDict()
        self._sound: OrderedDict[Digest, check.Checked] = OrderedDict()

    def check_directory(self, directory: Path) -> list[Problem]:
        """Everything that would stop `publish`, at once; raises ``policy_unavailable`` when there is no engine."""
        return list(self._check(bundles.read(directory)).problems)

    def publish(self, tx: Tx, who: Subject, directory: Path) -> PolicySet:
        """Snapshot the directory as a set; publishing the same files again changes nothing.

        Raises ``forbidden`` without ``policy:write``, ``policy_invalid`` that lists every problem as
        ``file:line:col``. Compiling takes a tenth of a second; call `check_directory` first, outside the transaction,
        and this finds the work done.
        """
        access.check(who, Permission.POLICY_WRITE)
        tree = bundles.read(directory)
        found = self._check(tree)
        raise_problems(Code.POLICY_INVALID, list(found.problems), remedy="mend every line above; nothing was published")
        snapshot = bundles.pack(tree.files, found.entries)
        published = PolicySet(self._blobs.put(snapshot), tuple(tree.files))
        if store.add_set(tx, published.digest, published.files, self._clock.now_us()):
            self._audit.record(
                tx,
                Event(
                    Kind.POLICY_PUBLISHED,
                    who,
                    Resource("policy_set", published.digest),
                    data={"set": published.digest, "files": len(published.files)},
                ),
            )
        return published

    def prepare(self, sets: Sequence[Digest]) -> None:
        """Start workers for these sets in the background, so that the first decision does not wait for them."""
        found = []
        for digest in sets:
            try:
                found.append(self._bundle(digest))
            except MandamusError:
                # The decision itself will say so, and deny.
                continue
        self._evaluator.prepare(found)

    def decide(
        self, point: Point, document: Mapping[str, Any], sets: Sequence[Digest], *, protected: bool, now_us: int
    ) -> Verdict:
        """What the sets say about the input document, to which ``point`` and ``now`` are added; never raises.

        It is JSON-ready, fractions as ``Decimal``. Any trouble is a deny with ``error`` set: nothing but
        well-formed replies of healthy evaluators for every set can make an allow.
        """
        started_s = self._clock.monotonic_s()
        pinned = tuple(dict.fromkeys(sets))
        judging = _Judging()
        try:
            self._judge(judging, point, document, pinned, protected=protected, now_us=now_us)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no allow
            judging.trouble(Fault.INTERNAL, f"{type(error).__name__}: {error}")
        return Verdict(
            point=point,
            outcome=judging.outcome(),
            violations=tuple(judging.violations),
            warnings=tuple(judging.warnings),
            requires=tuple(judging.requires),
            input=judging.data,
            input_digest=canonical.digest(judging.data),
            sets=pinned,
            engine=judging.engine,
            duration_us=max(0, round((self._clock.monotonic_s() - started_s) * 1_000_000)),
            error="; ".join(judging.errors) or None,
            results=b"[" + b",".join(judging.results) + b"]",
            notes=_notes(judging, point, pinned),
            at_us=now_us,
        )

    def record(self, tx: Tx, who: Subject, verdict: Verdict, run: RunId | None, step: str | None) -> DecisionId:
        """Store the verdict with its exact input, in the transaction of the action it governs."""
        made = Decision(self._ids.decision(), run, step, verdict)
        if len(verdict.input) > store.INLINE_BYTES_MAX:
            self._blobs.put(verdict.input)
        self._pending(tx).append(made)
        self._audit.record(
            tx,
            Event(
                Kind.DECISION_RECORDED,
                who,
                Resource("decision", made.id),
                EventOutcome.DENIED if verdict.outcome is Outcome.DENY else EventOutcome.OK,
                run=run,
                step=step,
                data={
                    "decision": made.id,
                    "point": verdict.point.value,
                    "outcome": verdict.outcome.value,
                    "input": verdict.input_digest,
                    "document": canonical.digest_of(made.to_json()),
                    "sets": list(verdict.sets),
                    "engine": verdict.engine,
                },
            ),
        )
        return made.id

    def _pending(self, tx: Tx) -> list[Decision]:
        """The decisions of a transaction, which are written together at its end."""
        if Decision not in tx.kept:
            made = tx.kept[Decision] = []
            tx.before_commit(lambda: store.add_decisions(tx, made))
        found: list[Decision] = tx.kept[Decision]
        return found

    @requires(Permission.POLICY_READ)
    def get(self, who: Subject, id_: DecisionId) -> Decision:
        """One decision; raises ``not_found``."""
        with self._db.read() as conn:
            found = store.find(conn, self._blobs, id_)
        if found is None:
            raise MandamusError(
                Code.NOT_FOUND,
                f"there is no decision {id_}",
                remedy="`mandamus runs show RUN` lists the decisions of a run",
            )
        return found

    @requires(Permission.POLICY_READ)
    def decisions(self, who: Subject, run: RunId) -> list[Decision]:
        """The decisions of a run, oldest first."""
        return self.of_run(run)

    def of_run(self, run: RunId) -> list[Decision]:
        """The decisions of a run, oldest first."""
        with self._db.read() as conn:
            return store.of_run(conn, self._blobs, run)

    def named_blobs(self) -> list[tuple[Digest, str]]:
        """The blobs that policy's rows name, and by what."""
        with self._db.read() as conn:
            return list(store.named_blobs(conn))

    def _check(self, tree: bundles.Tree) -> check.Checked:
        key = canonical.digest(bundles.pack(tree.files, {}))
        with self._lock:
            known = self._sound.get(key)
        if known and not tree.problems:
            return known
        found = check.check(tree, self._evaluator)
        if not found.problems:
            with self._lock:
                self._sound[key] = found
                while len(self._sound) > _KEPT:
                    self._sound.popitem(last=False)
        return found

    def _judge(
        self,
        judging: _Judging,
        point: Point,
        document: Mapping[str, Any],
        pinned: Sequence[Digest],
        *,
        protected: bool,
        now_us: int,
    ) -> None:
        self._document(judging, point, document, now_us)
        if not pinned and protected:
            judging.trouble(Fault.NO_POLICY, "a protected environment has no policy set; name one in its `policies`")
        judging.engine = self._evaluator.name
        for digest in pinned if not judging.errors else ():
            self._ask(judging, point, digest)
        if protected and point is Point.PLAN and not judging.errors and not judging.defined:
            message = "no set of this protected environment has a rule for the point where changes are judged"
            judging.trouble(Fault.NO_POLICY, f"{message}; write `package {ROOT}.{point.value}`")
        self._keep(judging.data)

    def _document(self, judging: _Judging, point: Point, document: Mapping[str, Any], now_us: int) -> None:
        try:
            judging.data = canonical.dumps({**document, "point": point.value, "now": rfc3339(now_us)})
        except MandamusError as error:
            judging.trouble(Fault.INPUT_INVALID, error.message)
            return
        size = len(judging.data)
        if size > INPUT_BYTES_MAX:
            judging.trouble(Fault.INPUT_TOO_LARGE, f"the input has {size} bytes, at most {INPUT_BYTES_MAX} are judged")
        elif judge.depth_exceeds(judging.data, INPUT_DEPTH_MAX):
            judging.trouble(Fault.INPUT_TOO_DEEP, f"the input is nested deeper than {INPUT_DEPTH_MAX}")

    def _ask(self, judging: _Judging, point: Point, digest: Digest) -> None:
        try:
            attribution = self._bundle(digest)
            entries = attribution.bundle.entries
            judging.defined = judging.defined or point.value in entries
            value = self._evaluator.evaluate(attribution.bundle, judging.data)
            members = judge.members(point, value, entries.get(point.value, ()))
            judging.results.append(canonical.dumps({"set": digest, **members}))
            locate = self._locator(attribution, point, members, judging.data)
            finding = judge.judge(point, members, digest, locate)
        except MandamusError as error:
            judging.trouble(
                Fault(str(error.context.get("fault", Fault.INTERNAL.value))), f"{error.message} (set {digest})"
            )
        else:
            judging.violations += finding.violations
            judging.warnings += finding.warnings
            judging.requires += finding.requires

    def _locator(
        self, attribution: Attribution, point: Point, members: Mapping[str, Sequence[Any]], data: bytes
    ) -> judge.Locate:
        told: Mapping[int, Sequence[Any]] = {}
        if any(attribution.ambiguous(point.value, rule) for rule, given in members.items() if given):
            try:
                told = self._evaluator.explain(attribution, data)
            except MandamusError:
                # The verdict stands; only its line is then that of the first rule of the name.
                told = {}
        return lambda rule, member: attribution.find(point.value, rule, member, told)

    def _bundle(self, digest: Digest) -> Attribution:
        with self._lock:
            known = self._bundles.get(digest)
            if known:
                self._bundles.move_to_end(digest)
                return known
        try:
            snapshot = self._blobs.get(digest)
        except MandamusError as error:
            kind = Fault.BUNDLE_CORRUPT if error.code is Code.BLOB_CORRUPT else Fault.BUNDLE_MISSING
            raise fault(kind, error.message, error.remedy) from error
        loaded = Attribution(bundles.unpack(snapshot))
        with self._lock:
            self._bundles[digest] = loaded
            while len(self._bundles) > _KEPT:
                self._bundles.popitem(last=False)
        return loaded

    def _keep(self, data: bytes) -> None:
        """Store a large input before the transaction that records it, so that the transaction stays short."""
        if len(data) > store.INLINE_BYTES_MAX:
            try:
                self._blobs.put(data)
            except MandamusError:
                # Not policy's trouble: `record` meets it again and raises it.
                return


def _notes(judging: _Judging, point: Point, pinned: Sequence[Digest]) -> tuple[str, ...]:
    if judging.errors:
        return ()
    if not pinned:
        return ("no policy set: the environment is not protected",)
    return () if judging.defined else (f"no rule for this point: no set defines package mandamus.{point.value}",)
