"""A real provider and a stand-in for its cloud, where both can be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_in


@pytest.fixture(scope="session")
def mirror() -> Path:
    """A folder with the AWS provider, and a terraform to use it."""
    try:
        stand_in.find_terraform()
        return stand_in.find_mirror()
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cli_config(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file of terraform's command line that names the mirror."""
    return stand_in.write_cli_config(tmp_path_factory.mktemp("terraform"), mirror)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The address of a moto server that this session started."""
    try:
        with stand_in.moto() as url:
            yield url
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture
def project(tmp_path: Path, endpoint: str, cli_config: Path, mirror: Path) -> Path:
    """The network project, ready to be run."""
    return stand_in.prepare(tmp_path, endpoint, cli_config, mirror)
