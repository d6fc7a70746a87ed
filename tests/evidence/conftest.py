"""A home with a log, and a scribe who writes runs into it as the stages of a run do, or as a forger would."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mandamus.audit.kinds import Kind
from mandamus.audit.leaf import decode
from mandamus.audit.model import Authority, Event, IndexedLeaf, Outcome, Resource, Verdict
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.evidence import archive, manifest
from mandamus.evidence.model import BundleReport, Parts, approval_file, documents
from mandamus.evidence.record import RECORD, fold, unfold
from mandamus.evidence.service import Evidence
from mandamus.evidence.verify import verify
from mandamus.kernel import canonical
from mandamus.kernel.access import OWNER, Subject
from mandamus.kernel.attachment import Attached
from mandamus.kernel.clock import Clock
from mandamus.kernel.ids import DecisionId, Digest, Entropy, Ids, RunId
from mandamus.policy import model as policy
from mandamus.runs.model import Binding
from mandamus.store.blobs import Blobs
from mandamus.store.database import Database

ORIGIN = "log.example.com/home"
DAY_US = 86_400_000_000
PLATFORM = Subject("mandamus", "system", behalf_of="ada")
WORKFLOW = b"workflow: storage-bucket\n"


def person(name: str, authn: str = "os-user") -> Subject:
    """Somebody who may do everything."""
    return Subject(name, authn, frozenset({"platform"}), OWNER, name.title())


@dataclass
class Room:
    """What evidence works with."""

    db: Database
    blobs: Blobs
    audit: Audit
    evidence: Evidence
    platform: Signer
    clock: Clock
    ids: Ids

    def begin(self, **asked: Any) -> Scribe:
        """A scribe for a new run."""
        return Scribe(self, RunId(self.ids.new("run")), **asked)

    def leaves(self, run: RunId) -> list[IndexedLeaf]:
        """The run's leaves, all of them in the log."""
        self.audit.flush()
        return self.audit.events(run)


@dataclass
class Scribe:
    """Writes the events and documents of one run; every verb takes what a forger would change."""

    room: Room
    run: RunId
    requester: Subject = field(default_factory=lambda: person("ada"))
    makers: tuple[str, ...] = ("ada", "ops")
    inputs: Mapping[str, Any] = field(default_factory=lambda: {"name": "ledger", "public": False})
    plan_only: bool = False
    project: str = ""
    held: dict[str, bytes] = field(default_factory=dict)
    approvals: dict[str, bytes] = field(default_factory=dict)
    bindings: dict[str, Binding] = field(default_factory=dict)
    steps: dict[str, tuple[str, int]] = field(default_factory=dict)
    state: str = ""

    def record(self, kind: Kind, step: str | None = None, who: Subject | None = None, **event: Any) -> None:
        """One event in the run's stream."""
        resource = Resource("run", self.run) if step is None else Resource("step", f"{self.run}/{step}")
        made = Event(kind, who or PLATFORM, resource, run=self.run, step=step, **event)
        with self.room.db.begin("test") as tx:
            self.room.audit.record(tx, made)

    def hold(self, data: bytes) -> Digest:
        """Keep a document for the bundle."""
        digest = canonical.digest(data)
        self.held[digest] = data
        return digest

    def asked(self, **changed: Any) -> Scribe:
        """Somebody asks for the run."""
        data = {
            "workflow": "storage-bucket",
            "workflow_digest": canonical.digest(WORKFLOW),
            "source": canonical.digest(b"source"),
            "environment": "dev",
            "inputs": canonical.digest_of(self.inputs),
            "plan_only": self.plan_only,
            **changed,
        }
        why = "a place for the archive"
        self.record(Kind.RUN_REQUESTED, who=self.requester, why=why, data=data, project=self.project)
        return self

    def decided(self, point: str, outcome: str = "allow", step: str | None = None, **document: Any) -> str:
        """A decision with its exact input; gives its id, which ``id`` may choose; ``said`` changes its verdict."""
        asked = document.pop("requires", ())
        attached, said = document.pop("attached", None), document.pop("said", {})
        name = DecisionId(document.pop("id", self.room.ids.decision()))
        run = {"id": self.run, "makers": list(self.makers)}
        data = canonical.dumps({"point": point, "run": run, **document})
        verdict = policy.Verdict(
            point=policy.Point(point),
            outcome=policy.Outcome(outcome),
            violations=(policy.Violation("mandamus.plan.deny", "no", "bucket.rego", 7),) if outcome == "deny" else (),
            warnings=(),
            requires=tuple(policy.Requirement(group, count, "by policy") for group, count in asked),
            input=data,
            input_digest=canonical.digest(data),
            attached=(Attached(self.hold(b"set"), "base"),) if attached is None else tuple(attached),
            engine="opa 1.20",
            duration_us=900,
            error=None,
            results=b"[]",
            notes=(),
            at_us=self.room.clock.now_us(),
        )
        decision = policy.Decision(name, self.run, step, replace(verdict, **said))
        told = {
            "decision": decision.id,
            "point": point,
            "outcome": outcome,
            "input": self.hold(data),
            "document": self.hold(canonical.dumps(decision.to_json())),
            "sets": list(verdict.sets),
            "engine": verdict.engine,
        }
        self.record(Kind.DECISION_RECORDED, step, data=told)
        return decision.id

    def admitted(self, outcome: str = "allow", decisions: tuple[str, ...] | None = None) -> Scribe:
        """Policy lets the run in."""
        made = (self.decided("trigger", outcome),) if decisions is None else decisions
        self.record(Kind.RUN_ADMITTED, who=self.requester, authority=Authority(made))
        return self

    def denied(self, outcome: str = "deny") -> Scribe:
        """Policy denies the run at the door."""
        decision = self.decided("trigger", outcome)
        self.record(Kind.RUN_DENIED, who=self.requester, data={"decision": decision}, outcome=Outcome.DENIED)
        return self

    def planned(
        self,
        name: str = "bucket",
        attempt: int = 1,
        *,
        asks: tuple[tuple[str, int], ...] = (),
        judged: str = "bucket",
        **binding: Any,
    ) -> tuple[str, ...]:
        """A plan with its decisions; gives the decisions."""
        change = self.hold(canonical.dumps({"schema": "changeset/1", "changes": [{"address": f"bucket.{name}"}]}))
        artifact = canonical.digest(f"plan of {name}".encode())
        made = Binding(
            run=self.run,
            step=name,
            source=canonical.digest(b"source"),
            workflow=canonical.digest(WORKFLOW),
            inputs=canonical.digest_of(self.inputs),
            environment=canonical.digest(b"environment"),
            tool_lock=canonical.digest(b"lock"),
            artifact=artifact,
            change_set=change,
            state=None,
            sandbox="required",
            tries=2,
            expires_us=self.room.clock.now_us() + DAY_US,
        )
        made = replace(made, **binding)
        self.bindings[name] = made
        data = {
            "attempt": attempt,
            "change_set": change,
            "artifact": artifact,
            "binding": self.hold(made.to_bytes()),
            "plan": self.hold(canonical.dumps({"format_version": "1.2", "step": name})),
        }
        self.record(Kind.STEP_PLANNED, name, data=data)
        may = self.decided("step", step=name)
        seen = {"schema": "changeset/1", "changes": [{"address": f"bucket.{judged if judged != 'bucket' else name}"}]}
        outcome = "needs_approval" if asks else "allow"
        return may, self.decided("plan", outcome, name, change_set=seen, requires=asks)

    def waiting(
        self, step: str = "bucket", attempt: int = 1, asks: tuple[tuple[str, int], ...] = (), **changed: Any
    ) -> None:
        """The step waits for people."""
        binding = self.bindings[step]
        data = {
            "attempt": attempt,
            "binding": self.hold(binding.to_bytes()),
            "requires": [{"group": group, "count": count, "why": "by policy"} for group, count in asks],
            "expires_us": binding.expires_us,
            **changed,
        }
        self.record(Kind.STEP_WAITING, step, data=data)

    def voted(
        self,
        who: Subject,
        name: str = "bucket",
        verdict: str = "yes",
        signer: Signer | None = None,
        told: str = "as agreed",
        **changed: Any,
    ) -> str:
        """A signed yes or no, whose reason the log tells; gives its id."""
        by = signer or self.room.platform
        binding = self.bindings[name]
        body = {
            "approval": self.room.ids.approval(),
            "run": self.run,
            "step": name,
            "attempt": 1,
            "binding": binding.digest,
            "verdict": verdict,
            "by": who.user,
            "authn": who.authn,
            "group": "platform",
            "reason": "as agreed",
            "at_us": self.room.clock.now_us(),
            "expires_us": binding.expires_us,
            "makers": sorted(self.makers),
            "key_id": by.key_id,
            **changed,
        }
        signature = base64.b64encode(by.sign(canonical.dumps(body))).decode()
        self.approvals[body["approval"]] = canonical.dumps({**body, "signature": signature})
        data = {key: body[key] for key in ("approval", "binding", "verdict", "group", "expires_us")}
        self.record(Kind.APPROVAL_RECORDED, name, who, why=told, data={**data, "signature": signature})
        return str(body["approval"])

    def intended(
        self,
        decisions: tuple[str, ...],
        approvals: tuple[str, ...] = (),
        step: str = "bucket",
        attempt: int = 1,
        **changed: Any,
    ) -> None:
        """The effect is promised."""
        binding = self.bindings[step]
        data = {
            "attempt": attempt,
            "phase": "apply",
            "binding": binding.digest,
            "artifact": binding.artifact,
            "token": 1,
            **changed,
        }
        self.record(Kind.EFFECT_INTENDED, step, authority=Authority(decisions, approvals), data=data)

    def ended(
        self, step: str = "bucket", attempt: int = 1, *, ok: bool = True, outputs: Any = None, **told: Any
    ) -> None:
        """The result of an effect, and the end of its step when there is no further attempt."""
        outputs = {"id": step} if outputs is None else outputs
        result = canonical.dumps({"ok": ok, "partial": False, "outputs": outputs, "error": None})
        if ok:
            self.finished(step, "succeeded", attempt, outputs=canonical.digest_of(outputs))
        else:
            self.record(Kind.STEP_RETRYING, step, data={"attempt": attempt, "not_before_us": 0})
        word = "succeeded" if ok else "failed"
        data = {"attempt": attempt, "phase": "apply", "outcome": word, "result": self.hold(result), **told}
        self.record(Kind.EFFECT_FINISHED, step, data=data)

    def settled(self, word: str, step: str = "bucket", *, by_probe: bool = True, who: Subject | None = None) -> None:
        """A probe or a person says what became of the effect."""
        data = {"attempt": 1, "phase": "apply", "as": word, "by_probe": by_probe}
        self.record(Kind.EFFECT_SETTLED, step, who, why="" if by_probe else "looked at it", data=data)

    def finished(self, step: str, state: str, attempt: int = 1, outputs: str | None = None) -> None:
        """The step ends."""
        self.steps[step] = (state, attempt)
        self.record(Kind.STEP_FINISHED, step, data={"attempt": attempt, "state": state, "outputs": outputs})

    def applied(self, step: str = "bucket", asks: tuple[tuple[str, int], ...] = (), by: tuple[str, ...] = ()) -> Scribe:
        """A whole step as it should be."""
        decisions = self.planned(step, asks=asks)
        if asks:
            self.waiting(step, asks=asks)
        approvals = tuple(self.voted(person(name), step) for name in by)
        binding = self.bindings[step]
        named = {"binding": binding.digest, "change_set": binding.change_set, "artifact": binding.artifact}
        last = self.decided("apply", step=step, plan=named)
        self.intended((*decisions, last), approvals, step)
        self.ended(step)
        return self

    def closed(self, state: str = "succeeded") -> Scribe:
        """The run ends."""
        self.state = state
        self.record(Kind.RUN_CLOSED, data={"state": state})
        return self

    def done(self) -> Scribe:
        """The effect of the step ends well, and so does the run."""
        self.ended()
        return self.closed()

    def parts(self) -> Parts:
        """What a run hands over, as it gathers it."""
        leaves = self.room.leaves(self.run)
        told = documents((leaf.index, decode(leaf.bytes)) for leaf in leaves)
        files = {document.file: self.held[document.digest] for document in told}
        files |= {approval_file(name): document for name, document in self.approvals.items()}
        return Parts(self.run, leaves, self.summary(), {**files, "workflow.yaml": WORKFLOW})

    def summary(self) -> dict[str, Any]:
        """The run as its rows would tell it."""
        who = self.requester
        rows = [{"name": name, "state": state, "attempt": n} for name, (state, n) in self.steps.items()]
        return {
            "id": self.run,
            "workflow": "storage-bucket",
            "workflow_digest": canonical.digest(WORKFLOW),
            "source": canonical.digest(b"source"),
            "environment": "dev",
            "requester": {
                "user": who.user,
                "authn": who.authn,
                "groups": sorted(who.groups),
                "behalf_of": who.behalf_of,
            },
            "makers": list(self.makers),
            "inputs": self.inputs,
            "reason": "a place for the archive",
            "plan_only": self.plan_only,
            "state": self.state,
            "steps": rows,
        }


@dataclass(frozen=True)
class Bench:
    """Takes bundles apart, puts them together again, and verifies what came out."""

    folder: Path
    vkey: str
    platform: Signer

    def check(self, data: bytes, trust: str | None = None) -> BundleReport:
        """Verify these bytes as a file."""
        path = self.folder / "bundle.zip"
        path.write_bytes(data)
        return verify(path, trust or self.vkey)

    def files(self, data: bytes) -> dict[str, bytes]:
        """The files of a bundle, those in its record by their own names."""
        with zipfile.ZipFile(io.BytesIO(data)) as found:
            files = {name: found.read(name) for name in found.namelist()}
        return files | unfold(files.pop(RECORD), 1 << 24)

    def zipped(self, files: Mapping[str, bytes]) -> bytes:
        """The files as anybody would zip them, in a record of their own: no seal."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
            for name, data in fold(files).items():
                made.writestr(name, data)
        return buffer.getvalue()

    def forged(self, run: str, files: Mapping[str, bytes], signer: Signer | None = None) -> bytes:
        """The files with a manifest and a seal of their own: what whoever has the platform's key could make."""
        key = signer or self.platform
        inside = fold({name: data for name, data in files.items() if name != manifest.MANIFEST})
        inside |= manifest.write(run, inside, key)
        return archive.pack(inside, lambda digest: manifest.seal(run, digest, key))


@pytest.fixture
def platform() -> Signer:
    return Signer(f"{ORIGIN}/platform", b"\x08" * 32)


@pytest.fixture
def signer() -> Signer:
    return Signer(ORIGIN, b"\x07" * 32)


@pytest.fixture
def make_room(
    sqlite_database: Database,
    home: Path,
    blobs: Blobs,
    signer: Signer,
    platform: Signer,
    clock: Clock,
    entropy: Entropy,
) -> Callable[[], Room]:
    """Open the home as a process that starts would."""

    def opened() -> Room:
        audit = Audit(sqlite_database, home / "log", signer, clock, entropy)
        audit.open(person("ada"), platform.vkey)
        evidence = Evidence(sqlite_database, blobs, audit, platform, clock)
        return Room(sqlite_database, blobs, audit, evidence, platform, clock, Ids(clock, entropy))

    return opened


@pytest.fixture
def room(make_room: Callable[[], Room]) -> Room:
    return make_room()


@pytest.fixture
def bench(tmp_path: Path, room: Room) -> Bench:
    return Bench(tmp_path, room.audit.vkey, room.platform)


@pytest.fixture
def sealed(room: Room) -> Callable[[Scribe], bytes]:
    """Seal what a scribe has written; gives the bundle."""

    def seal(scribe: Scribe) -> bytes:
        return room.blobs.get(room.evidence.seal(PLATFORM, scribe.parts()))

    return seal


@pytest.fixture
def governed(room: Room) -> Scribe:
    """A run as it should be: two steps, the first approved by grace of the group that policy asks."""
    scribe = room.begin().asked().admitted()
    scribe.applied("bucket", asks=(("platform", 1),), by=("grace",)).applied("smoke")
    return scribe.closed()


@pytest.fixture(name="person")
def person_fixture() -> Callable[..., Subject]:
    return person


@pytest.fixture
def refused(sealed, bench):
    """Seal what was written; the report must say ``why`` and name the file and, but for the summary, the leaf."""

    def refuse(scribe, why: str, file: str = "", verdict: Verdict = Verdict.TAMPERED):
        data = sealed(scribe)
        report = bench.check(data)
        told = [problem for problem in report.problems if why in problem.message]
        assert told, f"{why!r} is not among {[str(problem) for problem in report.problems]}"
        assert report.outcome is verdict
        assert told[0].file.startswith(file or "events/")
        assert told[0].leaf is not None or file == "summary.json"
        return report

    return refuse


@pytest.fixture
def waits(room):
    """A step that waits for one approval of the platform group; with the decisions it stands on."""
    scribe = room.begin().asked().admitted()
    decisions = scribe.planned(asks=(("platform", 1),))
    scribe.waiting(asks=(("platform", 1),))
    return scribe, decisions
