"""The saved plan as one blob: terraform's own plan file and what else the apply must have the same.

A line that names the format, a line with the SHA-256 of the rest, then a POSIX tar with fixed metadata: ``saved.json``
(the fields of ``Saved``), ``plan`` (terraform's plan file) and ``made/...`` (files that planning left in the module's
folder). The blob holds what the plan file holds: values of variables and of the state, secrets among them.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mandamus.executors.model import StateRef
from mandamus.executors.terraform_folder import Made
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError

KIND = "terraform-plan"

_FORMAT = b"mandamus-terraform/1\n"
_DIGEST_CHARS = 64
_ABOUT, _PLAN, _MADE = "saved.json", "plan", "made/"


@dataclass(frozen=True)
class Saved:
    """A plan that waits for its apply.

    ``lock`` names tool, version and providers; ``lock_file`` is the digest of the project's lock file, or None.
    ``state`` is what was planned against. ``secrets`` are values that terraform marks as sensitive, to be kept out of
    output. ``ephemeral`` are the variables terraform wants again at apply. ``steps`` counts what progress will count.
    ``contained`` says that the apply can touch nothing but the state file. ``links`` are the providers that were linked
    from a mirror.
    """

    plan: bytes = field(repr=False)
    lock: Mapping[str, Any]
    lock_file: str | None
    state: StateRef | None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    ephemeral: tuple[str, ...] = ()
    steps: int = 0
    contained: bool = False
    links: Mapping[str, str] = field(default_factory=dict)
    made: tuple[Made, ...] = field(default=(), repr=False)

    @property
    def needs_providers(self) -> bool:
        """Whether terraform must install providers before it can apply."""
        return bool(self.lock["providers"])


def pack(saved: Saved) -> bytes:
    """The blob; the same plan gives the same bytes."""
    about = {name: value for name, value in vars(saved).items() if name not in {"plan", "made"}}
    about["state"] = None if saved.state is None else vars(saved.state)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, _ABOUT, canonical.dumps(about), executable=False)
        _add(tar, _PLAN, saved.plan, executable=False)
        for file in saved.made:
            _add(tar, _MADE + file.name, file.data, executable=file.executable)
    body = out.getvalue()
    return _FORMAT + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unpack(blob: bytes) -> Saved:
    """The plan in a blob; raises ``digest_mismatch`` for any byte that is not as it was packed."""
    head = len(_FORMAT) + _DIGEST_CHARS + 1
    body = blob[head:]
    if blob[:head] != _FORMAT + hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise _altered()
    try:
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as tar:
            members = {member.name: (_content(tar, member), bool(member.mode & 0o100)) for member in tar}
        about = canonical.loads(members.pop(_ABOUT)[0])
        state = about.pop("state")
        return Saved(
            plan=members.pop(_PLAN)[0],
            state=None if state is None else StateRef(**state),
            secrets=tuple(about.pop("secrets")),
            ephemeral=tuple(about.pop("ephemeral")),
            made=tuple(_made(members)),
            **about,
        )
    except (tarfile.TarError, KeyError, TypeError, AttributeError, MandamusError) as error:
        raise _altered() from error


def mentions(plan: bytes, word: bytes) -> bool:
    """Whether a word stands anywhere in the configuration that a plan file carries; True when that cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(plan)) as file:
            names = [name for name in file.namelist() if name.startswith("tfconfig/")]
            return not names or any(word in file.read(name) for name in names)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, zlib.error):
        return True


def _add(tar: tarfile.TarFile, name: str, data: bytes, *, executable: bool) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o755 if executable else 0o644
    tar.addfile(info, io.BytesIO(data))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isreg() else None
    if file is None:
        raise _altered()
    return file.read()


def _made(members: Mapping[str, tuple[bytes, bool]]) -> Iterator[Made]:
    for name, (data, executable) in members.items():
        plain = name.removeprefix(_MADE)
        if plain == name or any(part in {"", ".", ".."} for part in plain.split("/")):
            raise _altered()
        yield Made(plain, data, executable)


def _altered() -> MandamusError:
    return MandamusError(
        Code.DIGEST_MISMATCH,
        "the saved plan is not the one that was made",
        remedy="`mandamus runs retry RUN` plans it again",
    )
