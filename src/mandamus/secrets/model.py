"""Where a secret's value is found; never the value itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SecretRef:
    """One of two: ``env``, a variable of the process that serves the home, or ``file``, an absolute path."""

    env: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        """Refuse a reference to nothing or to two places."""
        if bool(self.env) == bool(self.file):
            raise AssertionError("a secret reference names exactly one of env and file")

    def __str__(self) -> str:
        return f"variable {self.env}" if self.env else f"file {self.file}"

    def to_json(self) -> dict[str, str]:
        """``{"env": NAME}`` or ``{"file": PATH}``."""
        return {"env": self.env} if self.env else {"file": self.file}


def from_json(value: Mapping[str, str]) -> SecretRef:
    """The inverse of ``to_json``."""
    return SecretRef(env=value.get("env", ""), file=value.get("file", ""))
