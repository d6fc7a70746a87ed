"""What the text of a module tells without running it: where its blocks stand, and what terraform must install for it.

HCL is searched, not parsed: the answers are hints, and whatever depends on them asks terraform itself in the end.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mandamus.executors.terraform_folder import LOCK, MODULES, Folder, read
from mandamus.kernel.errors import Code, MandamusError

_SUFFIXES = (".tf", ".tofu", ".tf.json", ".tofu.json")
_BLOCK = re.compile(r'^[ \t]*(resource|data)[ \t]+"?([\w-]+)"?[ \t]+"?([\w-]+)"?[ \t]*\{', re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INSTALLS = re.compile(
    r'^[ \t]*(?:(?:module|provider|backend|action|ephemeral)[ \t]+"?\w|(?:cloud|required_providers)[ \t]*\{)'
    r"|\bprovider::",
    re.MULTILINE,
)
_BACKEND = re.compile(r'^[ \t]*"?(?:backend|cloud)"?[ \t]*[:"{]', re.MULTILINE)
_OBJECT = re.compile(r"^[ \t]*(?:resource|data)\b(?![ \t]+\"?terraform_data\"?[ \t])", re.MULTILINE)
_PROVIDER = re.compile(r'^provider\s+"([^"]+)"\s*\{(.*?)^\}', re.MULTILINE | re.DOTALL)
_VERSION = re.compile(r'^\s*version\s*=\s*"([^"]+)"', re.MULTILINE)
_HASH = re.compile(r'"((?:h1|zh):[^"]+)"')


def needs_init(folder: Folder) -> bool:
    """Whether terraform may have to install something before it plans.

    False only for HCL that names nothing but ``terraform_data``; a wrong False costs a second try, nothing else.
    """
    files = list(_files(folder.source / folder.dir))
    if any(path.suffix == ".json" for path in files):
        return True
    texts = [_text(path) for path in files]
    return any(_INSTALLS.search(text) or _OBJECT.search(text) for text in texts)


def has_own_backend(folder: Folder) -> bool:
    """Whether the module seems to say where its state is."""
    return any(_BACKEND.search(_text(path)) for path in _files(folder.source / folder.dir))


def providers(lock_file: bytes | None) -> dict[str, Any]:
    """The lock file's providers: address to version and hashes; raises ``source_invalid`` for one that is not text."""
    try:
        text = (lock_file or b"").decode()
    except UnicodeDecodeError as error:
        remedy = "make it again with `terraform init`, and keep it in the project"
        raise MandamusError(Code.SOURCE_INVALID, f"{LOCK} is not UTF-8", remedy=remedy) from error
    found: dict[str, Any] = {}
    for address, body in _PROVIDER.findall(text):
        version = _VERSION.search(body)
        found[address] = {"version": version.group(1) if version else None, "hashes": sorted(_HASH.findall(body))}
    return found


def sources(folder: Folder) -> dict[tuple[str, str, str, str], str]:
    """``file:line`` of every resource and data block of the project, by module address, mode, type and name."""
    found: dict[tuple[str, str, str, str], str] = {}
    for address, relative in _modules(folder):
        where = posixpath.normpath(posixpath.join(folder.dir, relative))
        if where.startswith("..") or f"{MODULES}/" in where:
            continue
        for path in _files(folder.source / where):
            if path.suffix != ".json":
                for mode, kind, name, line in _blocks(_text(path)):
                    place = f"{PurePosixPath(where, path.name)}:{line}"
                    found.setdefault((address, mode, kind, name), place)
    return found


def _modules(folder: Folder) -> Iterator[tuple[str, str]]:
    """Address and folder, relative to the root module, of each installed module and the root module itself."""
    yield "", "."
    try:
        manifest = json.loads(read(folder.module / MODULES / "modules.json") or b"{}")
        entries = [(entry["Key"], entry["Dir"]) for entry in manifest.get("Modules", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    for key, relative in entries:
        if key:
            yield ".".join(f"module.{name}" for name in key.split(".")), relative


def _blocks(text: str) -> Iterator[tuple[str, str, str, int]]:
    plain = _COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), text)
    line, at = 1, 0
    for block in _BLOCK.finditer(plain):
        start = block.start(1)
        line, at = line + plain.count("\n", at, start), start
        yield "managed" if block.group(1) == "resource" else "data", block.group(2), block.group(3), line


def _files(module: Path) -> list[Path]:
    try:
        return sorted(path for path in module.iterdir() if path.name.endswith(_SUFFIXES) and path.is_file())
    except OSError:
        return []


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
