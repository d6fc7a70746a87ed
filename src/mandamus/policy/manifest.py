"""``.manifest`` of an OPA bundle: which revision it is, what it owns, and in which Rego each file is written."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.policy import bundle_data
from mandamus.policy.bundle import FILES_MAX
from mandamus.policy.model import RegoVersion
from mandamus.policy.tokens import Text

FILE = ".manifest"

_KNOWN = ("revision", "roots", "wasm", "rego_version", "file_rego_versions", "metadata")
_VERSIONS = {"0": RegoVersion.V0, "1": RegoVersion.V1}
_ROOTS_MAX = 1_000
_ROOT_CHARS_MAX = 1_000
_ALTERNATIVES_MAX = 100
_BRACES = re.compile(r"\{(?:\\.|[^\\{}])*\}|(?:\\.|[^\\{}])+|[{}\\]", re.DOTALL)
_CHOICES = re.compile(r"(?:^|(?<=,))(?:\\.|[^\\,])*", re.DOTALL)
_SIGNS = re.compile(r"\\.|\[!?[^\]]+\]|.", re.DOTALL)
_SPECIAL = re.compile(r"[\\*?\[\]{},!-]")

Trouble = tuple[str, str]
"""A message and a remedy."""


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself; ``roots`` are the paths below ``data`` that it owns, ``""`` all of it."""

    revision: str = ""
    roots: tuple[str, ...] = ("",)
    rego_version: RegoVersion | None = None
    file_versions: Mapping[str, RegoVersion] = field(default_factory=dict)
    """By a pattern of names as they stand in the archive."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Trouble, ...] = ()

    def versions(self, names: Mapping[str, str]) -> tuple[dict[str, RegoVersion], list[Trouble]]:
        """In which Rego a module is written where the manifest says so; ``names`` gives its name in the archive."""
        patterns = [(pattern, _compiled(pattern), version) for pattern, version in self.file_versions.items()]
        found: dict[str, RegoVersion] = {}
        unclear: list[Trouble] = []
        for name, raw in names.items():
            # OPA compares with the name in the archive, which has a slash in front when OPA wrote it.
            hits = {v for _, compiled, v in patterns if compiled.fullmatch(raw) or compiled.fullmatch(f"/{name}")}
            if len(hits) > 1:
                unclear.append((f"file_rego_versions gives two versions for {name}", "let one pattern fit a file"))
            version = next(iter(hits), self.rego_version)
            if version is not None:
                found[name] = version
        return found, unclear

    def outside_of_roots(self, files: Mapping[str, str]) -> Iterator[tuple[str, str, int]]:
        """Every module and data file that gives what the bundle does not own: name, message, line."""
        roots = _Roots(self.roots)
        for name, text in files.items():
            if name.endswith(".rego"):
                package, line = _package(text)
                outside = [] if roots.hold(package) else [package]
            else:
                line, folder = 1, name.split("/")[:-1]
                outside = list(_outside(folder, _data(name, text), roots))
            for path in outside:
                yield name, f"gives data.{'.'.join(path)}, which the manifest's roots do not hold", line


def parse(data: bytes | None) -> Manifest:
    """A manifest with all that is wrong with it; None is a bundle without one, which owns everything."""
    if data is None:
        return Manifest()
    try:
        value = bundle_data.parse_json(data)
    except MandamusError as error:
        return Manifest(problems=((error.message, "write it as one JSON object"),))
    if not isinstance(value, dict):
        return Manifest(problems=(("it is not a JSON object", "write it as one JSON object"),))
    problems: list[Trouble] = [
        (f"{key!r} is read as {key.lower()!r} by OPA", f"write {key.lower()!r}")
        for key in value
        if key not in _KNOWN and key.lower() in _KNOWN
    ]
    if value.get("wasm"):
        problems.append(("it names policy compiled to Wasm", "get the bundle with its Rego"))
    return Manifest(
        revision=_text(value.get("revision"), problems),
        roots=_roots(value.get("roots"), problems),
        rego_version=_version("rego_version", value.get("rego_version"), problems),
        file_versions=_file_versions(value.get("file_rego_versions"), problems),
        metadata=_metadata(value.get("metadata"), problems),
        problems=tuple(problems),
    )


def made(files: Mapping[str, str], revision: str, older: Collection[str]) -> bytes:
    """The manifest of a set; it owns exactly the packages and data that are in it."""
    owned = {tuple(path) for name, text in files.items() for path in _owned(name, text)}
    # A path below another one is that one's already.
    roots = sorted("/".join(path) for path in owned if not any(path[:end] in owned for end in range(len(path))))
    patterns = {"/" + _SPECIAL.sub(lambda sign: f"\\{sign.group()}", name): 0 for name in sorted(older)}
    content = {
        "revision": revision,
        "roots": roots,
        "rego_version": 1,
        **({"file_rego_versions": patterns} if patterns else {}),
    }
    return json.dumps(content, ensure_ascii=False, indent=2).encode() + b"\n"


def _owned(name: str, text: str) -> Iterator[Sequence[str]]:
    """The paths below ``data`` that a file gives, as far as a root can say them: its parts are parted by slashes."""
    folder = name.split("/")[:-1]
    if name.endswith(".rego"):
        paths = [_package(text)[0]]
    else:
        data = _data(name, text)
        paths = [folder] if folder and data else [[key] for key in data]
    for path in paths:
        end = next((index for index, part in enumerate(path) if "/" in part or not part), len(path))
        yield path[:end]


def _package(text: str) -> tuple[list[str], int]:
    scanned = Text(text)
    package, at = scanned.package()
    return list(package), scanned.position(at)[0]


def _data(name: str, text: str) -> Mapping[str, Any]:
    if name.rpartition("/")[2] != "data.json":
        return {}
    try:
        value = canonical.loads(text.encode())
    except MandamusError:
        return {}
    return value if isinstance(value, dict) else {}


def _outside(path: list[str], value: object, roots: _Roots) -> Iterator[list[str]]:
    if roots.hold(path):
        return
    if isinstance(value, dict) and (not path or roots.reach_below(path)):
        for key, item in value.items():
            yield from _outside([*path, key], item, roots)
    elif path:
        yield path


class _Roots:
    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = {_parts(root) for root in roots}
        self._above = {root[:end] for root in self._roots for end in range(len(root))}

    def hold(self, path: Sequence[str]) -> bool:
        """Whether a path is one of the roots or below one."""
        return any(tuple(path[:end]) in self._roots for end in range(len(path) + 1))

    def reach_below(self, path: Sequence[str]) -> bool:
        """Whether a root is below a path."""
        return tuple(path) in self._above

    def overlap(self) -> Iterator[str]:
        """The roots that are above others."""
        return ("/".join(root) for root in sorted(self._roots & self._above))


def _parts(root: str) -> tuple[str, ...]:
    return tuple(root.split("/")) if root else ()


def _text(value: object, problems: list[Trouble]) -> str:
    if value is None or type(value) is str:
        return value or ""
    problems.append(("revision is no text", "put it in quotes"))
    return ""


def _roots(value: object, problems: list[Trouble]) -> tuple[str, ...]:
    if value is None:
        return ("",)
    if not isinstance(value, list) or not all(type(root) is str for root in value):
        problems.append(("roots is no list of texts", 'write ["a/b"]'))
        return ("",)
    if len(value) > _ROOTS_MAX or any(len(root) > _ROOT_CHARS_MAX for root in value):
        problems.append((f"roots are more than {_ROOTS_MAX}, or longer than {_ROOT_CHARS_MAX}", "name fewer"))
        return ("",)
    roots = tuple(root.strip("/") for root in value)
    if len(set(roots)) < len(roots):
        problems.append(("roots names one root twice", "keep one of them"))
    overlapping = [(f"the root {root!r} holds another one", "keep one of them") for root in _Roots(roots).overlap()]
    problems.extend(overlapping)
    return roots


def _version(what: str, value: object, problems: list[Trouble]) -> RegoVersion | None:
    if value is None:
        return None
    version = _VERSIONS.get(value) if isinstance(value, bundle_data.Number) else None
    if version is None:
        problems.append((f"{what} is neither 0 nor 1", "write 0 for Rego v0, 1 for Rego v1"))
    return version


def _file_versions(value: object, problems: list[Trouble]) -> dict[str, RegoVersion]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.append(("file_rego_versions is no object", 'write {"/folder/*": 0}'))
        return {}
    if len(value) > FILES_MAX:
        problems.append((f"file_rego_versions has more than {FILES_MAX} patterns", "write /folder/*"))
        return {}
    found = {}
    for pattern, number in value.items():
        version = _version(f"file_rego_versions of {pattern!r}", number, problems)
        try:
            _compiled(pattern)
        except (ValueError, re.error):
            problems.append((f"the pattern {pattern!r} of file_rego_versions is none", "write a name, or /folder/*"))
            continue
        if version is not None:
            found[pattern] = version
    return found


def _metadata(value: object, problems: list[Trouble]) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.append(("metadata is no object", "write an object"))
        return {}
    plain: Mapping[str, Any] = bundle_data.plain(value)
    return plain


def _compiled(pattern: str) -> re.Pattern[str]:
    """A glob as OPA takes it (gobwas/glob, no separators): ``*`` any text, also slashes; ``?``, ``[a-z]``, ``{a,b}``.

    Raises ``ValueError`` for what is none.
    """
    return re.compile("|".join(_expression(each) for each in _alternatives(pattern)), re.DOTALL)


def _alternatives(pattern: str) -> list[str]:
    """The patterns without braces that one with braces stands for."""
    found = [""]
    for part in _BRACES.findall(pattern):
        choices = _CHOICES.findall(part[1:-1]) if part.startswith("{") else [part]
        found = [each + choice for each in found for choice in choices]
        if len(found) > _ALTERNATIVES_MAX or part in ("{", "}"):
            raise ValueError("the braces are nested, open or too many")
    return found


def _expression(pattern: str) -> str:
    """Each star stops at the first place where the rest up to the next one fits, so that no name takes long."""
    pieces = [[""]]
    for part in _SIGNS.findall(pattern):
        if part == "*":
            pieces.append([""])
        elif part[0] == "[" and len(part) > 1:
            inner = re.escape(part[1:-1].removeprefix("!")).replace(r"\-", "-")
            pieces[-1].append(f"[{'^' if part[1] == '!' else ''}{inner}]")
        elif part == "[":
            raise ValueError("a bracket is open")
        else:
            pieces[-1].append("." if part == "?" else re.escape(part.removeprefix("\\") or part))
    first, *middle = ["".join(piece) for piece in pieces]
    if not middle:
        return first
    return first + "".join(f"(?>.*?{piece})" for piece in middle[:-1]) + ".*" + middle[-1]
