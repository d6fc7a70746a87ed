"""Opens the HTTP door of a home: binds its address, becomes the home's engine, and answers until it is stopped."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from ipaddress import ip_address, ip_network
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from mandamus.api.app import build as build_api
from mandamus.api.door import PUBLIC
from mandamus.bootstrap.house import House, open_house
from mandamus.bootstrap.signing_in import console_url
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.hub import Hub
from mandamus.serving.protocol import Impatient
from mandamus.settings import Settings
from mandamus.web.app import build as build_web

GRACE_S = 5
API_PATHS = PUBLIC | {"/metrics"}
"""Where the API is beside `/api/` and `/scim/`."""
TAKE_OVER_S = 1.0
"""How often a server that is not the engine tries to become it: the file lock of another process wakes nobody."""

Tls = tuple[Path, Path]
"""Files of a certificate chain and its private key, PEM."""


class Server:
    """The server of one home; nobody can come in before `serve`."""

    def __init__(
        self, house: House, bound: socket.socket, tls: Tls | None, *, proxies: str = "", secure: bool = False
    ) -> None:
        self.house = house
        self._bound = bound
        self._tls = tls
        self._proxies = proxies
        self.secure = secure or tls is not None
        self._over = threading.Event()

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self._bound.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self._tls else 'http'}://{shown}:{port}"

    def serve(self, ready: Callable[[], None]) -> None:
        """Answer until the process is told to stop; ``ready`` is called when it can be asked."""
        certificate, key = self._tls or (None, None)
        hub = Hub(self.house)
        console = build_web(self.house, hub, os.urandom, secure=self.secure, version=version("mandamus"))
        config = uvicorn.Config(
            _Doors(build_api(self.house, version("mandamus"), hub), console),
            log_config=None,
            access_log=False,
            server_header=False,
            # What else says where a request came from is believed of nobody: it would be what tries are counted by.
            proxy_headers=bool(self._proxies),
            forwarded_allow_ips=self._proxies or None,
            http=Impatient,
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        engine = threading.Thread(target=self._become_engine, name="engine-start", daemon=True)
        engine.start()
        try:
            _Uvicorn(config, ready).run(sockets=[self._bound])
        finally:
            self._over.set()
            engine.join()

    def sign_in_link(self, user: str | None = None) -> str:
        """Where whoever opened the home signs in to the console, once; or another of its people."""
        return f"{self.url}/sign-in?link={self.house.sessions.link(self.house.who, user)}"

    @property
    def warnings(self) -> list[str]:
        """What whoever serves it should know."""
        provider = self.house.sign_ins.declared()
        if provider is None or not self.house.passwords.is_set():
            return []
        said = f"the owner may come in by a password, although people sign in with {provider.shown}"
        return [f"{said}: `mandamus password remove` ends that"]

    def close(self) -> None:
        """Let the work under way come to its end, and let go of the home."""
        self._bound.close()
        self.house.close()

    def _become_engine(self) -> None:
        while not self.house.become_engine() and not self._over.wait(TAKE_OVER_S):
            pass


class _Doors:
    """The API where its paths are, the console everywhere else."""

    def __init__(self, api: ASGIApp, console: ASGIApp) -> None:
        self._api = api
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to its door."""
        path = scope.get("path", "")
        is_page = scope["type"] == "http" and path not in API_PATHS and not path.startswith(("/api/", "/scim/"))
        await (self._console if is_page else self._api)(scope, receive, send)


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A signal ends the serving and nothing else: what is under way comes to its end after that."""
        kept = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that it answers once it does."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def open_server(
    settings: Settings, environ: Mapping[str, str], home: Path, address: tuple[str, int], tls: Tls | None
) -> Server:
    """A server that is bound but does not answer yet.

    Raises ``usage`` for an address that others can reach without TLS, ``forbidden`` for one while there is no
    administrator, ``unavailable`` for one that cannot be had.
    """
    host, port = address
    if tls is None and not _is_loopback(host):
        raise MandamusError(
            Code.USAGE,
            f"{host} can be reached from other machines, and what is sent there would be in the clear",
            remedy="give --tls-cert and --tls-key, or leave out --host",
        )
    for path in tls or ():
        if not path.is_file():
            raise MandamusError(Code.NOT_FOUND, f"there is no file {path}", remedy="name the files in PEM")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family)
    except OSError as error:
        raise MandamusError(
            Code.UNAVAILABLE,
            f"{host}:{port} cannot be had: {error.strerror}",
            remedy="stop what listens there, or give another port with --port",
        ) from error
    # What is accepted inherits it. asyncio sets it only where the protocol is named, and without it each answer waits
    # 40 ms for the caller to acknowledge its head before its body goes out.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        house = open_house(settings, environ, home, None)
        if not _is_loopback(host):
            _check_administrator(house)
        console = console_url(settings.public_url, house.rooms.db, house.audit)
        return Server(
            house,
            bound,
            tls,
            proxies=_proxies(settings.trusted_proxies),
            # Behind a proxy that has the certificate, browsers speak TLS as well.
            secure=bool(settings.trusted_proxies) and console.startswith("https://"),
        )
    except BaseException:
        bound.close()
        raise


def _proxies(text: str) -> str:
    """The proxies that are believed; raises ``usage`` for what is no network, and for one that is all there are."""
    for each in text.split(",") if text else ():
        try:
            good = ip_network(each, strict=False).prefixlen > 0
        except ValueError:
            good = False
        if not good:
            raise MandamusError(
                Code.USAGE,
                f"MANDAMUS_TRUSTED_PROXIES: {each} is no network of proxies",
                remedy="name addresses or networks, as in 10.0.0.7,fd00::/64",
            )
    return text


def _check_administrator(house: House) -> None:
    """Raise ``forbidden`` when nobody answers for the home yet: else whoever found it first could become somebody."""
    if house.has_administrator:
        return
    house.close()
    raise MandamusError(
        Code.FORBIDDEN,
        "this home has no administrator yet, and would be open to other machines",
        remedy="sign in once on this machine, with `mandamus up` and the link it prints; then open it to others",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
