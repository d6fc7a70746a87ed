"""Has the log's checkpoints cosigned by witnesses, and says whether enough of them did."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
import structlog

from mandamus.audit import note, store, witness, witness_store
from mandamus.audit.gate import Demand, Mode
from mandamus.audit.model import Checkpoint
from mandamus.audit.post import Answer
from mandamus.audit.quorum import KnownWitness, QuorumPolicy
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database

log = structlog.get_logger()

SIZE_TYPE = "text/x.tlog.size"
REST_S = 60.0
"""How long a witness that gave no answer is left alone, unless an effect waits for it."""
_ROUNDS = 3
_STOP_TIMEOUT_S = 10.0


Send = Callable[[str, bytes, float], Answer]
"""``(URL, body, seconds) -> answer``; raises ``audit_unavailable``."""


@dataclass(frozen=True)
class Witnessing:
    """Who is asked, and what an effect needs of them where its environment does not say."""

    policy: QuorumPolicy
    mode: Mode
    grace_s: float
    timeout_s: float
    send: Send

    @property
    def demand(self) -> Demand:
        """What an effect needs of them where its environment says nothing else."""
        return Demand(self.mode, int(self.grace_s))

    @property
    def asked(self) -> tuple[KnownWitness, ...]:
        """The witnesses that can be asked."""
        return tuple(each for each in self.policy.witnesses if each.url)


@dataclass(frozen=True)
class _Heard:
    """What asking one witness came to: one of the two is set."""

    witness: KnownWitness
    error: MandamusError | None


class Witnesses:
    """The witnesses of one log, for many threads. They are asked with nothing locked that a writer needs.

    ``publish`` takes a checkpoint with its cosignatures; ``prove`` gives consistency proofs.
    """

    def __init__(
        self,
        config: Witnessing,
        database: Database,
        origin: str,
        publish: Callable[[Checkpoint], Checkpoint],
        prove: Callable[[int, int], list[bytes]],
        clock: Clock,
    ) -> None:
        self._config = config
        self._database = database
        self._origin = origin
        self._publish = publish
        self._prove = prove
        self._clock = clock
        self._turn = threading.Lock()
        self._resting: dict[str, float] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def demand(self) -> Demand:
        """What an effect needs of them where its environment says nothing else."""
        return self._config.demand

    def gate(self, checkpoint: Checkpoint, demand: Demand) -> Checkpoint:
        """The checkpoint, or a newer one, once enough witnesses cosigned it, as far as is demanded.

        Raises ``audit_unavailable`` when they did not, ``audit_tampered`` when a witness saw another history.
        """
        if demand.mode is Mode.NONE:
            return checkpoint
        with self._turn:
            try:
                return self._obtain(checkpoint.size, self._config.asked)
            except MandamusError as error:
                graced = demand.mode is Mode.GRACE and self._missing_s() <= demand.grace_s
                if error.code is Code.AUDIT_UNAVAILABLE and graced:
                    log.warning("too few witnesses cosigned; the time of grace runs", error=error.message)
                    return checkpoint
                raise

    def missing(self) -> tuple[float, str]:
        """For how many seconds the newest checkpoint lacks its quorum, and why; asks those who are missing.

        0 when it has it. Raises ``audit_tampered`` when a witness saw another history.
        """
        with self._turn:
            try:
                self._obtain(0, self._config.asked)
            except MandamusError as error:
                if error.code is not Code.AUDIT_UNAVAILABLE:
                    raise
                return max(self._missing_s(), 0.001), error.message
            return 0.0, ""

    def try_once(self) -> None:
        """Ask for the newest checkpoint, those who rest left out; what comes of it is only logged."""
        with self._turn:
            now_s = self._clock.monotonic_s()
            asked = [each for each in self._config.asked if self._resting.get(each.name, now_s) <= now_s]
            try:
                if asked:
                    self._obtain(0, asked)
            except MandamusError as error:
                log.warning("too few witnesses cosigned", error=error.message)

    # --- in the background -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Ask in a thread of its own whenever there is news."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="audit-witnesses", daemon=True)
            self._thread.start()

    def nudge(self) -> None:
        """There is a new checkpoint."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread and ask once more, so that what was done last is seen, too."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._wake.set()
            thread.join(_STOP_TIMEOUT_S)
            self.try_once()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopping:
                return
            self.try_once()

    # --- asking ------------------------------------------------------------------------------------------------------

    def _obtain(self, size: int, asked: Sequence[KnownWitness]) -> Checkpoint:
        """A checkpoint of at least that size, cosigned by a quorum and published; the caller holds the turn."""
        heard: list[_Heard] = []
        for _ in range(_ROUNDS):
            checkpoint = self._newest(size)
            found = self._cosigned(size, checkpoint)
            if found is None:
                heard = self._ask(checkpoint, asked)
                found = self._cosigned(size, checkpoint)
            if found is not None:
                return found
            if not any(each.error is not None and each.error.code is Code.CONFLICT for each in heard):
                break
        raise self._missing(heard)

    def _newest(self, size: int) -> Checkpoint:
        with self._database.read() as conn:
            found = store.newest_checkpoint(conn, self._origin)
        if found is None or found.size < size:
            raise AssertionError("a checkpoint was published that the database does not have")
        return found

    def _cosigned(self, size: int, newest: Checkpoint) -> Checkpoint | None:
        """The newest checkpoint of at least that size (of the newest, for 0) that has its quorum, published."""
        with self._database.read() as conn:
            found = next((each for each in self._met(conn) if each.size >= (size or newest.size)), None)
        return None if found is None else self._publish(found)

    def _met(self, conn: sa.Connection) -> Iterator[Checkpoint]:
        """Checkpoints that have a quorum, with their cosignatures, newest first; what does not fit counts nothing."""
        for size in witness_store.sizes(conn, self._origin):
            plain = store.checkpoint_at(conn, size, self._origin)
            lines = witness_store.lines_at(conn, self._origin, size)
            if plain is not None:
                known = [
                    lines[each.cosigner.vkey] for each in self._config.policy.witnesses if each.cosigner.vkey in lines
                ]
                made = replace(plain, note=plain.note + "".join(known).encode())
                if self._config.policy.met(self._config.policy.cosigners_of(note.parse(made.note))):
                    yield made

    def _ask(self, checkpoint: Checkpoint, asked: Sequence[KnownWitness]) -> list[_Heard]:
        """Ask all at once, and wait no longer than until the quorum is there or everybody has answered."""
        answers: queue.SimpleQueue[_Heard] = queue.SimpleQueue()
        for each in asked:
            # Daemons: a witness that answers late, or never, keeps no process from ending.
            threading.Thread(target=self._hear, args=(each, checkpoint, answers), daemon=True).start()
        heard: list[_Heard] = []
        good: set[str] = set()
        while len(heard) < len(asked) and not (good and self._config.policy.met(good)):
            one = answers.get()
            heard.append(one)
            if one.error is None:
                good.add(one.witness.name)
                self._resting.pop(one.witness.name, None)
            elif one.error.code is Code.AUDIT_UNAVAILABLE:
                self._resting[one.witness.name] = self._clock.monotonic_s() + REST_S
        return heard

    def _hear(self, known: KnownWitness, checkpoint: Checkpoint, answers: queue.SimpleQueue[_Heard]) -> None:
        try:
            line = self._cosignature(known, checkpoint)
            with self._database.begin("audit.cosigned") as tx:
                witness_store.keep(tx.conn, checkpoint, known.cosigner.vkey, line, self._clock.now_us())
        except MandamusError as error:
            answers.put(_Heard(known, error))
        except Exception as error:  # noqa: BLE001 - the thread's end: whoever waits for it must hear of it
            answers.put(_Heard(known, _trouble(known, f"{type(error).__name__}: {error}")))
        else:
            answers.put(_Heard(known, None))

    def _cosignature(self, known: KnownWitness, checkpoint: Checkpoint) -> str:
        """The line by which the witness cosigns.

        Raises ``audit_unavailable``, ``audit_tampered``, and ``conflict`` when there is a newer checkpoint to ask for.
        """
        with self._database.read() as conn:
            old = min(witness_store.newest_of(conn, self._origin, known.cosigner.vkey), checkpoint.size)
        answer = self._post(known, old, checkpoint)
        size = witness.parse_size(answer.body) if answer.status == 409 and answer.type == SIZE_TYPE else None
        if size is not None and size != old:
            if size > checkpoint.size:
                raise self._ahead(known, size, checkpoint)
            old = size
            answer = self._post(known, old, checkpoint)
        if answer.status == 422 or (answer.status == 409 and witness.parse_size(answer.body) == old):
            raise _other_history(known, f"a tree of {old} leaves that is not the beginning of this log")
        if answer.status != 200:
            said = answer.body[:200].decode(errors="replace").strip()
            raise _trouble(known, f"answers {answer.status}: {said}")
        return self._fitting(known, checkpoint, answer.body)

    def _post(self, known: KnownWitness, old: int, checkpoint: Checkpoint) -> Answer:
        proof = tuple(self._prove(old, checkpoint.size))
        body = witness.Request(old, proof, checkpoint.note).body
        url = f"{known.url.rstrip('/')}/add-checkpoint"
        return self._config.send(url, body, self._config.timeout_s)

    def _ahead(self, known: KnownWitness, size: int, checkpoint: Checkpoint) -> MandamusError:
        """The witness saw a greater tree: another process's, or one that this home has lost."""
        if self._newest(checkpoint.size).size >= size:
            return MandamusError(Code.CONFLICT, "there is a newer checkpoint", remedy="ask for that", retryable=True)
        return _other_history(
            known, f"this log with {size} leaves, and now it has {checkpoint.size}: it was rolled back"
        )

    def _fitting(self, known: KnownWitness, checkpoint: Checkpoint, lines: bytes) -> str:
        try:
            found = known.cosigner.cosigned(note.parse(checkpoint.note + lines))
        except MandamusError as error:
            raise _trouble(known, "answers with something that is no signature line") from error
        if found is None:
            raise _trouble(known, f"did not sign with the key of the policy, {known.cosigner.vkey}")
        return note.line(found[1])

    # --- when it is not enough ---------------------------------------------------------------------------------------

    def _missing_s(self) -> float:
        """Since when there is a checkpoint without a quorum, in seconds ago; 0 for none."""
        with self._database.read() as conn:
            met = next(self._met(conn), None)
            since_us = witness_store.first_after_us(conn, met.size if met else 0)
        return 0.0 if since_us is None else (self._clock.now_us() - since_us) / 1_000_000

    def _missing(self, heard: Sequence[_Heard]) -> MandamusError:
        errors = [each.error for each in heard if each.error is not None]
        forked = next((error for error in errors if error.code is Code.AUDIT_TAMPERED), None)
        if forked is not None:
            return forked
        said = "; ".join(error.message for error in errors) or "none of them can be asked"
        return MandamusError(
            Code.AUDIT_UNAVAILABLE,
            f"too few witnesses cosigned the checkpoint: {said}",
            remedy="start the witnesses again, or change HOME/witnesses; nothing is applied until enough answer",
            context={"witnesses": [each.name for each in self._config.asked]},
            retryable=True,
        )


def _trouble(known: KnownWitness, what: str) -> MandamusError:
    return MandamusError(
        Code.AUDIT_UNAVAILABLE,
        f"the witness {known.name} {what}",
        remedy="see what the witness's operator says",
        context={"witness": known.name},
        retryable=True,
    )


def _other_history(known: KnownWitness, what: str) -> MandamusError:
    return MandamusError(
        Code.AUDIT_TAMPERED,
        f"the witness {known.name} saw {what}",
        remedy="compare with a copy of the log kept elsewhere: `mandamus audit verify --log DIR --trust VKEY`; "
        "restore the newest copy of the home",
        context={"witness": known.name},
    )
