"""Prints one package of uv.lock as a pip requirement with its hashes: the lock stays the only place of a version."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirement(lock: Path, name: str) -> str:
    """``name==version`` with the hash of every locked file, in pip's requirements format."""
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    found = next((package for package in packages if package["name"] == name), None)
    if found is None:
        sys.exit(f"{lock} has no package {name}")
    files = [*found.get("wheels", []), *([found["sdist"]] if "sdist" in found else [])]
    return " ".join([f"{name}=={found['version']}", *(f"--hash={file['hash']}" for file in files)])


if __name__ == "__main__":
    print(requirement(Path(sys.argv[1]), sys.argv[2]))
