"""An anchor that is a timestamp server (RFC 3161): it proves when a checkpoint was there; a folder keeps the proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509

from mandamus.audit import timestamp
from mandamus.audit.anchor import Anchored, Kept, trouble
from mandamus.audit.anchor_folder import FolderAnchor
from mandamus.audit.model import Checkpoint
from mandamus.audit.post import Answer
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import Entropy

TIMEOUT_S = 30.0
SUFFIX = ".tsr"
_QUERY_TYPE = "application/timestamp-query"
_NONCE_BYTES = 8

Post = Callable[[str, bytes, float, str], Answer]
"""``(URL, body, seconds, content type) -> answer``; raises ``audit_unavailable``."""


class TimestampAnchor:
    """Beside each checkpoint in the folder stands what the server answered, so that `openssl ts` can verify it, too."""

    kind = "rfc3161"

    def __init__(self, url: str, folder: Path, roots: Path, post: Post, entropy: Entropy) -> None:
        self._url = url
        self._files = FolderAnchor(folder, entropy)
        self._roots = roots
        self._post = post
        self._entropy = entropy

    def put(self, checkpoint: Checkpoint) -> Anchored:
        """See `Anchor.put`."""
        place = self._files.path_of(checkpoint.origin, checkpoint.size)
        proof = place.with_suffix(SUFFIX)
        if proof.is_file():
            return Anchored(str(proof), proof.read_bytes())
        self._files.put(checkpoint)
        # What is there may be of an earlier attempt, with other signatures: that is what is stamped.
        data = place.read_bytes()
        nonce = int.from_bytes(self._entropy(_NONCE_BYTES), "big")
        answer = self._post(self._url, timestamp.request(data, nonce), TIMEOUT_S, _QUERY_TYPE)
        if answer.status != 200:
            raise trouble(self._url, f"it answers {answer.status}")
        timestamp.verify(answer.body, data, self._trusted(), nonce)
        self._files.write(proof, answer.body)
        return Anchored(str(proof), answer.body)

    def kept(self, origin: str) -> Iterator[Kept]:
        """See `Anchor.kept`; each must have a timestamp that a trusted root stands behind."""
        roots = self._trusted()
        for each in self._files.kept(origin):
            proof = Path(each.place).with_suffix(SUFFIX)
            # Without an answer beside it: of an attempt that failed. What stands there still has to fit the log.
            yield Kept(str(proof), each.note, _wrong(proof, each.note, roots)) if proof.is_file() else each

    def _trusted(self) -> list[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(self._roots.read_bytes())
        except (OSError, ValueError) as error:
            raise trouble(self._url, f"{self._roots} is no readable file of certificates") from error


def _wrong(proof: Path, data: bytes, roots: list[x509.Certificate]) -> str:
    try:
        timestamp.verify(proof.read_bytes(), data, roots)
    except MandamusError as error:
        return error.message
    return ""
