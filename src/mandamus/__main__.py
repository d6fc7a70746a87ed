"""The entry point: reads the environment, hands the door what it may call, and loads a room when it is called."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mandamus.cli.late import late
from mandamus.cli.main import main as run
from mandamus.cli.session import Handed, Say

# Opening a home imports the database and the engine, which help and `evidence verify` do without.
_settings = late("mandamus.settings:load")
_talk = late("mandamus.bootstrap.talk:talk")
_executors = late("mandamus.bootstrap.tools:load_executors")
_engine = late("mandamus.bootstrap.house:policy_engine")
_house = late("mandamus.bootstrap.house:open_house")
_remote = late("mandamus.bootstrap.remote:open_remote")
_exchanged = late("mandamus.bootstrap.remote:exchange")
_login = late("mandamus.bootstrap.remote:login")
_device_login = late("mandamus.bootstrap.remote:device_login")
_logout = late("mandamus.bootstrap.remote:logout")
_story = late("mandamus.demo.story:tell")
_staged = late("mandamus.demo.visit:staged")
_tamper = late("mandamus.demo.visit:tamper")
_witness = late("mandamus.bootstrap.witness:open_witness")
_epoch = late("mandamus.bootstrap.epoch:new_epoch")
_server = late("mandamus.bootstrap.server:open_server")


AGENT = "mandamus-cli"
"""How the log names this program."""


def main() -> None:
    """Run the command line on this process's arguments and environment; ends the process with the exit code."""
    environ = dict(os.environ)
    if "--debug" in sys.argv:
        environ["MANDAMUS_DEBUG"] = "1"
    handed = Handed(
        open_house=partial(_open_house, environ),
        open_server=partial(_open_remote, environ),
        login=partial(_log_in, environ),
        device_login=partial(_log_in_by_device, environ),
        logout=partial(_log_out, environ),
        exchange=partial(_exchange, environ),
        environ=environ,
        monotonic_s=time.monotonic,
        validators=partial(_validators, environ),
        policy_engine=partial(_policy_engine, environ),
        demo=_Demo(environ),
        witness=_witness,
        new_epoch=partial(_new_epoch, environ),
        server=partial(_open_server, environ),
    )
    sys.exit(run(handed))


def _open_house(environ: Mapping[str, str], home: Path, as_user: str | None, ticket: str = "") -> Any:
    settings = _settings(environ)
    _talk(debug=settings.debug)
    return _house(settings, environ, home, as_user, agent=AGENT, ticket=ticket)


def _open_remote(environ: Mapping[str, str], url: str, ticket: str) -> Any:
    return _remote(_settings(environ), environ, url, ticket)


def _exchange(environ: Mapping[str, str], url: str, token: str) -> Any:
    return _exchanged(_settings(environ), url, token)


def _log_in(environ: Mapping[str, str], url: str, token: str) -> Any:
    return _login(_settings(environ), environ, url, token)


def _log_in_by_device(environ: Mapping[str, str], url: str, permissions: Sequence[str], show: Any) -> Any:
    return _device_login(_settings(environ), environ, url, permissions, show)


def _log_out(environ: Mapping[str, str], url: str) -> Any:
    return _logout(_settings(environ), environ, url)


def _new_epoch(environ: Mapping[str, str], home: Path, reason: str, distrust: bool) -> Any:  # noqa: FBT001 - as below
    return _epoch(_settings(environ), environ, home, reason, distrust=distrust)


def _open_server(
    environ: Mapping[str, str], home: Path, address: tuple[str, int], tls: tuple[Path, Path] | None
) -> Any:
    settings = _settings(environ)
    _talk(debug=settings.debug)
    return _server(settings, environ, home, address, tls)


def _validators(environ: Mapping[str, str]) -> Any:
    return _executors(_settings(environ), environ).validators()


def _policy_engine(environ: Mapping[str, str]) -> Any:
    return _engine(_settings(environ))


class _Demo:
    """The demo in folders of its own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._open_house: Callable[[Path, str | None], Any] = partial(_open_house, environ)

    def tell(self, say: Say, keep: bool) -> Any:  # noqa: FBT001 - the door's signature
        """Play the story."""
        folder = Path(tempfile.mkdtemp(prefix="mandamus-demo-"))
        try:
            return _story(self._open_house, folder, say)
        finally:
            if keep:
                say(f"\nkept: {folder} (the home is {folder / 'home'})")
            else:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def staged(self, say: Say, folder: Path | None) -> Iterator[Any]:
        """Prepare it for visitors."""
        made = folder or Path(tempfile.mkdtemp(prefix="mandamus-demo-"))
        try:
            with _staged(self._open_house, made, say) as stage:
                yield stage
        finally:
            if folder is None:
                shutil.rmtree(made, ignore_errors=True)

    def tamper(self, folder: Path) -> int:
        """Change a byte of one."""
        return int(_tamper(folder))


if __name__ == "__main__":
    main()
