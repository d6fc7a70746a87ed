"""What whoever verifies demands besides the log's signature: cosignatures of witnesses, a timestamp."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mandamus.audit.quorum import QuorumPolicy, parse_policy
from mandamus.cli.late import late
from mandamus.evidence.later import Demands

# Parsers of certificates are slow to import, and few bundles are verified by them.
_stamps = late("mandamus.audit.timestamp:stamps")

F = TypeVar("F", bound=Callable[..., Any])


def policy_option(command: F) -> F:
    """``--policy``."""
    return click.option(
        "--policy", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The witnesses that must have cosigned the checkpoint (C2SP tlog-policy).",
    )(command)  # fmt: skip


def tsa_option(command: F) -> F:
    """``--tsa``."""
    return click.option(
        "--tsa", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Certificates (PEM) of the timestamp server that must have stamped the log (RFC 3161).",
    )(command)  # fmt: skip


def demanded(policy: Path | None, tsa: Path | None) -> Demands:
    """What a bundle must carry; raises ``value_invalid`` for a file that is none of its kind."""
    return Demands(quorum_of(policy), None if tsa is None else _stamps(tsa.read_bytes()))


def quorum_of(policy: Path | None) -> QuorumPolicy | None:
    """What the policy file says; raises ``value_invalid`` with its line."""
    return None if policy is None else parse_policy(policy.read_bytes())
