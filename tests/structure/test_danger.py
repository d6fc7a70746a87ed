"""What turns text into code, or lets text become a statement, is not used at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

BUILTINS = {"eval", "exec", "compile", "__import__", "print", "breakpoint", "input"}
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle", "code", "pty"}
SHELLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "asyncio.create_subprocess_shell",
}
LOADERS = {
    f"yaml.{name}" for name in ("load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all")
}
STATEMENTS = {"exec_driver_sql", "execute", "executemany", "executescript", "literal_column", "DDL"}

SQL = {
    "src/mandamus/store/database.py": "the names of pragmas are constants beside it",
}
"""Where a statement is put together from parts, with the reason: no part comes from outside."""


def dangers(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every use of something that makes code of text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from ((node, f"imports {name}") for name in names if name.partition(".")[0] in MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in BUILTINS | SHELLS | LOADERS:
            yield node, f"calls {called}"
        for word in node.keywords:
            if word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False):
                yield node, "starts a shell"


def is_put_together(node: ast.expr) -> bool:
    """Whether a text is made of parts: an f-string, ``%``, ``+`` or ``.format``."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add | ast.Mod) and not isinstance(node.left, ast.Call)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"format", "join"}


def statements(tree: ast.Module) -> Iterator[ast.Call]:
    """Every call that runs a statement which is put together from parts."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        runs = node.func.attr in STATEMENTS or ast.unparse(node.func) in {"sa.text", "sqlalchemy.text"}
        if runs and is_put_together(node.args[0]):
            yield node


def test_no_text_becomes_code(src):
    """No shell, no eval, no pickle, no loader of YAML that builds objects; nobody prints past the commands."""
    found = [source.at(node, what) for source in src for node, what in dangers(source.tree)]
    assert not found, "\n".join(found)


def test_no_statement_is_put_together(src):
    """Values reach a database as bound parameters only (CWE-89)."""
    found = [
        source.at(call, f"{ast.unparse(call.func)} of a text made of parts")
        for source in src
        if not source.name.startswith(tuple(SQL))
        for call in statements(source.tree)
    ]
    assert not found, "\n".join(found)


def test_no_exception_outlives_its_reason(src):
    """Each place that may put statements together still does."""
    stale = [
        start
        for start in SQL
        if not any(source.name.startswith(start) and list(statements(source.tree)) for source in src)
    ]
    assert not stale, stale


BAD = [
    "import pickle",
    "from pickle import loads",
    "import os\nos.system('x')",
    "subprocess.run('x', shell=True)",
    "subprocess.run('x', shell=quick)",
    "eval(text)",
    "yaml.load(data)",
    "print('x')",
]


@pytest.mark.parametrize("text", BAD)
def test_the_scan_sees_what_it_is_for(text):
    """Each of these would be found."""
    assert list(dangers(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        'conn.exec_driver_sql(f"DROP {name}")',
        'sa.text("a" + name)',
        'c.execute("a %s" % name)',
        'c.execute("{}".format(n))',
    ],
)
def test_the_scan_sees_statements_made_of_parts(text):
    """Each of these would be found, and a constant or an expression of SQLAlchemy is not."""
    assert list(statements(ast.parse(text)))
    for fine in ('conn.exec_driver_sql("SELECT 1")', "conn.execute(sa.select(t).where(t.c.a == name))"):
        assert not list(statements(ast.parse(fine)))
