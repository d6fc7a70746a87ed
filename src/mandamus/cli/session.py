"""One call of the command line: what was handed in, the options every command has, and the home it works on."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from mandamus.audit.forms import is_ticket
from mandamus.cli.render import Screen
from mandamus.kernel.access import is_refusal
from mandamus.kernel.errors import Code, MandamusError

if TYPE_CHECKING:
    from mandamus.audit.trust import Trust
    from mandamus.audit.witness_server import WitnessServer
    from mandamus.catalog.workflow import Validators
    from mandamus.cli.house import House, OpenHouse
    from mandamus.policy.pool import WorkerPool

PROGRAM = "mandamus"

_QUOTED = re.compile(rf"`{PROGRAM} (?!--home |--server )")

Say = Callable[[str], None]


class Server(Protocol):
    """A home's HTTP door, bound but closed."""

    @property
    def url(self) -> str:
        """Where it answers."""
        ...

    def serve(self, ready: Callable[[], None]) -> None:
        """Answer until the process is told to stop; ``ready`` is called when it can be asked."""
        ...

    @property
    def warnings(self) -> list[str]:
        """What whoever serves it should know."""
        ...

    def sign_in_link(self, user: str | None = None) -> str:
        """Where whoever opened it signs in to the console, once; or another of its people."""
        ...

    def close(self) -> None:
        """Let go of the home."""
        ...


class Staged(Protocol):
    """The demo's home, ready for visitors: ``people`` walk the story, ``run`` waits for the last of them."""

    @property
    def folder(self) -> Path:
        """Where it is, with its project."""
        ...

    @property
    def home(self) -> Path:
        """The home alone."""
        ...

    @property
    def denied(self) -> str:
        """The run that policy refused."""
        ...

    @property
    def run(self) -> str:
        """The run that waits for an approval."""
        ...

    @property
    def people(self) -> tuple[str, ...]:
        """Who asks, and who may approve."""
        ...


class Demo(Protocol):
    """The demo's story: told to its end, or prepared for visitors of the console."""

    def tell(self, say: Say, keep: bool) -> Mapping[str, Any]:  # noqa: FBT001 - click's flag, handed on
        """Play the story, talking to ``say``; gives its facts."""
        ...

    def staged(self, say: Say, folder: Path | None) -> AbstractContextManager[Staged]:
        """The stage while it is entered, in an empty folder or in one that goes away afterwards."""
        ...

    def tamper(self, folder: Path) -> int:
        """Flip one byte in the log of a demo; gives the leaf."""
        ...


@dataclass(frozen=True)
class Handed:
    """What ``__main__`` hands in. Every callable may import what it needs when it is called.

    ``open_server`` opens what a server has of a house, by its URL, for a ticket or none. ``login`` keeps a token for
    one that takes it, and says whose it is; ``device_login`` one that a person lets it have in the console, with some
    permissions or all of theirs, after it showed them the code; ``logout`` ends what was kept, and ``exchange``
    gives a short token for one that a CI system signed, which is kept nowhere. ``validators`` are the executors' checks
    by name and ``policy_engine`` is OPA; neither needs a home. ``demo`` plays the story. ``witness`` opens one in a
    folder: its name (empty for one of its own), the logs it knows, and where to listen. ``new_epoch`` begins a new log
    in a home that need not open, for a reason, with or without trust in the old keys. ``server`` binds a home's HTTP
    door to an address, with the files of a certificate and its key or without.
    """

    open_house: OpenHouse
    open_server: Callable[[str, str], House]
    login: Callable[[str, str], Mapping[str, str]]
    device_login: Callable[[str, Sequence[str], Callable[[Any], None]], Mapping[str, str]]
    logout: Callable[[str], Mapping[str, str]]
    exchange: Callable[[str, str], Mapping[str, Any]]
    environ: Mapping[str, str]
    monotonic_s: Callable[[], float]
    validators: Callable[[], Validators]
    policy_engine: Callable[[], WorkerPool]
    demo: Demo
    witness: Callable[[Path, str, Sequence[Trust], tuple[str, int]], WitnessServer]
    new_epoch: Callable[[Path, str, bool], Mapping[str, Any]]
    server: Callable[[Path, tuple[str, int], tuple[Path, Path] | None], Server]


@dataclass
class Session:
    """The state of one call; options stand before or after the command, and the last one given counts."""

    handed: Handed
    home_option: Path | None = None
    server_option: str | None = None
    as_user: str | None = None
    ticket: str = ""
    output: str = "table"
    debug: bool = False
    screen: Screen = field(init=False)

    def __post_init__(self) -> None:
        self.screen = Screen(sys.stdout, sys.stderr, self.environ)
        self.as_user = self.environ.get("MANDAMUS_USER") or None
        self.ticket = self.environ.get("MANDAMUS_TICKET", "")
        self.debug = self.environ.get("MANDAMUS_DEBUG", "").lower() in {"1", "true", "yes", "on"}

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment as it was handed in."""
        return self.handed.environ

    @property
    def wants_json(self) -> bool:
        """Whether data goes out as one JSON document."""
        return self.output == "json"

    @property
    def server(self) -> str | None:
        """The URL of the server to work on: option, then ``MANDAMUS_SERVER`` unless a home is named; else None."""
        if self.server_option is not None and self.home_option is not None:
            raise MandamusError(
                Code.USAGE, "--home and --server name two places to work on", remedy="give one of the two"
            )
        if self.server_option is not None or self.home_option is not None:
            return self.server_option
        return self.environ.get("MANDAMUS_SERVER") or None

    @property
    def home(self) -> Path:
        """The folder of the home: option, ``MANDAMUS_HOME``, then the XDG base directory.

        Raises ``usage`` when a server is named: this is for what only a home can do.
        """
        if self.server is not None:
            raise MandamusError(
                Code.USAGE,
                f"this needs the home itself, and {self.server} is a server",
                remedy="run it where the home is, without --server and MANDAMUS_SERVER",
                context={"server": self.server},
            )
        if self.home_option is not None:
            return self.home_option.absolute()
        if self.environ.get("MANDAMUS_HOME"):
            return Path(self.environ["MANDAMUS_HOME"]).absolute()
        data = self.environ.get("XDG_DATA_HOME", "")
        if Path(data).is_absolute():
            return Path(data) / PROGRAM
        if self.environ.get("HOME"):
            return Path(self.environ["HOME"]) / ".local" / "share" / PROGRAM
        raise MandamusError(
            Code.USAGE,
            "there is no place for a home: neither --home nor MANDAMUS_HOME, XDG_DATA_HOME or HOME is set",
            remedy="give one with --home DIR",
        )

    @contextmanager
    def house(self, *, create: bool = False) -> Iterator[House]:
        """The opened home; raises ``not_found`` when there is none and it is not to be made.

        With a server it is what that has of it.
        """
        with closing(self._opened(create=create)) as house, denials_recorded(house):
            yield house

    def _opened(self, *, create: bool) -> House:
        _check_ticket(self.ticket)  # an option was looked at when it was given; MANDAMUS_TICKET was not
        if self.server is not None:
            if self.as_user is not None:
                raise MandamusError(
                    Code.USAGE,
                    "on a server one is whoever the token is of, and --as names somebody",
                    remedy="leave out --as and MANDAMUS_USER, and log in with a token of that user",
                )
            return self.handed.open_server(self.server, self.ticket)
        if not create and not (self.home / "keys").is_dir():
            raise MandamusError(
                Code.NOT_FOUND,
                f"there is no home in {self.home}",
                remedy=f"make one with `{self.command('init')}`, or name another with --home DIR",
                context={"home": str(self.home)},
            )
        return self.handed.open_house(self.home, self.as_user, self.ticket)

    @contextmanager
    def policy_engine(self) -> Iterator[WorkerPool]:
        """OPA, without a home; its processes end with the block."""
        with closing(self.handed.policy_engine()) as pool:
            yield pool

    def command(self, *words: str) -> str:
        """A command line to suggest, with the home or the server it needs when that was given as an option."""
        home = [] if self.home_option is None else ["--home", str(self.home_option)]
        server = [] if self.server_option is None else ["--server", self.server_option]
        return shlex.join([PROGRAM, *home, *server, *words])

    def here(self, text: str) -> str:
        """A text with the home in the commands it quotes, so that each can be typed as it stands."""
        return _QUOTED.sub(lambda _: f"`{self.command()} ", text)


@contextmanager
def denials_recorded(house: House) -> Iterator[None]:
    """Whatever is refused in here, for want of a permission, by policy or for want of space, stands in the log."""
    try:
        yield
    except MandamusError as error:
        if is_refusal(error):
            house.record_denied(error)
        raise


pass_session = click.make_pass_decorator(Session)

F = TypeVar("F", bound=Callable[..., Any])


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def keep(ctx: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        session = ctx.find_object(Session)
        if session is not None and value not in (None, False):
            setattr(session, name, value)
        return value

    return keep


def _check_ticket(ticket: str) -> None:
    """Refuse early what the log would refuse with the first event."""
    if ticket and not is_ticket(ticket):
        raise MandamusError(
            Code.USAGE,
            "the ticket given with --ticket or MANDAMUS_TICKET is no name of a ticket",
            remedy="give its key alone, up to 100 letters, digits and . _ / # : -, such as CHG-1234",
        )


def _keep_ticket(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    _check_ticket(value or "")
    kept: str | None = _keep("ticket")(ctx, parameter, value)
    return kept


def _output(*further: str) -> Callable[[F], F]:
    forms = f", or as {', '.join(further)}" if further else ""
    return click.option(
        "--output",
        type=click.Choice(["table", "json", *further]),
        expose_value=False,
        is_eager=True,
        callback=_keep("output"),
        help=f"Data as a table (the default) or as one JSON document{forms}.",
    )


_DEBUG = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_keep("debug"),
    help="Show the traceback of an error.",
)
_HOME = click.option(
    "--home",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    expose_value=False,
    callback=_keep("home_option"),
    help="The home to work on; else MANDAMUS_HOME, else the XDG data folder.",
)
_SERVER = click.option(
    "--server",
    metavar="URL",
    expose_value=False,
    callback=_keep("server_option"),
    help="Work on this server instead of a home; else MANDAMUS_SERVER.",
)
_AS = click.option(
    "--as",
    metavar="USER",
    expose_value=False,
    callback=_keep("as_user"),
    help="Act as this user; for the owner of the home only, recorded as unverified.",
)
_TICKET = click.option(
    "--ticket",
    metavar="KEY",
    expose_value=False,
    callback=_keep_ticket,
    help="The change request this is for, such as CHG-1234; else MANDAMUS_TICKET. Recorded with all that it does.",
)


def common(command: F) -> F:
    """The options every command has."""
    return common_with()(command)


def common_with(*further: str) -> Callable[[F], F]:
    """The same for a command whose data comes in further forms than a table and JSON."""
    return lambda command: _HOME(_SERVER(_AS(_TICKET(_output(*further)(_DEBUG(command))))))


def common_but_as(command: F) -> F:
    """The same for a command with an ``--as`` of its own; who acts is then given before the command."""
    return _HOME(_SERVER(_TICKET(_output()(_DEBUG(command)))))
