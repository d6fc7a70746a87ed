"""May it: publish policy sets, decide at a point, record the decision with everything that made it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.model import Outcome as EventOutcome
from mandamus.audit.service import Audit
from mandamus.kernel import access, canonical
from mandamus.kernel.access import Permission, Subject, requires
from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.clock import Clock, rfc3339
from mandamus.kernel.errors import Code, MandamusError, Problem, raise_problems
from mandamus.kernel.ids import DecisionId, Digest, Ids, RunId
from mandamus.policy import bundle as bundles
from mandamus.policy import check, health, judge, profiles, sources, store
from mandamus.policy.attribution import Attribution
from mandamus.policy.because import Reasons
from mandamus.policy.engine import Evaluator
from mandamus.policy.exemptions import Exemptions
from mandamus.policy.model import (
    ROOT,
    Bundle,
    Decision,
    Entry,
    Exemption,
    Fault,
    Listed,
    Options,
    Outcome,
    Point,
    PolicySet,
    Said,
    SetVersion,
    Verdict,
    Violation,
    Wanted,
    fault,
    told,
)
from mandamus.policy.testing_publish import Tester
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database, Tx

INPUT_BYTES_MAX = 16 << 20
INPUT_DEPTH_MAX = 100
_KEPT = 64
_PAIR = 2
"""A type and a value."""


@dataclass
class _Judging:
    """What the sets said so far."""

    found: judge.Finding = field(default_factory=judge.Finding)
    results: list[bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unbound: list[str] = field(default_factory=list)
    defined: bool = False
    data: bytes = b""
    engine: str = "none"

    def trouble(self, kind: Fault, text: str, level: Level = Level.HARD) -> None:
        """Trouble of a set that binds is a deny; of one that does not it is a note."""
        (self.errors if level.binds else self.unbound).append(f"{kind.value}: {text}")

    def outcome(self) -> Outcome:
        if self.errors or self.found.violations:
            return Outcome.DENY
        return Outcome.NEEDS_APPROVAL if self.found.requires else Outcome.ALLOW


class Policy:
    """The policy sets of this home and the decisions they made."""

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        audit: Audit,
        evaluator: Evaluator,
        clock: Clock,
        ids: Ids,
        tester: Tester | None = None,
    ) -> None:
        """Without a ``tester`` the tests of a set are compiled and not run."""
        self._db = db
        self._blobs = blobs
        self._audit = audit
        self._evaluator = evaluator
        self._clock = clock
        self._ids = ids
        self._tester = tester
        self._reasons = Reasons(evaluator)
        self.exemptions = Exemptions(db, audit, clock, ids)
        self._lock = threading.Lock()
        self._bundles: OrderedDict[Digest, Attribution] = OrderedDict()
        self._sound: OrderedDict[Digest, check.Checked] = OrderedDict()

    def read(self, path: Path, options: Options | None = None, key: Path | None = None) -> bundles.Tree:
        """The files of a set in a folder or an OPA bundle, to be checked and published; what is wrong stands in it."""
        return read(path, options, key)

    def problems(self, tree: bundles.Tree) -> list[Problem]:
        """Everything that would stop `publish`, at once; raises ``policy_unavailable`` when there is no engine."""
        return list(self._check(tree).problems)

    def publish(self, tx: Tx, who: Subject, tree: bundles.Tree, name: str = "") -> PolicySet:
        """Snapshot the files as the newest version of the set of that name (the folder's, when none is given).

        Publishing the same again changes nothing. Raises ``forbidden`` without ``policy:write``, ``policy_invalid``
        that lists every problem as ``file:line:col``. Compiling takes a tenth of a second; call `problems` before,
        outside the transaction, and this finds the work done.
        """
        access.authorize(who, Permission.POLICY_WRITE)
        found = self._check(tree)
        raise_problems(Code.POLICY_INVALID, list(found.problems), remedy="mend every line above; nothing was published")
        digest = self._blobs.put(_packed(tree, found))
        published = PolicySet(digest, tuple(tree.files), name or set_name(tree.directory), found.warnings)
        now_us = self._clock.now_us()
        store.add_set(tx, published.digest, published.files, now_us)
        newest = next(iter(store.versions(tx.conn, published.name)), None)
        version = store.add_version(tx, published.name, published.digest, who.user, now_us)
        if version is not None:
            self._audit.record(
                tx,
                Event(
                    Kind.POLICY_PUBLISHED,
                    who,
                    Resource("policy_set", published.digest),
                    data={
                        "set": published.digest,
                        "files": len(published.files),
                        "name": published.name,
                        "version": version,
                        "previous": newest.digest if newest else None,
                    },
                ),
            )
        return published

    def digest(self, tree: bundles.Tree) -> Digest:
        """The digest that a set without problems has when it is published."""
        return canonical.digest(_packed(tree, self._check(tree)))

    @requires(Permission.POLICY_READ)
    def versions(self, who: Subject, name: str | None = None) -> list[SetVersion]:
        """Every version ever published, newest first; of one name or of all."""
        with self._db.read() as conn:
            return store.versions(conn, name)

    @requires(Permission.POLICY_READ)
    def bundle(self, who: Subject, digest: Digest) -> Bundle:
        """A published set; raises ``policy_unavailable``."""
        return self._bundle(digest).bundle

    def prepare(self, sets: Sequence[Attached]) -> None:
        """Start workers for these sets in the background, so that the first decision does not wait for them."""
        found = []
        for attached in sets:
            try:
                found.append(self._bundle(attached.set))
            except MandamusError:
                # The decision itself will say so, and deny.
                continue
        self._evaluator.prepare(found)

    def decide(
        self,
        point: Point,
        document: Mapping[str, Any],
        sets: Sequence[Attached],
        *,
        protected: bool,
        now_us: int,
        environment: str = "",
    ) -> Verdict:
        """What the sets say about the input document, to which ``point`` and ``now`` are added; never raises.

        It is JSON-ready, fractions as ``Decimal``. Any trouble of a set that binds is a deny with ``error`` set:
        nothing but well-formed replies of healthy evaluators for every such set can make an allow. Exemptions are
        those of the environment.
        """
        started_s = self._clock.monotonic_s()
        pinned = strictest(sets)
        judging = _Judging()
        try:
            asked = _Asked(point, environment, now_us, protected=protected)
            self._judge(judging, asked, document, pinned)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no allow
            judging.trouble(Fault.INTERNAL, f"{type(error).__name__}: {error}")
        found = judging.found
        return Verdict(
            point=point,
            outcome=judging.outcome(),
            violations=tuple(found.violations),
            warnings=tuple(found.warnings),
            requires=tuple(found.requires),
            input=judging.data,
            input_digest=canonical.digest(judging.data),
            attached=pinned,
            engine=judging.engine,
            duration_us=max(0, round((self._clock.monotonic_s() - started_s) * 1_000_000)),
            error="; ".join(judging.errors) or None,
            results=b"[" + b",".join(judging.results) + b"]",
            notes=_notes(judging, point, pinned),
            at_us=now_us,
            spared=tuple(found.spared),
            environment=environment,
            notify=tuple(sorted(set(found.notify))),
        )

    def asks(self, point: Point, sets: Sequence[Attached]) -> bool:
        """Whether any of the sets has something to say at a point; True when one cannot be read, so that it denies."""
        try:
            return any(self._bundle(attached.set).bundle.at(point.value) for attached in sets)
        except MandamusError:
            return True

    def record(
        self, tx: Tx, who: Subject, verdict: Verdict, run: RunId | None, step: str | None, project: str = ""
    ) -> DecisionId:
        """Store the verdict with its exact input, in the transaction of the action it governs.

        ``project`` is that of its run, or of what was asked for where there is no run.
        """
        made = Decision(self._ids.decision(), run, step, verdict, project)
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
                project=project,
                data={
                    "decision": made.id,
                    "point": verdict.point.value,
                    "outcome": verdict.outcome.value,
                    "input": verdict.input_digest,
                    "document": canonical.digest_of(made.to_json()),
                    "sets": list(verdict.sets),
                    "engine": verdict.engine,
                    **told(verdict),
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
        unknown = MandamusError(
            Code.NOT_FOUND,
            f"there is no decision {id_}",
            remedy="`mandamus runs show RUN` lists the decisions of a run",
        )
        if found is None:
            raise unknown
        access.authorize(who, Permission.POLICY_READ, found.project, found.verdict.environment, unknown=lambda: unknown)
        return found

    @requires(Permission.POLICY_READ)
    def decisions(
        self, who: Subject, run: RunId, *, steps: Sequence[str | None] | None = None, inputs: bool = True
    ) -> list[Decision]:
        """The decisions of a run, oldest first; none of a run that the subject may not read.

        ``steps`` are the only ones whose decisions count, None in it stands for the run itself. Without ``inputs`` the
        bytes that were judged are left empty: they may be large, and few look at them.
        """
        with self._db.read() as conn:
            return store.of_run(conn, self._blobs, run, who.areas(Permission.POLICY_READ), steps=steps, inputs=inputs)

    @requires(Permission.POLICY_READ)
    def page(self, who: Subject, wanted: Wanted, *, before: DecisionId | None, limit: int) -> list[Listed]:
        """At most ``limit`` decisions of that kind, newest first; those before one of them are the next page."""
        with self._db.read() as conn:
            return store.page(conn, wanted, before, limit, who.areas(Permission.POLICY_READ))

    def of_run(self, run: RunId) -> list[Decision]:
        """The decisions of a run, oldest first."""
        with self._db.read() as conn:
            return store.of_run(conn, self._blobs, run)

    def differences(self, leaves: Iterable[Mapping[str, Any]]) -> list[str]:
        """How the rows of decisions differ from the leaves of every ``decision.recorded``."""
        with self._db.read() as conn:
            return list(health.differences(conn, self._blobs, leaves))

    def named_blobs(self) -> list[tuple[Digest, str]]:
        """The blobs that policy's rows name, and by what."""
        with self._db.read() as conn:
            return list(store.named_blobs(conn))

    def _check(self, tree: bundles.Tree) -> check.Checked:
        key = canonical.digest(bundles.pack(tree.files, (), tree.options, {}))
        with self._lock:
            known = self._sound.get(key)
        if known and not tree.problems:
            return known
        found = check.check(tree, self._evaluator)
        if self._tester and tree.tests and not found.problems:
            found = replace(found, problems=tuple(self._tester.failures(tree)))
        if not found.problems:
            with self._lock:
                self._sound[key] = found
                while len(self._sound) > _KEPT:
                    self._sound.popitem(last=False)
        return found

    def _judge(self, judging: _Judging, asked: _Asked, document: Mapping[str, Any], pinned: Sequence[Attached]) -> None:
        self._document(judging, asked, document)
        binding = [attached for attached in pinned if attached.level.binds]
        if asked.protected and not binding:
            judging.trouble(Fault.NO_POLICY, "a protected environment has no policy set; name one in its `policies`")
        judging.engine = self._evaluator.name
        for attached in pinned if not judging.errors else ():
            self._ask(judging, asked, attached)
        if asked.protected and asked.point is Point.PLAN and not judging.errors and not judging.defined:
            message = "no set of this protected environment has a rule for the point where changes are judged"
            judging.trouble(Fault.NO_POLICY, f"{message}; write `package {ROOT}.{asked.point.value}`")
        self._keep(judging.data)

    def _document(self, judging: _Judging, asked: _Asked, document: Mapping[str, Any]) -> None:
        try:
            judging.data = canonical.dumps({**document, "point": asked.point.value, "now": rfc3339(asked.now_us)})
        except MandamusError as error:
            judging.trouble(Fault.INPUT_INVALID, error.message)
            return
        size = len(judging.data)
        if size > INPUT_BYTES_MAX:
            judging.trouble(Fault.INPUT_TOO_LARGE, f"the input has {size} bytes, at most {INPUT_BYTES_MAX} are judged")
        elif judge.depth_exceeds(judging.data, INPUT_DEPTH_MAX):
            judging.trouble(Fault.INPUT_TOO_DEEP, f"the input is nested deeper than {INPUT_DEPTH_MAX}")

    def _ask(self, judging: _Judging, asked: _Asked, attached: Attached) -> None:
        try:
            attribution = self._bundle(attached.set)
            entries = attribution.bundle.at(asked.point.value)
            if not entries:
                return
            judging.defined = judging.defined or attached.level.binds
            value = self._evaluator.evaluate(attribution.bundle, judging.data)
            if value.keys() != {entry.rule for entry in attribution.bundle.entries}:
                raise fault(Fault.SHAPE_INVALID, "the reply does not name the rules that were asked for", "try again")
            given = {entry.rule: value[entry.rule] for entry in entries}
            result = canonical.dumps({"set": attached.set, "value": given})
            if judge.depth_exceeds(result, INPUT_DEPTH_MAX):
                # Nobody could record it, or read it back.
                raise fault(Fault.SHAPE_INVALID, f"a member is nested deeper than {INPUT_DEPTH_MAX}", "say less")
            judging.results.append(result)
            said = understood(attribution.bundle, entries, given)
            locate = self._locator(attribution, said, judging.data)
            finding = judge.judge(asked.point, said, attached, locate, self._sparer(asked, attached))
            self._reasons.add(attribution, finding, judging.data)
        except MandamusError as error:
            kind = Fault(str(error.context.get("fault", Fault.INTERNAL.value)))
            judging.trouble(kind, f"{error.message} (set {attached.name or attached.set})", attached.level)
        else:
            judging.found.add(finding)

    def _sparer(self, asked: _Asked, attached: Attached) -> judge.Spare:
        """Looks for an exemption, reading them only when there is something to spare."""
        known: list[Exemption] | None = None

        def spare(violation: Violation) -> str:
            nonlocal known
            if known is None:
                with self._db.read() as conn:
                    known = store.active_exemptions(conn, asked.environment, asked.now_us)
            return next((one.id for one in known if one.spares(attached.name, violation)), "")

        return spare

    def _locator(self, attribution: Attribution, said: Sequence[Said], data: bytes) -> judge.Locate:
        told: Mapping[int, Sequence[Any]] = {}
        if any(attribution.ambiguous(rule) for rule in {one.rule for one in said}):
            try:
                told = self._evaluator.explain(attribution, data)
            except MandamusError:
                # The verdict stands; only its line is then that of the first rule of the name.
                told = {}
        return lambda rule, member: attribution.find(rule, member, told)

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


def read(path: Path, options: Options | None, key: Path | None) -> bundles.Tree:
    """The files of a set in a folder or an OPA bundle, with those that its profile needs."""
    return sources.read(path, options, key)


def _packed(tree: bundles.Tree, found: check.Checked) -> bytes:
    return bundles.pack(tree.files, found.entries, tree.options, found.modules, found.older)


def set_name(directory: Path) -> str:
    """The name a set has when it is given none: that of its folder or archive."""
    return directory.name.removesuffix(".tar.gz")


def strictest(sets: Sequence[Attached]) -> tuple[Attached, ...]:
    """Each set once, as strictly as any attachment of it says."""
    found: dict[Digest, Attached] = {}
    for attached in sets:
        known = found.get(attached.set)
        if known is None or attached.level.strictness > known.level.strictness:
            found[attached.set] = attached
    return tuple(found.values())


@dataclass(frozen=True)
class _Asked:
    point: Point
    environment: str
    now_us: int
    protected: bool


def understood(bundle: Bundle, entries: Sequence[Entry], given: Mapping[str, Any]) -> list[Said]:
    """The members of every entry as the set's profile reads them."""
    profile = profiles.find(bundle.options.profile)
    said: list[Said] = []
    for entry in entries:
        pairs = given.get(entry.rule)
        if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == _PAIR for pair in pairs):
            raise fault(Fault.SHAPE_INVALID, f"the reply does not say what {entry.rule} is", "try again")
        said += profile.read(entry, [(str(kind), value) for kind, value in pairs])
    return said


def _notes(judging: _Judging, point: Point, pinned: Sequence[Attached]) -> tuple[str, ...]:
    if judging.errors:
        return ()
    if not pinned:
        return ("no policy set: the environment is not protected",)
    silent = () if judging.defined else (f"no rule for this point: no set that binds has one for {point.value}",)
    return (*judging.unbound, *silent)
