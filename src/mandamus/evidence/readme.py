"""The page in a bundle that tells a stranger what it is."""

from __future__ import annotations

_TEXT = """\
This is the evidence of {run}, a run of Mandamus: who asked for what, what it would
change, how policy judged it, who approved it, what was applied, and what came of it.

Verify it offline, with the public key of the log {origin} from a source you trust:
    mandamus evidence verify FILE --trust log.vkey
It says ok, tampered, incomplete or untrusted (exit 0, 10, 11, 12) and names every file that is wrong.

record.tar.xz unpacks to files: events/N.json is event N of the log, events/N.tlog-proof shows it in the signed
checkpoint (c2sp.org/tlog-proof), and the others are those that these events name by digest or signature.
attestations/ says the same in in-toto.
manifest.dsse.json lists every file, signed by the key that event 0 names. So the log's key alone has to be trusted.
"""


def readme(run: str, origin: str) -> bytes:
    """The page, which depends on nothing but its arguments."""
    return _TEXT.format(run=run, origin=origin).encode()
