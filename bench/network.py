"""A governed AWS network beside raw terraform, with the real provider against a stand-in for the cloud."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import stand_in
from figures import Figure, median, seconds
from stage import see_through

from mandamus.bootstrap.house import House, open_house
from mandamus.runs import drive
from mandamus.runs.model import Request
from mandamus.settings import Settings

NAME = "AWS network: governed by raw terraform"
ROUNDS = 3


def measure() -> Iterator[Figure]:
    """Only where terraform, the AWS provider and moto are found."""
    try:
        binary, mirror = stand_in.find_terraform(), stand_in.find_mirror()
        with tempfile.TemporaryDirectory() as folder:
            raw, governed = _rounds(binary, mirror, Path(folder))
    except LookupError as error:
        yield Figure(NAME, None, "x", 1.1, note=str(error))
        return
    ratio = median([one / other for one, other in zip(governed, raw, strict=True)])
    yield Figure(NAME, ratio, "x", 1.1)
    yield Figure("AWS network: governed", median(governed), "s", limit=median(raw), limit_name="s raw")


def _rounds(binary: str, mirror: Path, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of each round, raw and governed, every one on an empty cloud of its own."""
    raw, governed = [], []
    config = stand_in.write_cli_config(folder, mirror)
    for number in range(ROUNDS):
        with stand_in.moto() as url:
            own = folder / f"raw{number}"
            own.mkdir()
            project = stand_in.prepare(own, url, config, mirror)
            raw.append(_raw(binary, project / stand_in.MODULE, config, url))
        with stand_in.moto() as url:
            own = folder / f"governed{number}"
            own.mkdir()
            project = stand_in.prepare(own, url, config, mirror)
            governed.append(_governed(own / "home", project, config))
    return raw, governed


def _raw(binary: str, module: Path, config: Path, url: str) -> float:
    """Seconds of terraform as people call it."""
    variables = {"endpoint": url, "ingress": "10.0.0.0/16", "access_key": "test-access", "secret_key": "test-secret"}
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(module),
        "TF_CLI_CONFIG_FILE": str(config),
        **{f"TF_VAR_{name}": value for name, value in variables.items()},
    }
    phases = (("init", "-input=false"), ("plan", "-input=false", "-out=p"), ("apply", "-input=false", "p"))

    def all_phases() -> None:
        for words in phases:
            subprocess.run([binary, *words], cwd=module, env=environ, check=True, capture_output=True)

    return seconds(all_phases)


def _governed(home: Path, project: Path, config: Path) -> float:
    settings, environ = Settings(terraform_cli_config=str(config)), dict(os.environ)
    rules = project / "policies" / "network" / "network.rego"
    rules.write_text(rules.read_text().partition("require_approval")[0])
    with closing(open_house(settings, environ, home, None)) as owner:
        owner.configure.apply(owner.who, project / "platform.yaml")
    with closing(open_house(settings, environ, home, "ada")) as house:
        drive.start(house.rooms)
        taken = seconds(lambda: _run(house, project))
    shutil.rmtree(home)
    return taken


def _run(house: House, project: Path) -> None:
    run = house.runs.request(house.who, project, Request("workflows/network.yaml", "cloud", {}))
    ended = see_through(house, run.id)
    if ended.state != "succeeded":
        raise RuntimeError(f"the governed network {ended.state}: {ended.error}")
