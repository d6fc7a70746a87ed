"""What a machine can see of the floors beside the contracts in ``.importlinter``."""

from __future__ import annotations

import ast
import configparser

LATE = {
    "src/mandamus/cli/late.py": "the table of commands, so that help stays instant",
    "src/mandamus/__main__.py": "what only some commands need is built when they ask",
    "src/mandamus/store/migrate.py": "migrations, which a command needs only when the schema is an old one",
}
"""The files that may load a module by its name, with the reason."""


def test_no_import_hides_in_a_function(src, tests):
    """Imports stand at the top of a file, where a reader and import-linter see them."""
    found = [
        source.at(inner, "import inside a function")
        for source in [*src, *tests]
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert not found, "\n".join(found)


def test_modules_are_loaded_by_name_in_one_place(src):
    """``import_module`` and ``__import__`` stand only where the table of commands does."""
    found = [
        source.at(node, "loads a module by name")
        for source in src
        if source.name not in LATE
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__"))
    ]
    assert not found, "\n".join(found)


def test_packages_are_described_and_empty(src):
    """``__init__.py`` is a docstring: what the package is for. It imports nothing and does nothing."""
    found = [
        source.name
        for source in src
        if source.path.name == "__init__.py"
        if len(source.tree.body) != 1 or ast.get_docstring(source.tree) is None
    ]
    assert not found, "\n".join(found)


def test_modules_open_with_their_role(src):
    """Every module opens with a sentence that says its role."""
    found = [source.name for source in src if not ast.get_docstring(source.tree)]
    assert not found, "\n".join(found)


def test_every_domain_with_rows_has_a_contract(root):
    """Each ``store.py`` and each table module is protected by a contract that names it."""
    contracts = configparser.ConfigParser()
    contracts.read(root / ".importlinter")
    protected = {
        module for section in contracts.sections() for module in contracts[section].get("protected_modules", "").split()
    }
    package = root / "src" / "mandamus"
    owed = {f"mandamus.{path.parent.name}.store" for path in package.glob("*/store.py")}
    owed |= {
        f"mandamus.store.tables.{path.stem}"
        for path in (package / "store" / "tables").glob("*.py")
        if path.stem not in {"__init__", "base"}
    }
    assert owed <= protected, sorted(owed - protected)
