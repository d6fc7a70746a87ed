from __future__ import annotations

from pathlib import Path

import pytest

from mandamus.cli import project
from mandamus.kernel.errors import Code, MandamusError


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project with two workflows, which is the working folder."""
    folder = tmp_path / "p"
    (folder / "workflows" / "deep").mkdir(parents=True)
    (folder / "mandamus.yaml").write_text("")
    (folder / "workflows" / "deploy.yaml").write_text("")
    (folder / "workflows" / "deep" / "other.yml").write_text("")
    monkeypatch.chdir(folder)
    return folder


def _code(call) -> tuple[Code, str]:
    with pytest.raises(MandamusError) as caught:
        call()
    return caught.value.code, caught.value.remedy


def test_a_workflow_is_named_by_file_or_by_name(root, monkeypatch):
    """A path, a name, from anywhere in the project or with ``--project``: always the same project and path."""
    wanted = (root.resolve(), "workflows/deploy.yaml")
    assert project.workflow("deploy", None) == wanted
    assert project.workflow("workflows/deploy.yaml", None) == wanted
    assert project.workflow(str(root / "workflows" / "deploy.yaml"), None) == wanted
    monkeypatch.chdir(root.parent)
    assert project.workflow("deploy", Path("p")) == wanted
    assert project.workflow("workflows/deploy.yaml", Path("p")) == wanted
    assert project.workflow("p/workflows/deploy.yaml", None) == wanted


def test_what_is_not_there_is_told_with_what_is(root):
    """A missing workflow is met with the nearest name; one outside the project is refused."""
    code, remedy = _code(lambda: project.workflow("deplyo", None))
    assert code is Code.NOT_FOUND
    assert "deploy" in remedy
    (root.parent / "outside.yaml").write_text("")
    assert _code(lambda: project.workflow("../outside.yaml", root))[0] is Code.SOURCE_INVALID


def test_workflows_are_found_in_order(root):
    """Every YAML file under the folder, by name."""
    assert [path.name for path in project.workflows(root)] == ["other.yml", "deploy.yaml"]


def test_inputs_come_from_words_and_a_file(tmp_path):
    """``-i`` wins over the file; a value may hold ``=`` and may be empty; JSON and YAML keep their types."""
    yaml = tmp_path / "i.yaml"
    yaml.write_text("name: x\ncount: 012\nflag: no\n")
    assert project.inputs(["name=a=b", "empty="], yaml) == {"name": "a=b", "count": 12, "flag": "no", "empty": ""}
    json = tmp_path / "i.json"
    json.write_text('{"a": [1, 2]}')
    assert project.inputs([], json) == {"a": [1, 2]}


@pytest.mark.parametrize("pairs", [["name"], ["=x"], [" =x"], ["a=1", "a=2"], ["\x1b[31m"]])
def test_words_that_are_no_inputs_are_refused(pairs):
    """An input is a name and a value, once."""
    assert _code(lambda: project.inputs(pairs, None))[0] is Code.USAGE


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("i.yaml", "- 1", Code.USAGE),
        ("i.json", "[1]", Code.USAGE),
        ("i.json", "{", Code.VALUE_INVALID),
        ("i.yaml", "a: &x 1\nb: *x", Code.DOCUMENT_INVALID),
        ("i.yaml", "a: 1\na: 2", Code.DOCUMENT_INVALID),
    ],
)
def test_a_file_that_is_no_inputs_is_refused(tmp_path, name, text, code):
    """A file of inputs is one map in JSON or YAML, read as strictly as a workflow."""
    file = tmp_path / name
    file.write_text(text)
    assert _code(lambda: project.inputs([], file))[0] is code
