"""The signed list of a bundle's files, and the seal over the archive that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from mandamus.audit import note
from mandamus.audit.signer import Signer, Verifier
from mandamus.evidence.model import FORMAT
from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Digest

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
OTHER = "it signs something else"


def write(run: str, files: Mapping[str, bytes], signer: Signer) -> dict[str, bytes]:
    """The manifest of these files, and its signature as a signed note."""
    listed = {name: {"sha256": _sha256(data), "size": len(data)} for name, data in files.items()}
    manifest = canonical.dumps({"format": FORMAT, "run": run, "files": listed})
    return {MANIFEST: manifest, SIGNATURE: note.sign(_text("manifest", run, canonical.digest(manifest)), signer)}


def seal(run: str, archive: Digest, signer: Signer) -> bytes:
    """The seal of an archive: a signed note over its digest."""
    return note.sign(_text("seal", run, archive), signer)


def read(data: bytes) -> tuple[str, Mapping[str, Any]]:
    """Run and files of a manifest, nothing verified; raises ``ValueError`` when it is none."""
    try:
        fields = canonical.loads(data)
    except MandamusError as error:
        raise ValueError(error.message) from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ValueError(f"it is not of the format {FORMAT}")
    run, files = fields.get("run"), fields.get("files")
    if not isinstance(run, str) or not isinstance(files, dict):
        raise ValueError("it names no run or no files")  # noqa: TRY004 - one error for every malformed manifest
    return run, files


def fits(data: bytes, listed: object) -> bool:
    """Whether these are the bytes that an entry of the manifest lists."""
    return listed == {"sha256": _sha256(data), "size": len(data)}


def signs(what: str, run: str, digest: Digest | None, signature: bytes, platform: Verifier) -> str:
    """What is wrong with a signature over a ``manifest`` or a ``seal``, or an empty text.

    ``OTHER`` when the signature is sound but not over this run and digest.
    """
    try:
        text = note.verify(signature, platform)
    except MandamusError as error:
        return error.message
    return "" if text == _text(what, run, digest) else OTHER


def _text(what: str, run: str, digest: Digest | None) -> str:
    return f"{FORMAT}\n{what}\n{run}\n{digest}\n"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
