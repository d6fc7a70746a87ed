"""A policy set as bytes: read from a directory, packed into one canonical snapshot, unpacked for the evaluator.

The snapshot holds the text as it was written and, where that is Rego v0, beside it the v1 text that is evaluated, so a
published set means the same in every later release.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.attachment import Level
from mandamus.kernel.errors import MandamusError, Problem
from mandamus.kernel.ids import Digest
from mandamus.policy.model import (
    ROOT,
    BuiltinErrors,
    Bundle,
    Entry,
    Fault,
    Options,
    RegoVersion,
    fault,
    options_from,
)
from mandamus.policy.query import decide_query, reads_clock

FORMAT = "policy-set/2"
TEST_SUFFIX = "_test.rego"
DATA_FILE = "data.json"
FILES_MAX = 2_000
FILE_BYTES_MAX = 4 << 20
TOTAL_BYTES_MAX = 16 << 20


@dataclass(frozen=True)
class Tree:
    """The text files of a directory by relative path, and what is wrong with others."""

    directory: Path
    files: Mapping[str, str]
    problems: tuple[Problem, ...]
    options: Options = field(default_factory=Options)
    versions: Mapping[str, RegoVersion] = field(default_factory=dict)
    """Which Rego a file is written in, where a bundle's manifest says so."""

    @property
    def modules(self) -> dict[str, str]:
        """The modules that are evaluated."""
        return self.evaluated(self.files)

    @staticmethod
    def evaluated(files: Mapping[str, str]) -> dict[str, str]:
        """Of some files, the Rego that is evaluated: all but the tests."""
        return {p: t for p, t in files.items() if p.endswith(".rego") and not p.endswith(TEST_SUFFIX)}

    @property
    def tests(self) -> dict[str, str]:
        """The modules that only test."""
        return self.testing(self.files)

    @staticmethod
    def testing(files: Mapping[str, str]) -> dict[str, str]:
        """Of some files, the Rego that only tests."""
        return {p: t for p, t in files.items() if p.endswith(TEST_SUFFIX)}

    def problem(self, path: str, code: str, message: str, remedy: str, *, line: int = 1, col: int = 1) -> Problem:
        """A finding in one of the files, named as the user can open it."""
        return Problem(str(self.directory / path), line, col, code, message, remedy)


def read(directory: Path, options: Options | None = None, further: Sequence[str] = ()) -> Tree:
    """Every ``*.rego`` and ``data.json`` below the directory; names beginning with a dot are passed over.

    ``further`` are endings of names that belong to the set, too. A link may name a file inside the directory and
    nothing else.
    """
    reader = _Reader(directory, (".rego", *further))
    if directory.is_dir():
        reader.walk()
    else:
        reader.refuse("", "file_invalid", "is not a directory", "name the directory that holds the *.rego files")
    return Tree(directory, dict(sorted(reader.files.items())), tuple(reader.problems), options or Options())


def data_of(files: Mapping[str, str]) -> bytes:
    """The ``data.json`` files merged as OPA does (each at the path of its folder), canonical; empty when none is.

    Raises ``value_invalid`` for text that is not JSON, not an object, or that says one thing twice.
    """
    merged: dict[str, Any] = {}
    for path, text in files.items():
        if path.rpartition("/")[2] != DATA_FILE:
            continue
        value = canonical.loads(text.encode())
        if not isinstance(value, dict):
            raise _data_invalid(path, "is not a JSON object")
        for folder in reversed(path.split("/")[:-1]):
            value = {folder: value}
        if ROOT in value:
            raise _data_invalid(path, f"gives data.{ROOT}, which belongs to the rules")
        _merge(merged, value, path)
    return canonical.dumps(merged) if merged else b""


def pack(
    files: Mapping[str, str],
    entries: Sequence[Entry],
    options: Options | None = None,
    modules: Mapping[str, str] | None = None,
    older: Collection[str] = (),
) -> bytes:
    """The canonical snapshot; its digest is the set's identity.

    ``modules`` are the texts that are evaluated; without them, the Rego files that are no tests. ``older`` are the
    paths of those that were written in Rego v0.
    """
    evaluated = Tree(Path(), files, ()).modules if modules is None else modules
    return canonical.dumps(
        {
            "format": FORMAT,
            "options": (options or Options()).to_json(),
            "entries": [{**vars(entry), "level": entry.level.value if entry.level else None} for entry in entries],
            "files": [
                {"path": path, "digest": canonical.digest(text.encode()), "content": text}
                for path, text in sorted(files.items())
            ],
            "modules": [
                {"path": path, "content": None if files.get(path) == text else text, "v0": path in older}
                for path, text in sorted(evaluated.items())
            ],
        }
    )


def unpack(snapshot: bytes) -> Bundle:
    """The set in a snapshot; raises ``policy_unavailable`` (``bundle_corrupt``) when it is not one."""
    try:
        document = canonical.loads(snapshot)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r} is not {FORMAT}")
        return _bundle(canonical.digest(snapshot), document)
    except (MandamusError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise fault(
            Fault.BUNDLE_CORRUPT,
            f"policy set {canonical.digest(snapshot)} cannot be read: {error}",
            "publish the policy directory again with `mandamus env apply`",
        ) from error


def _bundle(digest: Digest, document: Mapping[str, Any]) -> Bundle:
    files: dict[str, str] = {item["path"]: item["content"] for item in document["files"]}
    modules = tuple(
        (item["path"], files[item["path"]] if item["content"] is None else item["content"])
        for item in document["modules"]
    )
    options = options_from(document["options"])
    entries = tuple(
        Entry(
            each["point"],
            each["rule"],
            each["body"],
            each["kind"],
            Level(each["level"]) if each["level"] else None,
        )
        for each in document["entries"]
    )
    if not entries:
        raise ValueError("it defines no rule")
    clock = reads_clock(modules)
    older = any(item["v0"] for item in document["modules"])
    return Bundle(
        digest=digest,
        options=options,
        sources=tuple((path, files.get(path, text)) for path, text in modules),
        modules=modules,
        data=data_of(files),
        entries=entries,
        query=decide_query(entries, clock=clock),
        clock=clock,
        builtin_errors=options.builtin_errors or (BuiltinErrors.UNDEFINED if older else BuiltinErrors.ERROR),
    )


class _Reader:
    def __init__(self, directory: Path, endings: tuple[str, ...]) -> None:
        self._directory = directory
        self._endings = endings
        self._inside = directory.resolve()
        self._bytes = 0
        self.files: dict[str, str] = {}
        self.problems: list[Problem] = []

    def walk(self) -> None:
        for folder, names, files in os.walk(self._directory, followlinks=False):
            here = Path(folder)
            names[:] = sorted(name for name in names if not name.startswith("."))
            for name in [name for name in names if (here / name).is_symlink()]:
                self._refuse_link(here / name)
            for name in sorted(files):
                if not name.startswith(".") and (name.endswith(self._endings) or name == DATA_FILE):
                    self._file(here / name)
                if len(self.files) > FILES_MAX:
                    self.refuse("", "file_invalid", f"holds more than {FILES_MAX} policy files", "split the set")
                    return

    def refuse(self, path: str, code: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(str(self._directory / path), 1, 1, code, message, remedy))

    def _refuse_link(self, path: Path) -> None:
        self.refuse(
            self._relative(path),
            "link_refused",
            "is a link that leaves the set or names a folder",
            "copy what it names into the policy directory",
        )

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._directory).as_posix()

    def _file(self, path: Path) -> None:
        relative = self._relative(path)
        try:
            if path.is_symlink() and not path.resolve().is_relative_to(self._inside):
                self._refuse_link(path)
                return
            self._take(relative, path)
        except (OSError, RuntimeError) as error:
            self.refuse(relative, "file_invalid", f"cannot be read: {error}", "make it a readable, regular file")

    def _take(self, relative: str, path: Path) -> None:
        if not relative.isprintable() or ":" in relative:
            self.refuse(ascii(relative), "file_invalid", "has a colon or a control sign in its name", "rename it")
            return
        # Not blocking: a named pipe would wait for a writer that never comes.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                self.refuse(relative, "file_invalid", "is not a regular file", "replace it by a file, or remove it")
                return
            data = file.read(FILE_BYTES_MAX + 1)
        self._bytes += len(data)
        if len(data) > FILE_BYTES_MAX or self._bytes > TOTAL_BYTES_MAX:
            limits = f"{FILE_BYTES_MAX >> 20} MiB a file, {TOTAL_BYTES_MAX >> 20} MiB a set"
            self.refuse(relative, "file_invalid", f"is too large ({limits})", "give large data as workflow inputs")
            return
        self._decode(relative, data)

    def _decode(self, relative: str, data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            self.refuse(relative, "file_invalid", f"is not UTF-8 at byte {error.start}", "save it as UTF-8")
            return
        if "\0" in text:
            line = text[: text.index("\0")].count("\n") + 1
            found = Problem(str(self._directory / relative), line, 1, "file_invalid", "holds a NUL", "remove it")
            self.problems.append(found)
            return
        self.files[relative] = text


def _merge(into: dict[str, Any], value: Mapping[str, Any], path: str) -> None:
    for key, item in value.items():
        known = into.get(key)
        if key not in into:
            into[key] = item
        elif isinstance(known, dict) and isinstance(item, dict):
            _merge(known, item, path)
        else:
            raise _data_invalid(path, f"gives {key!r} a second time")


def _data_invalid(path: str, why: str) -> ValueError:
    return ValueError(f"{path} {why}")
