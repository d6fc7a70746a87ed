"""The blob store keeps bytes under their digest, unreadable to whoever only has the files."""

import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest
from mandamus.store.blobs import Blobs
from mandamus.store.keys import Keys


@given(data=st.binary(max_size=4096))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_goes_in_comes_out(blobs: Blobs, data: bytes):
    """Any bytes come back, under the digest of the plain bytes."""
    digest = blobs.put(data)
    assert digest == canonical.digest(data)
    assert blobs.get(digest) == data
    assert blobs.has(digest)


def test_files_do_not_show_the_bytes(blobs: Blobs, home):
    """What lies on disk does not contain the plain bytes."""
    blobs.put(b"a secret plan of ours")
    files = [path for path in (home / "blobs").rglob("*") if path.is_file()]
    assert len(files) == 1
    assert b"secret" not in files[0].read_bytes()


def test_a_changed_byte_is_found(blobs: Blobs, home):
    """Any change of the stored file is `blob_corrupt`."""
    digest = blobs.put(b"plan")
    (path,) = [path for path in (home / "blobs").rglob("*") if path.is_file()]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(MandamusError) as caught:
        blobs.get(digest)
    assert caught.value.code is Code.BLOB_CORRUPT


def test_a_swapped_file_is_found(blobs: Blobs, home):
    """A blob moved under another blob's name is refused: the digest is part of what is sealed."""
    one, two = blobs.put(b"one"), blobs.put(b"two")
    name = {digest: next((home / "blobs").rglob(digest.removeprefix("sha256:"))) for digest in (one, two)}
    name[one].write_bytes(name[two].read_bytes())
    with pytest.raises(MandamusError) as caught:
        blobs.get(one)
    assert caught.value.code is Code.BLOB_CORRUPT


@pytest.mark.parametrize("text", ["", "sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 64])
def test_only_digests_become_paths(blobs: Blobs, text: str):
    """Nothing but a well-formed digest ever reaches the file system."""
    with pytest.raises(MandamusError) as caught:
        blobs.get(Digest(text))
    assert caught.value.code is Code.ID_INVALID


def test_a_missing_blob_says_so(blobs: Blobs):
    """A digest nobody stored is `blob_missing`."""
    with pytest.raises(MandamusError) as caught:
        blobs.get(canonical.digest(b"never stored"))
    assert caught.value.code is Code.BLOB_MISSING


def test_keys_are_private_and_stay(keys: Keys, home, entropy):
    """A key file is 0600, is made once, and one that others can read is refused."""
    first = keys.key("blobs")
    path = home / "keys" / "blobs"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keys(home / "keys", entropy).key("blobs") == first
    path.chmod(0o644)
    with pytest.raises(MandamusError) as caught:
        keys.key("blobs")
    assert caught.value.code is Code.HOME_INVALID
