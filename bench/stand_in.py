"""A cloud to apply to without a cloud: the real AWS provider, where one is found, and a moto server on loopback."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROVIDER = Path("registry.terraform.io/hashicorp/aws")
PROJECT = Path(__file__).parents[1] / "tests" / "cloud" / "project"
MODULE = Path("terraform", "network")


def find_terraform() -> str:
    """The program; raises ``LookupError`` with the reason."""
    found = shutil.which("tofu") or shutil.which("terraform")
    if found is None:
        raise LookupError("NO TERRAFORM: terraform or tofu is needed on PATH")
    return found


def find_mirror() -> Path:
    """A folder with the AWS provider; raises ``LookupError`` with the reason."""
    for folder in _mirrors():
        if (folder / PROVIDER).is_dir():
            return folder
    raise LookupError(f"NO AWS PROVIDER: no mirror or cache holds {PROVIDER}; give one by TF_PLUGIN_CACHE_DIR")


def _mirrors() -> Iterator[Path]:
    """Folders that may hold providers: configured, cached, implied by terraform itself, or installed under /opt."""
    config = Path(os.environ.get("TF_CLI_CONFIG_FILE", "")).expanduser()
    if config.is_file():
        yield from map(Path, re.findall(r'path\s*=\s*"([^"]+)"', config.read_text()))
    if os.environ.get("TF_PLUGIN_CACHE_DIR"):
        yield Path(os.environ["TF_PLUGIN_CACHE_DIR"])
    yield Path.home() / ".terraform.d" / "plugins"
    yield from (Path(base, "terraform", "plugins") for base in ("/usr/local/share", "/usr/share"))
    yield from Path("/opt").glob("*")


def write_cli_config(folder: Path, mirror: Path) -> Path:
    """A configuration file of terraform's command line that names the mirror."""
    file = folder / "mirror.tfrc"
    text = f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
    file.write_text(f"{text}disable_checkpoint = true\n")
    return file


@contextmanager
def moto() -> Iterator[str]:
    """The address of a moto server of our own; raises ``LookupError`` when moto is not installed."""
    server = Path(sys.executable).with_name("moto_server")
    if not server.exists():
        raise LookupError("NO MOTO: `make test-slow` installs it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [server, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _until_up(url)
        yield url
    finally:
        process.terminate()
        process.wait()


def _until_up(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - an address of our own
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)  # a server that starts tells nobody when it listens
        else:
            return
    raise TimeoutError(f"nothing answers at {url}")


def prepare(folder: Path, endpoint: str, cli_config: Path, mirror: Path) -> Path:
    """A copy of the network project with its provider locked and the credentials its platform file refers to."""
    made = folder / "project"
    shutil.copytree(PROJECT, made)
    platform = made / "platform.yaml"
    platform.write_text(platform.read_text().replace("ENDPOINT", endpoint))
    for name in ("access_key", "secret_key"):
        (made / name).write_text(f"test-{name}-value\n")
    environ = {**os.environ, "TF_CLI_CONFIG_FILE": str(cli_config)}
    lock = [find_terraform(), "providers", "lock", f"-fs-mirror={mirror}"]
    subprocess.run(lock, cwd=made / MODULE, env=environ, check=True, capture_output=True)
    return made
