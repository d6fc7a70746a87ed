"""One governed change of a cloud network, with the real AWS provider against a stand-in for the cloud."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial

import pytest

from mandamus.bootstrap.house import open_house
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Request
from mandamus.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def ask(tmp_path, project, cli_config):
    """Request a run as ada and see it through; or approve one as grace."""
    settings = Settings(terraform_cli_config=str(cli_config))
    opened = partial(open_house, settings, dict(os.environ), tmp_path / "home")
    with closing(opened(None)) as owner:
        owner.configure.apply(owner.who, project / "platform.yaml")

    def act(*, approve=None, plan_only=False, **inputs):
        with closing(opened("ada" if approve is None else "grace")) as house:
            if approve is None:
                request = Request("workflows/network.yaml", "cloud", inputs, "a network", plan_only=plan_only)
                run = house.runs.request(house.who, project, request)
            else:
                run = approve
                house.runs.approve(house.who, run.id, reason="closed to the world")
            ended = house.drive(run.id, lambda _notice: None)
            return ended, house.runs.change_set(house.who, run.id, "network")

    return act


def test_a_network_is_denied_mended_approved_and_applied(ask, tmp_path):
    """A public security group is denied; the mended plan is approved and applied; planning again finds nothing."""
    denied, _ = ask(open=True)
    assert denied.state is RunState.DENIED
    violation = denied.error["context"]["violations"][0]
    assert violation["file"] == "network.rego"
    assert "aws_security_group.hosts" in violation["msg"]

    waiting, changes = ask(open=False)
    assert waiting.state is RunState.WAITING, waiting.error
    created = [change for change in changes["changes"] if change["action"] == "create"]
    assert len(created) == 19

    applied, _ = ask(approve=waiting)
    assert applied.state is RunState.SUCCEEDED, applied.error

    again, unchanged = ask(open=False, plan_only=True)
    assert again.state is RunState.PLANNED, again.error
    assert {change["action"] for change in unchanged["changes"]} == {"noop"}

    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and "blobs" not in path.parts]
    assert not [path for path in files if b"test-secret_key-value" in path.read_bytes()]
