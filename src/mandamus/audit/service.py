"""The verbs of the audit log: record in the caller's transaction, integrate, publish, wait for a checkpoint, prove."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mandamus.audit import leaf as leaves
from mandamus.audit import proof, pruning, store, tiles, tree, witness_store
from mandamus.audit.clock_watch import ClockWatch, Step
from mandamus.audit.edge import Edge
from mandamus.audit.entry import Entry
from mandamus.audit.following import Following
from mandamus.audit.gate import Demand
from mandamus.audit.integrator import Integrated, Integrator, earlier_head, refuse_other
from mandamus.audit.keyring import Keyring, keyring_of, opening_stream
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Checkpoint, Event, Follower, IndexedLeaf, Leaf, Outcome, Report, Resource
from mandamus.audit.private_store import seal
from mandamus.audit.publisher import VKEY_FILE, Publisher
from mandamus.audit.rotation import opening, retirement
from mandamus.audit.search import Search
from mandamus.audit.selfcheck import check_database
from mandamus.audit.signer import Signer, Verifier, parse_vkey
from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import verify_log
from mandamus.audit.witness_client import Witnesses, Witnessing
from mandamus.kernel.access import Permission, Subject, Where, requires
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy, Ids
from mandamus.store.data_keys import DataKeys, data_keys
from mandamus.store.database import Database, Tx

CADENCE_S = 0.2
CADENCE_EVENTS = 1_000
HEARTBEAT_S = 60.0
PLACED_MAX = 8_192
"""Newest leaves whose index is remembered, so that whoever waits for theirs reads nothing back."""
RETRY_S = 1.0
STOP_TIMEOUT_S = 10.0

SYSTEM = Subject(user="system:audit", authn="internal")
"""Who heartbeats are by."""


class Audit:
    """The log of one home. Safe to share between threads; several processes may hold one on the same home.

    ``keys`` are the log's, their name its origin; ``folder`` is the published log, ``HOME/log``. What is kept about
    people is sealed with keys beside it, in ``HOME/people``.
    """

    def __init__(
        self, database: Database, folder: Path, keys: Signer | Keyring, clock: Clock, entropy: Entropy
    ) -> None:
        self._database = database
        self._folder = folder
        self._keys = keyring_of(keys)
        self._clock = clock
        self._entropy = entropy
        self._ids = Ids(clock, entropy)
        self._people = data_keys(folder.parent, entropy)
        self._edge = Edge(database)
        self._publisher = Publisher(folder, self._keys, database, self._edge)
        self._integrator = Integrator(self._keys, clock)
        self._here = leaves.NOWHERE
        self._witnesses: Witnesses | None = None
        self._followers: list[Follower] = []
        self._clock_watch = ClockWatch(clock)
        self.following = Following(database)
        self.search = Search(database, self, lambda: self._keys.name)
        self._turn = threading.Lock()
        self._rounds_begun = 0
        self._round_done = 0
        self._published: Checkpoint | None = None
        self._placed: OrderedDict[bytes, int] = OrderedDict()
        self._wake = threading.Condition()
        self._pending = 0
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def vkey(self) -> str:
        """The trust root of everything that can be verified: the log's verifier key, or its keys on a line each."""
        return self._keys.trust.text

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._keys.name

    @property
    def people(self) -> DataKeys:
        """The keys that open what is kept about people."""
        return self._people

    @property
    def folder(self) -> Path:
        """Where the published log is."""
        return self._folder

    def recorded_from(self, here: Where) -> None:
        """Say in every event of this process which program on which machine it is; a request may say more."""
        self._here = here

    def seen_by(self, config: Witnessing) -> None:
        """Have the log's checkpoints cosigned by witnesses from now on."""
        publish = self._publisher.publish_witnessed
        witnesses = Witnesses(config, self._database, self._keys.name, publish, self.consistency, self._clock)
        self._followers = [each for each in self._followers if each is not self._witnesses] + [witnesses]
        self._witnesses = witnesses

    @property
    def witnesses(self) -> Witnesses | None:
        """Who is asked to cosign, None when nobody is."""
        return self._witnesses

    def followed_by(self, follower: Follower) -> None:
        """Have something woken by every published checkpoint from now on, while this process integrates."""
        self._followers.append(follower)

    # --- writing ---------------------------------------------------------------------------------------------------

    def record(self, tx: Tx, event: Event) -> Leaf:
        """Append the event to its stream, in the caller's transaction; it exists if and only if that commits.

        Raises ``value_invalid`` for a data field its kind does not allow or a leaf over 64 KiB.
        """
        leaves.check(event)
        entry: Entry = tx.kept[Entry] if Entry in tx.kept else self._entry(tx)
        stream = event.stream
        head = entry.head(stream)
        if event.run and head.project and not event.project:
            event = replace(event, project=head.project)  # whatever happens in a run belongs to the run's project
        place = leaves.Place(self._ids.new("evt"), self._clock.now_us(), stream, head.seq + 1, head.hash)
        data, private = leaves.encode(event, place, self._entropy, self._here)
        hashed = tree.leaf_hash(data)
        sealed = {field: seal(self._people, event.who.user, hashed, field, *kept) for field, kept in private.items()}
        columns = {
            "at_us": place.at_us,
            "kind": event.kind.text,
            "subject": event.who.user,
            "resource_type": event.resource.type,
            "resource_id": event.resource.id,
            "run": event.run,
            "project": event.project or None,
            "outcome": event.outcome.value,
            "stream": stream,
            "seq": place.seq,
            "leaf": data,
        }
        of_project, of_environment = head.project or event.project, head.environment or event.environment
        moved = store.StreamHead(place.seq, hashed, of_project or None, of_environment or None)
        entry.add(stream, store.Recorded(columns, moved, sealed))
        return Leaf(stream, place.seq, hashed, data)

    def lock(self, tx: Tx, stream: str) -> None:
        """Keep others from adding to a stream until this transaction ends; it must add an event itself."""
        entry: Entry = tx.kept[Entry] if Entry in tx.kept else self._entry(tx)
        entry.head(stream)

    def _entry(self, tx: Tx) -> Entry:
        made = tx.kept[Entry] = Entry(tx)
        tx.before_commit(made.write)
        tx.after_commit(lambda: self._count(len(made)))
        return made

    def open(self, who: Subject, platform_key: str) -> Checkpoint:
        """Make ``log.opened`` the first leaf of an empty log and check a log that is there; call it at every start.

        The leaf anchors the platform's verifier key (text form) in the log, so that the log's key alone can be
        trusted. Raises ``audit_tampered`` when database and published log disagree, ``audit_untrusted`` when either
        is of another key.
        """
        self._check_vkey()
        with self._database.begin("audit.open") as tx:
            refuse_other(self._keys.name, store.tree_of(tx.conn) or self._keys.name)
            if store.lock_stream(tx.conn, opening_stream(self._keys.name)).seq < 0:
                self.record(tx, opening(who, self._keys, platform_key))
            else:
                self._keys.signers(tx.conn)
                self._check_platform(tx.conn, platform_key)
        self._end_rotation()
        self._record_step(self._newest_step())
        checkpoint = self.flush()
        self.remove_pruned()  # what a process that was killed had begun
        return checkpoint

    def remove_pruned(self) -> int:
        """Take away the entries that the published log says are kept no longer; how many that were."""
        return pruning.remove(self._database, self._folder, self._keys.name)

    def flush(self) -> Checkpoint:
        """Integrate and publish everything committed so far, in the calling thread."""
        return self._covered(timeout_s=-1)

    def wait_checkpointed(self, leaf: Leaf, timeout_s: float = 30.0, demand: Demand | None = None) -> Checkpoint:
        """Return once the committed leaf is in a signed and published checkpoint, cosigned as far as is demanded.

        Raises ``audit_unavailable`` (retryable) when that cannot be had in time, ``audit_tampered`` when the log's
        two copies disagree. Many waiters share one integration: while one works, the others queue, and the next one
        that gets its turn finds everything that was committed meanwhile.
        """
        if self._database.in_transaction:
            raise AssertionError("wait_checkpointed inside a transaction: the leaf is not committed yet")
        checkpoint = self._covered(timeout_s)
        index = self._index_of(leaf)
        if index is None or index >= checkpoint.size:
            raise MandamusError(
                Code.AUDIT_UNAVAILABLE,
                f"event {leaf.seq} of {leaf.stream} is not in the log although the log is up to date",
                remedy="its transaction did not commit; run the action again",
                context={"stream": leaf.stream, "seq": leaf.seq},
                retryable=True,
            )
        if self._witnesses is None:
            return checkpoint
        return self._witnesses.gate(checkpoint, demand or self._witnesses.demand)

    def _index_of(self, leaf: Leaf) -> int | None:
        """The leaf's place: from memory when this process gave it, else from the rows."""
        known = self._placed.get(leaf.hash)
        if known is not None:
            return known
        with self._database.read() as conn:
            found = store.index_of(conn, leaf.stream, leaf.seq)
        return found[0] if found is not None and found[1] == leaf.hash else None

    def _covered(self, timeout_s: float) -> Checkpoint:
        begun = self._rounds_begun
        if not self._turn.acquire(timeout=timeout_s):
            raise MandamusError(
                Code.AUDIT_UNAVAILABLE,
                f"no checkpoint within {timeout_s:g} s",
                remedy="look at the disk's and the database's load, then try again; `mandamus doctor` shows the lag",
                retryable=True,
            )
        try:
            # A round that began after we came has taken what we committed; then another one would find nothing.
            if self._round_done > begun and self._published is not None:
                return self._published
            return self._round()
        finally:
            self._turn.release()

    def _round(self) -> Checkpoint:
        self._rounds_begun += 1
        with self._wake:
            self._pending = 0
        while True:
            published = self._publisher.read()
            with self._database.begin("audit.integrate") as tx:
                done = self._integrator.integrate(tx, published)
            self._remember(done)
            if done.checkpoint is None:
                raise MandamusError(
                    Code.AUDIT_INCOMPLETE,
                    "the log was never opened",
                    remedy="run `mandamus init`",
                )
            # Nothing of the new tree was shown to anyone before this line: the commit above made it the only one.
            self._published = self._publisher.publish(done.checkpoint)
            if self._published == done.checkpoint:
                self._integrator.agree(done.checkpoint)
            if not done.more:
                for follower in self._followers:
                    follower.nudge()
                self._round_done = self._rounds_begun
                return self._published

    def _remember(self, done: Integrated) -> None:
        self._edge.extend(tiles.ENTRIES, done.first, done.leaves)
        for level, index, hashed in done.nodes:
            self._edge.extend(level, index, (hashed,))
            if level == 0:
                self._placed[hashed] = index
        while len(self._placed) > PLACED_MAX:
            self._placed.popitem(last=False)

    def _check_vkey(self) -> None:
        path = self._folder / VKEY_FILE
        if not path.is_file():
            return
        with self._database.read() as conn:
            trust = self._keys.refresh(conn).trust
        if not any(trust.knows(key.verifier) for key in parse_trust(path.read_text(errors="replace")).keys):
            raise MandamusError(
                Code.AUDIT_UNTRUSTED,
                f"{path} names another key than the one in this home",
                remedy="restore the home's keys from the backup that belongs to this log; "
                "when they are lost, `mandamus audit new-epoch` is the way on",
            )

    def _check_platform(self, conn: sa.Connection, platform_key: str) -> None:
        opened = store.leaf_at(conn, opening_stream(self._keys.name), 0)
        if opened is not None and leaves.decode(opened)["data"].get("platform_key") != platform_key:
            raise MandamusError(
                Code.AUDIT_UNTRUSTED,
                f"the log names another platform key than {platform_key}",
                remedy="restore the home's keys, or set the platform key's source to where it was; "
                "when it is lost, `mandamus audit new-epoch` is the way on",
            )

    def _end_rotation(self) -> None:
        """Let the newer of two keys sign alone once the time of the overlap is over."""
        with self._database.read() as conn:
            keys = self._keys.refresh(conn)
        if keys.rotating and self._clock.now_us() >= keys.ends_us:
            with self._database.begin("audit.key_retired") as tx:
                keys = self._keys.locked(tx.conn)
                if keys.rotating:
                    self.record(tx, retirement(SYSTEM, self._keys.name, keys, "the overlap is over"))

    # --- the thread of a long-lived process --------------------------------------------------------------------------

    def start(self) -> None:
        """Integrate in the background: 200 ms after an event or at 1,000 events, and a heartbeat after idle 60 s."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="audit-integrator", daemon=True)
            self._thread.start()
            for follower in self._followers:
                follower.start()

    def stop(self) -> None:
        """End the background thread and publish what is left."""
        thread, self._thread = self._thread, None
        if thread is not None:
            with self._wake:
                self._stopping = True
                self._wake.notify_all()
            thread.join(STOP_TIMEOUT_S)
        self.flush()
        for follower in self._followers:
            follower.stop()

    def _count(self, events: int) -> None:
        self.following.wake()
        with self._wake:
            idle = self._pending == 0
            self._pending += events
            if idle or self._pending >= CADENCE_EVENTS:
                self._wake.notify_all()

    def _run(self) -> None:
        while not self._stopping:
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._pending > 0, HEARTBEAT_S)
                idle = self._pending == 0
                self._wake.wait_for(lambda: self._stopping or self._pending >= CADENCE_EVENTS, 0 if idle else CADENCE_S)
                if self._stopping:
                    return
                covered = not idle and self._pending == 0
            if not covered:
                self._try_round(idle=idle)

    def _try_round(self, *, idle: bool) -> None:
        try:
            if idle:
                with self._database.begin("audit.heartbeat") as tx:
                    self.record(tx, Event(Kind.LOG_HEARTBEAT, SYSTEM, Resource("log", self._keys.name)))
                self._end_rotation()
                self._record_step(self._newest_step())
            self._record_step(self._clock_watch.look())
            self.flush()
        except MandamusError:
            # Whoever needs a checkpoint gets the same error from wait_checkpointed; here it only means: later again.
            with self._wake:
                self._pending += 1
                self._wake.wait_for(lambda: self._stopping, RETRY_S)

    def _newest_step(self) -> Step | None:
        with self._database.read() as conn:
            return self._clock_watch.compare(store.newest_us(conn))

    def _record_step(self, step: Step | None) -> None:
        if step is not None:
            data = {"behind_us": step.behind_us, "against": step.against.value}
            with self._database.begin("audit.clock") as tx:
                self.record(tx, Event(Kind.CLOCK_STEPPED, SYSTEM, Resource("log", self._keys.name), data=data))

    # --- reading and proving -----------------------------------------------------------------------------------------

    def stream(self, stream: str) -> list[IndexedLeaf]:
        """The leaves of a stream that have their place in the log; a run's stream is ``run/<run id>``."""
        with self._database.read() as conn:
            return store.stream_leaves(conn, stream)

    def events(self, run: str) -> list[IndexedLeaf]:
        """The leaves of a run, in order."""
        return self.stream(f"run/{run}")

    def place_of(self, run: str) -> tuple[str, str]:
        """The project and the environment that a run is in; each empty for none."""
        with self._database.read() as conn:
            return store.place_of(conn, f"run/{run}")

    def project_of(self, run: str) -> str:
        """The project that a run is of, or empty."""
        with self._database.read() as conn:
            return store.project_of(conn, f"run/{run}") or ""

    def opened(self) -> IndexedLeaf:
        """The leaf that anchors the platform's key; raises ``audit_incomplete`` before ``open``."""
        found = self.stream(opening_stream(self._keys.name))
        if not found:
            raise MandamusError(Code.AUDIT_INCOMPLETE, "the log was never opened", remedy="run `mandamus init`")
        return found[0]

    def prove(self, indices: Iterable[int], checkpoint: Checkpoint) -> dict[int, bytes]:
        """For each leaf index its proof in C2SP tlog-proof form, against that checkpoint."""
        with self._database.read() as conn:
            subtree = proof.subtrees(lambda level, low, high: store.hashes(conn, level, low, high))
            return {
                index: proof.write(index, tree.inclusion_proof(index, checkpoint.size, subtree), checkpoint)
                for index in indices
            }

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the tree of ``old`` leaves is a prefix of the one of ``new`` leaves."""
        with self._database.read() as conn:
            subtree = proof.subtrees(lambda level, low, high: store.hashes(conn, level, low, high))
            return tree.consistency_proof(old, new, subtree)

    def head_at(self, size: int) -> Checkpoint:
        """The signed head of the tree when it had so many leaves: proof that something was the last one then."""
        with self._database.read() as conn:
            return earlier_head(conn, self._keys, size)

    def told(self, kind: Kind) -> list[Mapping[str, Any]]:
        """The JSON of every leaf of a kind, oldest first."""
        with self._database.read() as conn:
            return [leaves.decode(leaf) for leaf in store.openings(conn, kind.text)]

    def platform_keys(self) -> list[Verifier]:
        """The platform's key, and those it had in earlier epochs."""
        return [parse_vkey(str(leaf["data"]["platform_key"])) for leaf in self.told(Kind.LOG_OPENED)]

    def waiting(self) -> int:
        """How many committed events wait for their place in the log: its lag."""
        with self._database.read() as conn:
            return store.queued(conn)

    def lag_s(self) -> float:
        """For how long the oldest event has waited that is not in the published log, in seconds; 0 when none waits."""
        published = self._publisher.read()
        with self._database.read() as conn:
            unpublished = witness_store.first_after_us(conn, published.size if published else 0)
            since = [at_us for at_us in (store.oldest_queued(conn), unpublished) if at_us is not None]
        return max(0.0, (self._clock.now_us() - min(since)) / 1e6) if since else 0.0

    def verify_database(self) -> Report:
        """Recompute the whole tree and every chain from the rows; reads every event.

        What is published must be of the same history: a database that was rolled back to an older copy is sound alone.
        """
        try:
            published = self._publisher.read()
        except MandamusError:
            published = None  # `verify_log` says what is wrong with it.
        with self._database.read() as conn:
            return check_database(conn, self._keys.refresh(conn).trust, published, self._people)

    @requires(Permission.AUDIT_VERIFY)
    def verify(self, who: Subject) -> Report:
        """Verify the published log and the database from their bytes, and record that and how it went."""
        self.flush()
        published = verify_log(self._folder, self.vkey)
        stored = self.verify_database()
        report = published.merge(stored)
        outcome = Outcome.OK if report.ok else Outcome.FAILED
        data = {"size": report.size, "outcome": report.outcome.value}
        event = Event(Kind.AUDIT_VERIFIED, who, Resource("log", self._keys.name), outcome, data=data)
        with self._database.begin("audit.verified") as tx:
            self.record(tx, event)
        return report
