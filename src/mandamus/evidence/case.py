"""What a bundle says about one run: its leaves in order, its files, and what is found wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mandamus.audit.model import Finding, Verdict
from mandamus.audit.signer import Verifier
from mandamus.evidence.model import CLOSING, Document, leaf_file, named_by
from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, MandamusError)


class _MissingError(Exception):
    """A file is not there, which has been noted."""


_SHAPE: Mapping[str, type | tuple[type, ...]] = {
    "kind": str,
    "at": int,
    "who": dict,
    "why": str,
    "authority": dict,
    "stream": str,
    "seq": int,
    "data": dict,
    "run": (str, type(None)),
    "step": (str, type(None)),
    "prev": (str, type(None)),
}


def well_formed(fields: Mapping[str, Any]) -> bool:
    """Whether a leaf has the fields that are read of every leaf, each of its type."""
    return all(isinstance(fields.get(name, ...), kind) for name, kind in _SHAPE.items())


@dataclass(frozen=True)
class Record:
    """One event of the run: its place in the log and the fields of its leaf."""

    index: int
    fields: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Such as ``step.planned``."""
        return str(self.fields["kind"])

    @property
    def step(self) -> str | None:
        """The step it is about."""
        step: str | None = self.fields["step"]
        return step

    @property
    def at_us(self) -> int:
        """When it was recorded."""
        at_us: int = self.fields["at"]
        return at_us

    @property
    def data(self) -> Mapping[str, Any]:
        """What its kind tells."""
        data: Mapping[str, Any] = self.fields["data"]
        return data

    def told(self, name: str) -> Any:
        """One field of its data, or None."""
        return self.data.get(name)

    @property
    def who(self) -> Mapping[str, Any]:
        """Who did it."""
        who: Mapping[str, Any] = self.fields["who"]
        return who

    @property
    def actors(self) -> set[str]:
        """The people behind it: who did it and on whose behalf."""
        return {self.who["subject"], self.who["behalf_of"]} - {None}

    @property
    def decisions(self) -> tuple[str, ...]:
        """The decisions it stands on."""
        return tuple(self.fields["authority"]["decisions"])

    @property
    def approvals(self) -> tuple[str, ...]:
        """The approvals it stands on."""
        return tuple(self.fields["authority"]["approvals"])


@dataclass
class Case:
    """One run before its judge. Every leaf is proved and the stream complete before a case is made."""

    run: str
    records: tuple[Record, ...]
    files: Mapping[str, bytes]
    platform: Verifier
    problems: list[Finding]
    cited: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)
    """Proved events of other streams, whole from their first: those of exemptions that spared a violation."""
    notes: list[str] = field(default_factory=list)
    _missing: set[str] = field(default_factory=set)
    _digests: dict[str, Digest] = field(default_factory=dict)

    @property
    def requested(self) -> Record:
        """The first event."""
        return self.records[0]

    @property
    def closed(self) -> bool:
        """Whether the run has ended; else it rests, and nobody knows the end of one of its effects."""
        return self.records[-1].kind == CLOSING

    def of(self, kind: str) -> Sequence[Record]:
        """The events of a kind, in order."""
        return self._of_kind.get(kind, ())

    def of_step(self, kind: str, step: str | None) -> Sequence[Record]:
        """The events of a kind about one step, in order."""
        return self._of_step.get((kind, step), ())

    def last(self, kind: str, step: str | None, before: Record, after: Record | None = None) -> Record | None:
        """The newest event of a kind about a step before one event, and after another where one is given."""
        low = -1 if after is None else after.index
        return next((r for r in reversed(self.of_step(kind, step)) if low < r.index < before.index), None)

    @cached_property
    def documents(self) -> Sequence[Document]:
        """The documents that the leaves name."""
        found: list[Document] = []
        taken: dict[str, str] = {}
        for record in self.records:
            with self.reading(record):
                found += named_by(record.index, record.fields, taken)
        return found

    def content(self, file: str, record: Record | None = None) -> bytes:
        """The bytes of a file; when it is not there that is noted once, and ``reading`` ends."""
        if file not in self.files:
            if file not in self._missing:
                why = "it is missing" if record is None else f"it is missing, and leaf {record.index} names it"
                self.wrong(why, record, file, Verdict.INCOMPLETE)
                self._missing.add(file)
            raise _MissingError
        return self.files[file]

    def document(self, file: str, record: Record | None = None) -> Any:
        """A JSON document of the bundle, as `content` gives it; one of another form is for ``reading`` to report."""
        return canonical.loads(self.content(file, record))

    def wrong(self, message: str, record: Record | None, file: str = "", verdict: Verdict = Verdict.TAMPERED) -> None:
        """Note what is wrong with an event or a file that it names."""
        index = None if record is None else record.index
        self.problems.append(Finding(verdict, message, file or leaf_file(index or 0), index))

    @contextmanager
    def reading(self, record: Record | None, file: str = "") -> Iterator[None]:
        """Whatever does not have the form it should is one more finding, never an error."""
        try:
            yield
        except _MissingError:
            return
        except _MALFORMED as error:
            name = file or ("" if record is None else record.kind)
            text = f"{name} is not of the form it should be: {type(error).__name__} {error}"
            self.wrong(text, record, file)

    def digest(self, file: str, record: Record | None = None) -> Digest:
        """The digest of a file's bytes, computed once; as `content` when it is not there."""
        data = self.content(file, record)
        if file not in self._digests:
            self._digests[file] = canonical.digest(data)
        return self._digests[file]

    @cached_property
    def _of_kind(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.kind, []).append(record)
        return found

    @cached_property
    def _of_step(self) -> dict[tuple[str, str | None], list[Record]]:
        found: dict[tuple[str, str | None], list[Record]] = {}
        for record in self.records:
            found.setdefault((record.kind, record.step), []).append(record)
        return found
