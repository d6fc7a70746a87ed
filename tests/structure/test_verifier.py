"""What the single-file verifier is made of stays small: the standard library, `cryptography`, and pure modules."""

from __future__ import annotations

import importlib.util

import pytest

NEVER = {"sqlite3", "subprocess", "multiprocessing.connection", "ctypes", "pickle", "importlib"}
"""What no module of it may import by itself: no database, no other program, no code from elsewhere."""


@pytest.fixture(scope="module")
def verifier(root):
    """``tools/verifier.py``."""
    spec = importlib.util.spec_from_file_location("verifier", root / "tools" / "verifier.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_verifier_needs_cryptography_alone(verifier):
    """Every module of it imports our own, the standard library and `cryptography`."""
    used = {name: verifier.foreign(path) for name, path in verifier.needed().items()}
    assert {name: found for name, found in used.items() if not found <= {"cryptography"}} == {}
    assert [name for name, found in used.items() if found] == ["mandamus/audit/signer.py"]


def test_the_verifier_holds_no_room(verifier):
    """Services, stores and commands are no part of it, nor is what could reach a database or another program."""
    modules = verifier.needed()
    assert {name.split("/")[1] for name in modules if name.count("/") > 1} == {"audit", "evidence", "kernel"}
    assert [name for name in modules if name.endswith(("service.py", "store.py", "integrator.py"))] == []
    imported = {name: set(verifier.imports(path)) for name, path in modules.items()}
    assert {name: found & NEVER for name, found in imported.items() if found & NEVER} == {}


def test_imports_for_type_checkers_are_left_out(verifier, tmp_path):
    """What only runs in a type checker is not needed; what runs is, wherever it stands."""
    path = tmp_path / "m.py"
    path.write_text("import a.b\nif TYPE_CHECKING:\n    import c\nif x:\n    from d.e import f\n")
    assert set(verifier.imports(path)) == {"a.b", "d.e.f"}
    assert verifier.foreign(path) == {"a", "d"}
