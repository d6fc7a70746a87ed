"""Every setting there is: type, default, help; each is ``MANDAMUS_<NAME>`` in the environment of a process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.reader import suggest

PREFIX = "MANDAMUS_"


class Settings(BaseModel):
    """The settings of one process, checked at start-up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Annotated[Path | None, Field(description="Where the embedded home lives; the option --home wins.")] = None
    user: Annotated[str, Field(description="Act as this user, like --as; only for the owner of the home.")] = ""
    ticket: Annotated[str, Field(description="The change request that all of this is for, like --ticket.")] = ""
    debug: Annotated[bool, Field(description="Show tracebacks of unexpected errors.")] = False
    server: Annotated[
        str, Field(description="URL of a server that commands work on instead of a home; the option --server wins.")
    ] = ""
    server_roots: Annotated[
        str, Field(description="File of certificates (PEM) that the server is trusted by instead of the system's.")
    ] = ""
    public_url: Annotated[
        str,
        Field(
            description="Where people reach the console, for links; empty for `url` of `sign_in` in the platform file.",
            pattern="^(|https?://[^?#]+)$",
        ),
    ] = ""
    token: Annotated[
        str, Field(description="Token for the server, instead of the one that `mandamus login` keeps.", repr=False)
    ] = ""
    trusted_proxies: Annotated[
        str,
        Field(
            description="Addresses or networks, with commas, of proxies that are believed whom they forward for.",
            pattern=r"^(|[0-9A-Fa-f:.]+(/[0-9]{1,3})?(,[0-9A-Fa-f:.]+(/[0-9]{1,3})?)*)$",
        ),
    ] = ""
    database_url: Annotated[
        str, Field(description="A Postgres URL; empty means SQLite in the home.", pattern="^(|postgresql://.+)$")
    ] = ""
    origin: Annotated[
        str, Field(description="Name of the audit log in its checkpoints; fixed when the home is made.")
    ] = ""
    log_key: Annotated[
        str,
        Field(
            description="Private key of the log, PEM or a base64 seed, instead of a file in the home; may be several.",
            repr=False,
        ),
    ] = ""
    log_key_command: Annotated[
        str, Field(description="Program that signs for the log (a KMS), one command a line; no shell runs it.")
    ] = ""
    platform_key: Annotated[
        str,
        Field(
            description="Private key of the platform, PEM or a base64 seed, instead of a file in the home.", repr=False
        ),
    ] = ""
    platform_key_command: Annotated[
        str, Field(description="Program that signs for the platform; no shell runs it.")
    ] = ""
    key_timeout_s: Annotated[int, Field(description="How long a key command may take.", ge=1, le=120)] = 10
    terraform_path: Annotated[
        str, Field(description="The terraform or tofu to use; empty means the first on PATH, then the extra.")
    ] = ""
    terraform_cli_config: Annotated[
        str, Field(description="CLI configuration file handed to terraform (mirrors, credentials helpers).")
    ] = ""
    http_roots: Annotated[
        str, Field(description="File of certificates (PEM) that HTTP steps trust instead of the system's.")
    ] = ""
    policy_workers: Annotated[int, Field(description="Policy worker processes per policy set.", ge=1, le=16)] = 2
    policy_deadline_ms: Annotated[
        int, Field(description="A decision that takes longer is a deny.", ge=50, le=60_000)
    ] = 2_000
    policy_url: Annotated[
        str,
        Field(description="URL of an OPA server that decides instead of the embedded OPA.", pattern="^(|https?://.+)$"),
    ] = ""
    policy_token_file: Annotated[str, Field(description="File of the bearer token that the OPA server is shown.")] = ""
    policy_roots: Annotated[
        str, Field(description="File of certificates (PEM) that the OPA server is trusted by instead of the system's.")
    ] = ""
    audit_timeout_s: Annotated[
        int, Field(description="How long an effect waits for its intent to be in a checkpoint.", ge=1, le=600)
    ] = 30
    audit_lag_warn_s: Annotated[
        int, Field(description="The doctor warns when events wait longer for the published log.", ge=1, le=86_400)
    ] = 60
    audit_lag_block_s: Annotated[
        int, Field(description="Nothing is applied while events wait longer for the published log.", ge=1, le=86_400)
    ] = 300
    disk_free_min_percent: Annotated[
        int, Field(description="What must be free on the home's disk for anything to change; 0 for none.", ge=0, le=50)
    ] = 10
    disk_enough_gib: Annotated[
        int, Field(description="So much free space is enough on a disk of any size.", ge=1, le=100_000)
    ] = 2
    witness_mode: Annotated[
        Literal["none", "grace", "require"],
        Field(description="What an effect needs of the witnesses: nothing, their quorum but for a time, or always."),
    ] = "none"
    witness_grace_min: Annotated[
        int, Field(description="With the mode grace: how long effects go on without a quorum.", ge=1, le=100_000)
    ] = 60
    witness_timeout_s: Annotated[int, Field(description="How long one witness may take to answer.", ge=1, le=60)] = 5
    output_bytes_max: Annotated[
        int, Field(description="Output kept per step attempt; the rest is cut with a visible mark.", ge=65_536)
    ] = 100 * 1024 * 1024


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from the environment; an empty variable counts as unset.

    Raises ``usage`` and names every variable that does not fit, with the reason. A name that is nearly a setting's is
    one of them: a mistyped limit must not go unnoticed. Other names under the prefix are not ours to judge, since
    Kubernetes gives every container ``MANDAMUS_SERVICE_HOST`` and its like for a service called mandamus.
    """
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    given = {known[key]: value for key, value in environ.items() if key in known and value}
    wrong = _mistyped(environ, known)
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        wrong += [f"{PREFIX}{str(found['loc'][0]).upper()}: {found['msg']}" for found in error.errors()]
    if wrong:
        raise MandamusError(
            Code.USAGE,
            "\n".join(wrong),
            remedy="correct or unset the variables; docs/reference/settings.md lists them all",
        )
    return settings


def _mistyped(environ: Mapping[str, str], known: Mapping[str, str]) -> list[str]:
    settings = [name.upper() for name in known.values()]
    found = []
    for key in sorted(environ):
        if key.upper().startswith(PREFIX) and key not in known:
            near = suggest(key.upper().removeprefix(PREFIX), settings, nearness=0.75)
            if near is not None:
                found.append(f"{key}: no such setting; did you mean `{PREFIX}{near}`?")
    return found
