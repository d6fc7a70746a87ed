"""Nothing grows past what one reader can hold."""

from __future__ import annotations

import ast

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
NAMES_REFUSED = {"utils", "util", "common", "helpers", "helper", "misc"}


def test_functions_have_at_most_70_lines(src, tests, scripts):
    """A function is at most 70 lines from its ``def`` to its end, in tests too."""
    found = [
        source.at(node, f"{node.name} has {lines} lines")
        for source in [*src, *tests, *scripts]
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not found, "\n".join(found)


def test_files_have_at_most_500_lines(src, tests, scripts):
    """A file is at most 500 lines."""
    found = [
        f"{source.name}: {lines} lines"
        for source in [*src, *tests, *scripts]
        if (lines := source.text.count("\n")) > FILE_LINES_MAX
    ]
    assert not found, "\n".join(found)


def test_no_module_is_a_drawer_for_everything(src):
    """No module is called utils, common or helpers: a name says what is inside."""
    found = [source.name for source in src if set(source.path.with_suffix("").parts) & NAMES_REFUSED]
    assert not found, "\n".join(found)
