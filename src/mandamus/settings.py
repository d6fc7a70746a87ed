"""Every setting there is: type, default, help. Only bootstrap reads them; each is ``MANDAMUS_<NAME>`` in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mandamus.kernel.errors import Code, MandamusError

PREFIX = "MANDAMUS_"


class Settings(BaseModel):
    """The settings of one process, checked at start-up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Annotated[Path | None, Field(description="Where the embedded home lives; the option --home wins.")] = None
    user: Annotated[str, Field(description="Act as this user, like --as; only for the owner of the home.")] = ""
    debug: Annotated[bool, Field(description="Show tracebacks of unexpected errors.")] = False
    database_url: Annotated[
        str, Field(description="A Postgres URL; empty means SQLite in the home.", pattern="^(|postgresql://.+)$")
    ] = ""
    origin: Annotated[
        str, Field(description="Name of the audit log in its checkpoints; fixed when the home is made.")
    ] = ""
    terraform_path: Annotated[
        str, Field(description="The terraform or tofu to use; empty means the first on PATH, then the extra.")
    ] = ""
    terraform_cli_config: Annotated[
        str, Field(description="CLI configuration file handed to terraform (mirrors, credentials helpers).")
    ] = ""
    step_threads: Annotated[int, Field(description="Steps of one run that run side by side.", ge=1, le=32)] = 8
    run_threads: Annotated[int, Field(description="Runs that one process advances at once.", ge=1, le=32)] = 8
    policy_workers: Annotated[int, Field(description="Policy worker processes per policy set.", ge=1, le=16)] = 2
    policy_deadline_ms: Annotated[
        int, Field(description="A decision that takes longer is a deny.", ge=50, le=60_000)
    ] = 2_000
    audit_timeout_s: Annotated[
        int, Field(description="How long an effect waits for its intent to be in a checkpoint.", ge=1, le=600)
    ] = 30
    output_bytes_max: Annotated[
        int, Field(description="Output kept per step attempt; the rest is cut with a visible mark.", ge=65_536)
    ] = 100 * 1024 * 1024


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from the environment; raises ``usage`` and names every variable that does not fit."""
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    given = {known[key]: value for key, value in environ.items() if key in known}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        lines = [f"{PREFIX}{str(found['loc'][0]).upper()}: {found['msg']}" for found in error.errors()]
        raise MandamusError(
            Code.USAGE,
            "\n".join(lines),
            remedy="correct or unset the variables; docs/reference/settings.md lists them all",
        ) from error
