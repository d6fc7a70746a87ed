"""What a directory of tests holds: every Rego file, and JSON and YAML as data, read as ``opa test`` does.

A data file's content lies at the path of its folder, whatever the file's own name is; a name that begins with a dot is
passed over. A file that cannot be used is a finding, and all others are still tested.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError

FILE_BYTES_MAX = 16 << 20
TOTAL_BYTES_MAX = 64 << 20
VALUES_MAX = 500_000

_YAML = (".yaml", ".yml")
_ENDINGS = (".rego", ".json", *_YAML)


@dataclass(frozen=True)
class Unusable:
    """A file that could not be read or loaded, and why; ``line`` is 1 where none is known."""

    file: str
    line: int
    message: str


@dataclass(frozen=True)
class Sources:
    """The text of every Rego file by the path under which it is shown, the merged data, and what is unusable."""

    modules: Mapping[str, str]
    data: bytes
    unusable: tuple[Unusable, ...]


@dataclass
class _Reading:
    modules: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    unusable: list[Unusable] = field(default_factory=list)
    size: int = 0


def read(paths: Sequence[Path], ignore: Sequence[str] = ()) -> Sources:
    """Everything below the paths (a path may also be one file); ``ignore`` are patterns of names and of paths."""
    reading = _Reading()
    for path in paths:
        for folder, file in _walk(path, ignore):
            try:
                _take(reading, folder, file)
            except (MandamusError, OSError, ValueError, RecursionError, yaml.YAMLError) as error:
                reading.unusable.append(Unusable(str(file), *_reason(error)))
    return Sources(
        dict(sorted(reading.modules.items())),
        canonical.dumps(reading.data) if reading.data else b"",
        tuple(reading.unusable),
    )


def _walk(path: Path, ignore: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Every file of a known kind, with the folders it lies in below the path."""
    if path.is_file():
        yield (), path
        return
    for folder, names, files in os.walk(path):
        here = Path(folder)
        names[:] = sorted(name for name in names if not _passed_over(path, here / name, ignore))
        for name in sorted(files):
            if name.endswith(_ENDINGS) and not _passed_over(path, here / name, ignore):
                yield here.relative_to(path).parts, here / name


def _passed_over(root: Path, path: Path, ignore: Sequence[str]) -> bool:
    relative = path.relative_to(root).as_posix()
    return path.name.startswith(".") or any(fnmatch(path.name, each) or fnmatch(relative, each) for each in ignore)


def _take(reading: _Reading, folder: tuple[str, ...], file: Path) -> None:
    # A name that is no text cannot be handed to OPA, nor shown.
    str(file).encode()
    text = _text(reading, file)
    if file.suffix == ".rego":
        reading.modules[str(file)] = text
        return
    value = _yaml(text) if file.suffix in _YAML else canonical.loads(text.encode())
    for name in reversed(folder):
        value = {name: value}
    if not isinstance(value, dict):
        raise ValueError("data at the root must be an object")  # noqa: TRY004 - a finding, like the others
    # A lone surrogate, or what is too deep, is this file's fault and not that of all.
    canonical.dumps(value)
    clash = _clash(reading.data, value)
    if clash:
        raise ValueError(f"gives data.{'.'.join(clash)}, which another file gives, too")
    _merge(reading.data, value)


def _text(reading: _Reading, file: Path) -> str:
    # Not blocking: a named pipe would wait for a writer that never comes.
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
        data = stream.read(FILE_BYTES_MAX + 1)
    reading.size += len(data)
    if len(data) > FILE_BYTES_MAX or reading.size > TOTAL_BYTES_MAX:
        raise ValueError(f"is too large ({FILE_BYTES_MAX >> 20} MiB a file, {TOTAL_BYTES_MAX >> 20} MiB together)")
    text = data.decode()
    if "\0" in text:
        raise ValueError("holds a NUL")
    return text.removeprefix("\ufeff")


class _Loader(yaml.CSafeLoader):
    """YAML as OPA reads it: a date stays the text it is."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def _yaml(text: str) -> Any:
    """The first document of a stream, as JSON-ready data."""
    loader = _Loader(text)
    try:
        has: Any = loader  # PyYAML's types do not know its methods
        return _plain(has.get_data() if has.check_data() else None, [VALUES_MAX])
    finally:
        loader.dispose()


def _plain(value: Any, left: list[int]) -> Any:
    """The value with text for keys and exact numbers; what aliases repeat is counted each time."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"holds more than {VALUES_MAX} values")
    match value:
        case dict():
            return {_key(key): _plain(item, left) for key, item in value.items()}
        case list():
            return [_plain(item, left) for item in value]
        case float():
            return Decimal(repr(value))
        case None | bool() | int() | str():
            return value
        case _:
            raise ValueError(f"holds a {type(value).__name__}, which JSON does not have")


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _clash(into: Mapping[str, Any], value: Mapping[str, Any]) -> tuple[str, ...]:
    """The path of the first value that both have, unless it is an object in both; empty when there is none."""
    for key in into.keys() & value.keys():
        if not isinstance(into[key], dict) or not isinstance(value[key], dict):
            return (key,)
        inside = _clash(into[key], value[key])
        if inside:
            return (key, *inside)
    return ()


def _merge(into: dict[str, Any], value: Mapping[str, Any]) -> None:
    for key, item in value.items():
        if key in into:
            _merge(into[key], item)
        else:
            into[key] = item


def _reason(error: Exception) -> tuple[int, str]:
    match error:
        case MandamusError():
            line = re.search(r"\bline (\d+)\b", error.message)
            return int(line[1]) if line else 1, error.message
        case yaml.MarkedYAMLError():
            return error.problem_mark.line + 1 if error.problem_mark else 1, error.problem or "is not YAML"
        case OSError(strerror=str() as text):
            return 1, f"cannot be read: {text}"
        case RecursionError():
            return 1, "is nested too deeply"
        case _:
            return 1, str(error)
