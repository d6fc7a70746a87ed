"""Signed bundles: a set is used only as whoever holds the key has signed it, file by file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy import bundle_data, signature, tarball
from mandamus.policy.bundle import Tree
from mandamus.policy.signature import ANY, Key, SigningKey

FILES = {"plan/a.rego": "package mandamus.plan\n", "data.json": '{"b": 1.0, "a": [2, "<é>"]}\n'}
SECRET = b"a secret of more than thirty-two bytes"
PRIVATE: dict[str, Any] = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
    "secret": SECRET,
}
KINDS = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

Change = Callable[[dict[str, bytes]], None]


def private(algorithm: str) -> Any:
    return PRIVATE[KINDS.get(algorithm) or ("secret" if algorithm.startswith("HS") else "RSA")]


def public(algorithm: str) -> Any:
    key = private(algorithm)
    return key if isinstance(key, bytes) else key.public_key()


def signing(algorithm: str = "ES256", scope: str = "") -> SigningKey:
    return SigningKey(private(algorithm), algorithm, "ops", scope)


def keys(algorithm: str = "ES256", scope: str = "") -> dict[str, Key]:
    return {"ops": Key(public(algorithm), (algorithm,), scope)}


@pytest.fixture
def signed(tmp_path: Path) -> Callable[..., Path]:
    """A signed bundle, with its files changed after it was signed."""

    def made(change: Change = lambda _: None, key: SigningKey | None = None) -> Path:
        data = tarball.packed(Tree(Path("p"), FILES, ()), revision="r", sign=key or signing())
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
            files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        change(files)
        changed = io.BytesIO()
        with tarfile.open(fileobj=changed, mode="w") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        path = tmp_path / "signed.tar.gz"
        path.write_bytes(gzip.compress(changed.getvalue()))
        return path

    return made


def problems(path: Path, given: Mapping[str, Key] | None) -> str:
    found = tarball.examine(path, given)
    assert found.tree.problems
    assert not found.tree.files
    return "\n".join(map(str, found.tree.problems))


def encoded(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def resigned(files: dict[str, bytes], payload: object, header: Mapping[str, object] | None = None) -> None:
    """Put a signature by the right key over another payload."""
    text = f"{encoded({'alg': 'ES256', 'kid': 'ops', **(header or {})})}.{encoded(payload)}"
    token = f"{text}.{encoded(signature._signature(signing(), text.encode()))}"
    files["/.signatures.json"] = json.dumps({"signatures": [token]}).encode()


def listed(files: Mapping[str, bytes], algorithm: str = "SHA-256", **more: object) -> dict[str, object]:
    names = [name for name in files if name != "/.signatures.json"]
    entries = [
        {"name": name[1:], "hash": signature.file_hash(name, files[name], "SHA-256"), "algorithm": algorithm}
        for name in names
    ]
    return {"files": entries, **more}


@pytest.mark.parametrize("algorithm", signature.ALGORITHMS)
def test_what_is_signed_is_verified(signed: Callable[..., Path], algorithm: str):
    """Each algorithm signs and verifies; another key of its kind does not."""
    path = signed(key=signing(algorithm, "prod"))
    found = tarball.examine(path, keys(algorithm, "prod"))
    assert found.tree.problems == ()
    assert found.tree.files == FILES
    assert found.signed_by == "ops"
    other: Any = b"another secret"
    if algorithm not in ("HS256", "HS384", "HS512"):
        made = private(algorithm)
        curve = getattr(made, "curve", None)
        other = ec.generate_private_key(curve) if curve else rsa.generate_private_key(65537, 2048)
        other = other.public_key()
    assert "not by the key 'ops'" in problems(path, {"ops": Key(other, (algorithm,), "prod")})


def test_signatures_of_the_standard_are_verified():
    """The example of RFC 7515, appendix A.3 (ES256), which none of our code made."""
    numbers = [
        int.from_bytes(base64.urlsafe_b64decode(text + "="), "big")
        for text in ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
    ]
    key = ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key()
    text = (
        b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        b"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    )
    given = base64.urlsafe_b64decode(
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q=="
    )
    assert signature._verifies(key, "ES256", text, given)
    assert not signature._verifies(key, "ES256", text + b"x", given)
    assert not signature._verifies(key, "ES256", text, given[:-1])


def test_a_signed_set_is_always_the_same_bytes():
    """Signing draws nothing at random."""
    made = {tarball.packed(Tree(Path("p"), FILES, ()), revision="r", sign=signing()) for _ in range(3)}
    assert len(made) == 1


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("data.json", b'\n{"b": [1, 1.50, 1e5, -0, 12345678901234567890123],\n "a": {"y": null, "x": "<&>"}}',
         '{"a":{"x":"<&>","y":null},"b":[1,1.50,1e5,-0,12345678901234567890123]}'),
        ("data.json", b'"\\u00e9\\u2028\\b\\f\\n\\u0001\\u007f/\\/"', '"é\\u2028\\b\\f\\n\\u0001\x7f//"'),
        ("data.yaml", b"b: [1, 1.50, 1.5e-9, 1e21, 100.0, true, ~]\na: 'no'\n",
         '{"a":"no","b":[1,1.5,1.5e-9,1e+21,100,true,null]}'),
        (".manifest", b'{"roots": [], "revision": ""}', '{"revision":"","roots":[]}'),
    ],
)  # fmt: skip
def test_data_is_hashed_in_its_form(name: str, content: bytes, form: str):
    """White space and the order of keys do not count; numbers stand as they are written, and Go escapes two signs."""
    assert bundle_data.hashed_form(name, content) == form.encode()
    wanted = hashlib.sha512(form.encode()).hexdigest()
    assert signature.file_hash(f"x/{name}", content, "SHA-512") == wanted


@pytest.mark.parametrize("name", ["a.rego", "data.yml", "x.json", "data.json.txt"])
def test_other_files_are_hashed_as_they_are(name: str):
    """Every byte of a file that OPA takes for no structured one counts."""
    assert signature.file_hash(name, b"{ }", "SHA-256") == hashlib.sha256(b"{ }").hexdigest()


def test_white_space_in_data_may_change(signed: Callable[..., Path]):
    """Data written anew is the same data."""
    path = signed(lambda files: files.update({"/data.json": b'{"a":[2,"<\\u00e9>"],"b":1.0}'}))
    assert tarball.examine(path, keys()).tree.problems == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: files.update({"/plan/a.rego": b"package mandamus.plan\n "}), "its hash is another"),
        (lambda files: files.update({"/data.json": b'{"b": 1, "a": [2, "<\\u00e9>"]}'}), "its hash is another"),
        (lambda files: files.update({"/.manifest": b'{"revision": "x"}'}), "its hash is another"),
        (lambda files: files.update({"/b.rego": b"package b\n"}), "is not in the list"),
        (lambda files: files.update({"/README": b"hello"}), "is not in the list"),
        (lambda files: files.pop("/plan/a.rego"), "is not there"),
        (lambda files: files.pop("/.manifest"), "is not there"),
        (lambda files: files.pop("/.signatures.json"), "is not signed"),
        (lambda files: files.update({"/.signatures.json": b"{}"}), "exactly one"),
        (lambda files: files.update({"/.signatures.json": b"\xff"}), "UTF-8"),
        (lambda files: files.update({"/.signatures.json": b'{"signatures": ["a.b"]}'}), "three parts"),
        (lambda files: files.update({"/.signatures.json": b'{"signatures": ["a=.b.c"]}'}), "base64url"),
        (lambda files: files.update({"/.signatures.json": b'{"plugin": "x", "signatures": ["a"]}'}), "plugin"),
        (lambda files: resigned(files, listed(files, "MD5")), "MD5"),
        (lambda files: resigned(files, listed(files, "SHA-1")), "SHA-1"),
        (lambda files: resigned(files, listed(files, "SHA-257")), "not trusted"),
        (lambda files: resigned(files, listed(files, scope="prod")), "scope"),
        (lambda files: resigned(files, listed(files), {"kid": "eve"}), "'eve', which is not trusted"),
        (lambda files: resigned(files, listed(files), {"alg": "none"}), "'none'"),
        (lambda files: resigned(files, listed(files), {"alg": "HS256"}), "'HS256'"),
        (lambda files: resigned(files, listed(files), {"alg": ["ES256"]}), "'ES256'"),
        (lambda files: resigned(files, listed(files), {"crit": ["exp"]}), "demands"),
        (lambda files: resigned(files, listed(files), {"b64": False}), "demands"),
        (lambda files: resigned(files, {"files": []}), "lists no file"),
        (lambda files: resigned(files, {"files": {}}), "lists no file"),
        (lambda files: resigned(files, {"files": [1]}), "list of files"),
        (lambda files: resigned(files, {"files": [{"name": "a"}]}), "list of files"),
        (lambda files: resigned(files, {"files": listed(files)["files"] * 2}), "twice"),  # type: ignore[operator]
        (lambda files: resigned(files, []), "no JSON object"),
    ],
)  # fmt: skip
def test_a_bundle_that_is_not_as_signed_is_refused(signed: Callable[..., Path], change: Change, words: str):
    """Any other file, list, header or signature refuses the whole bundle and says why."""
    assert words in problems(signed(change), keys())


def test_keys_and_signatures_belong_together(signed: Callable[..., Path]):
    """A signature that nobody checks is worth nothing, and so is a key without a signature."""
    assert "no key is given" in problems(signed(), None)
    assert "not trusted" in problems(signed(), {})
    assert "not trusted" in problems(signed(), {"others": keys()["ops"]})
    assert tarball.examine(signed(), {ANY: keys()["ops"]}).signed_by == "ops"


def test_a_claim_names_the_key_where_the_header_does_not(signed: Callable[..., Path]):
    """OPA's older ``keyid`` claim is read as well."""
    path = signed(lambda files: resigned(files, listed(files, keyid="ops"), {"kid": ""}))
    assert tarball.examine(path, keys()).signed_by == "ops"


def written(path: Path, key: Any, *, secret: bool = True) -> Path:
    if secret:
        form, cipher = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, cipher))
    else:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return path


@pytest.mark.parametrize(("kind", "algorithm"), [("P-256", "ES256"), ("P-521", "ES512"), ("RSA", "RS256")])
def test_keys_are_read_from_files(tmp_path: Path, kind: str, algorithm: str):
    """A key in PEM knows what it is for; a public key verifies the algorithms of its kind, or the one that is asked."""
    made = signature.read_signing_key(written(tmp_path / "key", PRIVATE[kind]), "ops")
    assert (made.algorithm, made.id) == (algorithm, "ops")
    path = written(tmp_path / "pub", PRIVATE[kind], secret=False)
    assert algorithm in signature.read_key(path).algorithms
    assert signature.read_key(path, algorithm).algorithms == (algorithm,)


def test_a_key_is_used_for_what_it_is(tmp_path: Path):
    """A public key is no secret, a secret no public key, and weak, foreign or unreadable keys are none."""
    pub = written(tmp_path / "pub", PRIVATE["P-256"], secret=False)
    priv = written(tmp_path / "priv", PRIVATE["P-256"])
    weak = written(tmp_path / "weak", rsa.generate_private_key(65537, 1024), secret=False)  # noqa: S505 - on purpose
    foreign = written(tmp_path / "foreign", ed25519.Ed25519PrivateKey.generate(), secret=False)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "secret").write_bytes(SECRET)
    for path, algorithm in [
        (pub, "HS256"), (pub, "RS256"), (pub, "none"), (priv, ""), (weak, ""), (foreign, ""),
        (tmp_path / "empty", "HS256"), (tmp_path / "secret", ""), (tmp_path / "missing", ""), (tmp_path, ""),
    ]:  # fmt: skip
        with pytest.raises(MandamusError) as caught:
            signature.read_key(path, algorithm)
        assert caught.value.code is Code.VALUE_INVALID
        assert str(path) in caught.value.message
    with pytest.raises(MandamusError):
        signature.read_signing_key(pub, "ops")
    assert signature.read_key(tmp_path / "secret", "HS256") == Key(SECRET, ("HS256",))
