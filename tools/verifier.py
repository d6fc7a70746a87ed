"""Builds the single-file verifier: the modules that verify, and nothing that needs more than `cryptography`.

Usage: python tools/verifier.py -o mandamus-verify.pyz
"""

from __future__ import annotations

import argparse
import ast
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = Path(__file__).with_name("verifier_main.py")
ALLOWED = frozenset({"cryptography"})
"""What may be imported beside the standard library and our own modules."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_SHEBANG = b"#!/usr/bin/env python3\n"


def main() -> int:
    """Write the file; the same sources give the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", dest="file", type=Path, default=Path("mandamus-verify.pyz"))
    file = parser.parse_args().file
    modules = needed()
    outside = {name for path in (PROGRAM, *modules.values()) for name in foreign(path)} - ALLOWED
    if outside:
        print(f"the verifier would need {', '.join(sorted(outside))}", file=sys.stderr)
        return 1
    with file.open("wb") as stream:
        stream.write(_SHEBANG)
        with zipfile.ZipFile(stream, "w") as made:
            _add(made, "__main__.py", PROGRAM)
            for name, path in sorted(modules.items()):
                _add(made, name, path)
    file.chmod(0o755)
    print(f"{file}: {len(modules)} modules, {file.stat().st_size} bytes")
    return 0


def needed() -> dict[str, Path]:
    """The modules of ours that the program imports, and those that they import, by their path in the archive."""
    found: dict[str, Path] = {}
    waiting = [PROGRAM]
    while waiting:
        for name in imports(waiting.pop()):
            for path in _files(name):
                place = path.relative_to(ROOT / "src").as_posix()
                if place not in found:
                    found[place] = path
                    waiting.append(path)
    return found


def foreign(path: Path) -> set[str]:
    """The packages a file imports that are neither ours nor in the standard library."""
    return {top for name in imports(path) if (top := name.partition(".")[0]) not in sys.stdlib_module_names} - {
        "mandamus"
    }


def imports(path: Path) -> Iterator[str]:
    """The dotted names a file imports; what is only for type checkers is left out."""
    for node in _runs(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _runs(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _runs(child)


def _files(name: str) -> Iterator[Path]:
    """The files behind a dotted name of ours: its packages, and the module it names or is a part of."""
    parts = name.split(".")
    if parts[0] != "mandamus":
        return
    for count in range(1, len(parts) + 1):
        base = (ROOT / "src").joinpath(*parts[:count])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                yield path


def _add(made: zipfile.ZipFile, name: str, path: Path) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
    made.writestr(info, path.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
