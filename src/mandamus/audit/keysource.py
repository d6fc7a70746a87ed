"""Where a private key comes from when it is no file of the home: a text in the environment, or a command for a KMS."""

from __future__ import annotations

import base64
import binascii
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from mandamus.audit.signer import PrivateKey, SeedKey, Verifier
from mandamus.kernel.errors import Code, MandamusError

_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)
_STDERR_SHOWN = 200


def keys_in(text: str, where: str) -> list[PrivateKey]:
    """The Ed25519 keys in a text: PEM blocks (PKCS 8), or base64 of 32-byte seeds with white space between.

    ``where`` names the place in messages; the text itself is never shown. Raises ``value_invalid``.
    """
    blocks = _PEM.findall(text)
    rest = _PEM.sub(" ", text).split()
    return [_from_pem(block, where) for block in blocks] + [_from_base64(word, where) for word in rest]


def _from_pem(block: str, where: str) -> PrivateKey:
    try:
        key = load_pem_private_key(block.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(where)
    return SeedKey(key.private_bytes_raw())


def _from_base64(word: str, where: str) -> PrivateKey:
    try:
        seed = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        seed = b""
    if len(seed) != 32:
        raise _no_key(where)
    return SeedKey(seed)


def _no_key(where: str) -> MandamusError:
    # Not chained and nothing quoted: an error of the parser may carry a piece of the key.
    return MandamusError(
        Code.VALUE_INVALID,
        f"{where} holds something that is no Ed25519 private key",
        remedy="give PEM as `openssl genpkey -algorithm ed25519` writes it, or base64 of a 32-byte seed",
    )


def commands_in(text: str) -> list[list[str]]:
    """The commands of a setting, one on each line, each as words; quotes keep words together, and there is no shell."""
    try:
        return [words for words in (shlex.split(line) for line in text.splitlines()) if words]
    except ValueError as error:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"a key command cannot be taken apart into words: {error}",
            remedy="close every quote; docs/how-to/keep-and-rotate-keys.md shows a command",
        ) from error


class CommandKey:
    """A key that a program uses for us: it signs what it reads, and with ``--public`` tells its public key.

    The program answers in text: base64 of the 64-byte signature; base64 of the 32-byte public key, or PEM. It gets the
    bytes to sign on its standard input and no secret of ours in its environment. What it signs is checked before it
    is used: a signature that does not fit never leaves this class. Errors are ``audit_unavailable``.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], timeout_s: float) -> None:
        self._argv = tuple(argv)
        self._environ = dict(environ)
        self._timeout_s = timeout_s
        self.public = self._public(self._run("--public", data=b""))
        self._verifier = Verifier(self._argv[0], self.public)

    def sign(self, data: bytes) -> bytes:
        """The signature over the bytes, once it was found to fit."""
        try:
            made = base64.b64decode(self._run(data=data).strip(), validate=True)
        except (binascii.Error, ValueError):
            made = b""
        if not self._verifier.verify(made, data):
            raise self._trouble("gave no signature by the public key that it told before")
        return made

    def _public(self, told: bytes) -> bytes:
        try:
            if told.lstrip().startswith(b"-----BEGIN"):
                key = load_pem_public_key(told)
                raw = key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else b""
            else:
                raw = base64.b64decode(told.strip(), validate=True)
        except (binascii.Error, ValueError, UnsupportedAlgorithm):
            raw = b""
        if len(raw) != 32:
            raise self._trouble("did not tell an Ed25519 public key for --public")
        return raw

    def _run(self, *further: str, data: bytes) -> bytes:
        try:
            process = subprocess.Popen(
                [*self._argv, *further],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environ,
                start_new_session=True,
            )
        except OSError as error:
            raise self._trouble(f"cannot be started: {error.strerror}") from error
        with process:
            try:
                out, err = process.communicate(data, timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                # The whole group: a child of the program would keep the pipes open, and us waiting.
                os.killpg(process.pid, signal.SIGKILL)
                raise self._trouble(f"did not answer within {self._timeout_s:g} s") from None
        if process.returncode:
            said = "".join(c if c.isprintable() else " " for c in err.decode(errors="replace").strip()[-_STDERR_SHOWN:])
            raise self._trouble(f"ended with {process.returncode}: {said or 'it said nothing'}")
        return out

    def _trouble(self, what: str) -> MandamusError:
        return MandamusError(
            Code.AUDIT_UNAVAILABLE,
            f"the key command {self._argv[0]} {what}",
            remedy="run it by hand with --public; nothing is signed, and so nothing applied, until it answers",
            context={"command": self._argv[0]},
            retryable=True,
        )
