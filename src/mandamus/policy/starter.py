"""The starter policy set that comes with the package: Rego, data and tests under ``starter/``, to be copied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mandamus.kernel.errors import Code, MandamusError

FOLDER = Path(__file__).parent / "starter"
_SUFFIXES = (".rego", ".json")


def files() -> Mapping[str, str]:
    """Every file of the set, by its path in it."""
    found = (path for path in sorted(FOLDER.rglob("*")) if path.suffix in _SUFFIXES)
    return {path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in found}


def write(folder: Path) -> list[Path]:
    """Write the set into a folder and give the files; raises ``conflict``, and writes nothing, when one is there."""
    made = files()
    there = [path for path in made if (folder / path).exists() or (folder / path).is_symlink()]
    if there:
        raise MandamusError(
            Code.CONFLICT,
            f"{folder} already has {', '.join(there[:3])}" + (f" and {len(there) - 3} more" if len(there) > 3 else ""),
            remedy="name another folder, and compare the two with a tool of yours",
            context={"files": there},
        )
    written = []
    for path, text in made.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        written.append(target)
    return written
