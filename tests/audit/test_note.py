"""Signed notes, checkpoints and proofs: known vectors, round trips, and every byte that changes is seen."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mandamus.audit import note, proof, tree
from mandamus.audit.signer import Signer, parse_vkey
from mandamus.kernel.errors import Code, MandamusError

# The example of the Go package golang.org/x/mod/sumdb/note.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()


def test_known_note() -> None:
    """A note signed by another implementation verifies, and its key reads and writes the same."""
    verifier = parse_vkey(GO_VKEY)
    assert verifier.vkey == GO_VKEY
    assert note.verify(GO_NOTE, verifier).endswith("what your problem is.\n")


def test_hand_made_checkpoint(signer: Signer) -> None:
    """The bytes are those one gets by hand from the specifications."""
    key = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
    text = f"{signer.name}\n1\n{base64.b64encode(tree.leaf_hash(b'x')).decode()}\n"
    blob = base64.b64encode(signer.verifier.key_id + key.sign(text.encode())).decode()
    expected = f"{text}\n— {signer.name} {blob}\n".encode()
    assert note.sign_checkpoint(signer, 1, tree.leaf_hash(b"x")).note == expected


def test_every_byte_of_a_checkpoint_counts(signer: Signer) -> None:
    """No byte of a checkpoint can change, go or come without being refused."""
    made = note.sign_checkpoint(signer, 1234, tree.leaf_hash(b"x"))
    assert note.read_checkpoint(made.note, signer.verifier) == made
    for at in range(len(made.note)):
        flipped = made.note[:at] + bytes([made.note[at] ^ 1]) + made.note[at + 1 :]
        for changed in (flipped, made.note[:at] + made.note[at + 1 :], made.note[:at] + b"A" + made.note[at:]):
            with pytest.raises(MandamusError) as caught:
                note.read_checkpoint(changed, signer.verifier)
            assert caught.value.code in (Code.AUDIT_TAMPERED, Code.AUDIT_UNTRUSTED)


def test_other_signers_do_not_matter(signer: Signer, platform: Signer) -> None:
    """A second signature does not disturb the first; a note without ours is untrusted, never tampered."""
    text = note.sign_checkpoint(signer, 5, tree.EMPTY_ROOT).note.decode().partition("\n\n")[0] + "\n"
    assert note.read_checkpoint(note.sign(text, platform, signer), signer.verifier).size == 5
    with pytest.raises(MandamusError) as caught:
        note.read_checkpoint(note.sign(text, platform), signer.verifier)
    assert caught.value.code is Code.AUDIT_UNTRUSTED


def test_a_checkpoint_of_another_log_is_untrusted(signer: Signer) -> None:
    """Our key under a text that names another log proves nothing about ours."""
    root = base64.b64encode(tree.EMPTY_ROOT).decode()
    with pytest.raises(MandamusError) as caught:
        note.read_checkpoint(note.sign(f"other.example.com\n0\n{root}\n", signer), signer.verifier)
    assert caught.value.code is Code.AUDIT_UNTRUSTED


@pytest.mark.parametrize("size", ["-1", "01", "+1", "1 ", "", "x"])
def test_sizes_have_one_spelling(signer: Signer, size: str) -> None:
    """The size is a plain decimal number without leading zeros."""
    root = base64.b64encode(tree.EMPTY_ROOT).decode()
    with pytest.raises(MandamusError):
        note.read_checkpoint(note.sign(f"{signer.name}\n{size}\n{root}\n", signer), signer.verifier)


@pytest.mark.parametrize("text", ["", "a+b", "a+00000000+AAAA", GO_VKEY[:-1], GO_VKEY.replace("c74f20a3", "c74f20a4")])
def test_bad_verifier_keys(text: str) -> None:
    """A text that is not a verifier key is untrusted and says what to give."""
    with pytest.raises(MandamusError) as caught:
        parse_vkey(text)
    assert caught.value.code is Code.AUDIT_UNTRUSTED


@pytest.mark.parametrize("name", ["", "with space", "with+plus", "line\n", "x" * 256])
def test_names_that_cannot_be_signed_with(name: str) -> None:
    """A key name fits on a signature line."""
    with pytest.raises(MandamusError):
        Signer(name, b"\x01" * 32)


def test_proofs_are_self_contained(signer: Signer) -> None:
    """A proof verifies with nothing but the log's key, and no byte of it can change."""
    leaves = [b"leaf %d" % number for number in range(11)]
    hashes = [tree.leaf_hash(leaf) for leaf in leaves]
    subtree = proof.subtrees(lambda _level, low, high: hashes[low:high])
    checkpoint = note.sign_checkpoint(signer, 11, tree.root_of(hashes))
    text = proof.write(4, tree.inclusion_proof(4, 11, subtree), checkpoint)
    assert proof.verify(proof.parse(text), leaves[4], signer.verifier) == checkpoint
    for at in range(len(text)):
        changed = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        with pytest.raises(MandamusError):
            proof.verify(proof.parse(changed), leaves[4], signer.verifier)
    with pytest.raises(MandamusError, match="leaf 4"):
        proof.verify(proof.parse(text), leaves[5], signer.verifier)
