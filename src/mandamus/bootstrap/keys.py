"""Finds the private keys of a home: what a command or the environment gives, else the files in the home."""

from __future__ import annotations

from collections.abc import Mapping

from mandamus.audit.keysource import CommandKey, commands_in, keys_in
from mandamus.audit.signer import PrivateKey, Signer
from mandamus.kernel.errors import Code, MandamusError
from mandamus.settings import PREFIX, Settings
from mandamus.store.keys import Keys

LOG = "log"
PLATFORM = "platform"


def without_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that the rest of the house and its child processes may see."""
    return {name: value for name, value in environ.items() if name not in {f"{PREFIX}LOG_KEY", f"{PREFIX}PLATFORM_KEY"}}


def held_log_keys(settings: Settings, environ: Mapping[str, str], keys: Keys, origin: str) -> list[Signer]:
    """Every key there is for the log, those of commands and of the environment first; a file is made when none is."""
    found = _elsewhere(settings, environ, LOG, settings.log_key, settings.log_key_command)
    names = keys.held(LOG) or ([] if found else [LOG])
    return [Signer(origin, key) for key in found] + [Signer(origin, keys.key(name)) for name in names]


def given_log_key(settings: Settings, environ: Mapping[str, str], origin: str) -> Signer | None:
    """The key for the log that a command or the environment gives, the first one when there are more."""
    found = _elsewhere(settings, environ, LOG, settings.log_key, settings.log_key_command)
    return Signer(origin, found[0]) if found else None


def platform_key(settings: Settings, environ: Mapping[str, str], keys: Keys, origin: str) -> Signer:
    """The key that signs approvals and evidence."""
    found = _elsewhere(settings, environ, PLATFORM, settings.platform_key, settings.platform_key_command)
    if len(found) > 1:
        raise MandamusError(
            Code.USAGE,
            f"{len(found)} platform keys are given, and only one can sign",
            remedy=f"leave one of {PREFIX}PLATFORM_KEY and {PREFIX}PLATFORM_KEY_COMMAND",
        )
    return Signer(f"{origin}/platform", found[0] if found else keys.key(PLATFORM))


def _elsewhere(settings: Settings, environ: Mapping[str, str], name: str, text: str, command: str) -> list[PrivateKey]:
    commands = [CommandKey(argv, environ, settings.key_timeout_s) for argv in commands_in(command)]
    return [*commands, *keys_in(text, f"{PREFIX}{name.upper()}_KEY")]
