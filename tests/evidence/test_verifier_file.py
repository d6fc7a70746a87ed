"""The single-file verifier: one file beside `cryptography`, on a machine that does not have the product."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from importlib.metadata import files
from pathlib import Path

import pytest

from mandamus.audit import proofs
from mandamus.audit.source import Folder
from mandamus.audit.trust import parse_trust

ROOT = Path(__file__).parents[2]
PACKAGES = ("cryptography", "cffi", "pycparser")


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verifier") / "mandamus-verify.pyz"
    built = subprocess.run([sys.executable, ROOT / "tools/verifier.py", "-o", path], capture_output=True, check=False)
    assert built.returncode == 0, built.stderr
    return path


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has `cryptography` with what that needs, and no other package."""
    folder = tmp_path_factory.mktemp("stranger")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for package in PACKAGES:
        found = [path for path in files(package) or () if not path.parts[0].startswith("..")]
        for top in {path.parts[0]: path for path in found}:
            (packages / top).symlink_to(Path(str(found[0].locate())).parents[len(found[0].parts) - 1] / top)
    interpreter = folder / "bin/python"
    alone = subprocess.run([interpreter, "-I", "-c", "import cryptography, mandamus"], capture_output=True, check=False)
    assert b"No module named 'mandamus'" in alone.stderr
    return interpreter


@pytest.fixture
def stranger(python: Path, verifier: Path, tmp_path: Path):
    """Run the verifier with an empty environment."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [python, "-I", verifier, *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)

    return run


def test_one_file_verifies_log_proof_and_evidence(stranger, room, governed, sealed, tmp_path: Path) -> None:
    """Each is ok as it is, tampered when a byte differs, untrusted under another key; the exit codes are the same."""
    bundle = tmp_path / "proof.zip"
    bundle.write_bytes(sealed(governed))
    room.audit.flush()
    log, trust = room.audit.folder, room.audit.vkey
    made = proofs.prove(Folder(log), parse_trust(trust), 3)
    (tmp_path / "3.tlog-proof").write_bytes(made.proof)
    (tmp_path / "3.json").write_bytes(made.leaf)
    calls = {
        "log": ("log", log, "--procs", 2),
        "proof": ("proof", "3.tlog-proof", "--leaf", "3.json"),
        "evidence": ("evidence", bundle),
    }
    for words in calls.values():
        done = stranger(*words, "--trust", trust)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert ": ok, " in done.stdout
        assert stranger(*words, "--trust", trust.replace("log", "gol")).returncode == 12
    entries = max(log.glob("tile/entries/000.p/*"), key=lambda path: int(path.name))
    for path in (tmp_path / "3.json", bundle, entries):
        data = path.read_bytes()
        path.write_bytes(data.replace(b"ada", b"eve", 1) if b"ada" in data else data[:900] + b"!" + data[901:])
    for name, words in calls.items():
        done = stranger(*words, "--trust", trust, "--json")
        assert (done.returncode, json.loads(done.stdout)["outcome"]) == (10, "tampered"), name


def test_a_state_is_kept_between_calls(stranger, room, governed, sealed, tmp_path: Path) -> None:
    """The second verification builds on the first; a call that says nothing of trust is refused."""
    sealed(governed)
    room.audit.flush()
    words = ("log", room.audit.folder, "--trust", room.audit.vkey, "--state", "state.json", "--json")
    first, second = (json.loads(stranger(*words).stdout) for _ in range(2))
    assert (first["since"], second["since"]) == (0, first["size"])
    assert stranger("log", room.audit.folder).returncode == 2
    assert stranger("proof", "nothing", "--leaf", "nothing", "--trust", room.audit.vkey).returncode == 2


def test_the_same_sources_give_the_same_file(verifier: Path, tmp_path: Path) -> None:
    """Anybody can build it again and compare."""
    again = tmp_path / "again.pyz"
    subprocess.run([sys.executable, ROOT / "tools/verifier.py", "-o", again], capture_output=True, check=True)
    assert again.read_bytes() == verifier.read_bytes()
