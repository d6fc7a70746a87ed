"""A way to check workflows: validators that take what stands under a key, as an executor's do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mandamus.catalog import workflow
from mandamus.catalog.model import Workflow
from mandamus.catalog.workflow import Validators
from mandamus.kernel.document import Node
from mandamus.kernel.errors import Problem
from mandamus.kernel.reader import Reader

Parse = Callable[[str | bytes], Workflow]


def _script(node: Node) -> list[Problem]:
    reader = Reader()
    fields = reader.table(node, "`script`", ("run", "env"), required=("run",))
    if "run" in fields:
        reader.text(fields["run"], "`run`")
    return reader.problems


def _open(_node: Node) -> list[Problem]:
    return []


@pytest.fixture
def validators() -> Validators:
    return {"terraform": _open, "script": _script, "http": _open}


@pytest.fixture
def parse(validators: Validators) -> Parse:
    """Parse and check one workflow file called w.yaml."""

    def parsed(text: str | bytes) -> Workflow:
        data = text.encode() if isinstance(text, str) else text
        return workflow.read(data, "w.yaml", validators)

    return parsed
