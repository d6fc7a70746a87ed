"""The signed list of a bundle's files, and the seal over the archive that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mandamus.audit import note
from mandamus.audit.signer import Signer, Verifier
from mandamus.evidence import dsse
from mandamus.evidence.model import FORMAT, OLD_FORMAT
from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest

MANIFEST = "manifest.dsse.json"
MEDIA_TYPE = "application/vnd.mandamus.evidence-manifest+json"


@dataclass(frozen=True)
class Manifest:
    """What a manifest says: the bundle's format, its run, and each file with SHA-256 (hex) and size."""

    format: str = FORMAT
    run: str = ""
    files: Mapping[str, Any] = field(default_factory=dict)


def write(run: str, files: Mapping[str, bytes], signer: Signer) -> dict[str, bytes]:
    """The manifest of these files, signed."""
    listed = {name: {"sha256": _sha256(data), "size": len(data)} for name, data in files.items()}
    manifest = canonical.dumps({"format": FORMAT, "run": run, "files": listed})
    return {MANIFEST: dsse.sign(MEDIA_TYPE, manifest, signer)}


def seal(run: str, archive: Digest, signer: Signer) -> bytes:
    """The seal of an archive: a signed note over its digest."""
    return note.sign(_text(Manifest(run=run), archive), signer)


def read(data: bytes, platform: Verifier | None) -> Manifest:
    """The manifest in a file; without the platform's key nothing is verified.

    Raises ``ValueError`` when it is none, or not signed by that key.
    """
    payload = dsse.read(data, MEDIA_TYPE) if platform is None else dsse.verify(data, MEDIA_TYPE, platform)
    try:
        fields = canonical.loads(payload)
    except MandamusError as error:
        raise ValueError(error.message) from error
    if not isinstance(fields, dict) or fields.get("format") not in (FORMAT, OLD_FORMAT):
        raise ValueError(f"it is neither of the format {FORMAT} nor of {OLD_FORMAT}")
    run, files = fields.get("run"), fields.get("files")
    if not isinstance(run, str) or not isinstance(files, dict):
        raise ValueError("it names no run or no files")  # noqa: TRY004 - one error for every malformed manifest
    return Manifest(fields["format"], run, files)


def fits(data: bytes, listed: object) -> bool:
    """Whether these are the bytes that an entry of the manifest lists."""
    return listed == {"sha256": _sha256(data), "size": len(data)}


def seals(manifest: Manifest, archive: Digest | None, comment: bytes, platform: Verifier) -> str:
    """What is wrong with an archive's seal, or an empty text."""
    try:
        text = note.verify(comment, platform)
    except MandamusError as error:
        return error.message
    return "" if text == _text(manifest, archive) else "it seals something else"


def _text(manifest: Manifest, archive: Digest | None) -> str:
    return f"{manifest.format}\nseal\n{manifest.run}\n{archive}\n"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
