"""The one error class of the house and the one table of its codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType

Context = Mapping[str, object]


class Exit(IntEnum):
    """Exit codes of every command; the same code means the same everywhere."""

    OK = 0
    FAILED = 1
    USAGE = 2
    WAITING = 3
    DENIED = 4
    DRIFT = 5
    INDETERMINATE = 6
    TAMPERED = 10
    INCOMPLETE = 11
    UNTRUSTED = 12


class Code(Enum):
    """Every error code: its text, HTTP status and exit code. The reference page is tested against it."""

    INTERNAL = ("internal", 500, Exit.FAILED)
    USAGE = ("usage", 400, Exit.USAGE)
    UNAUTHENTICATED = ("unauthenticated", 401, Exit.FAILED)
    NOT_FOUND = ("not_found", 404, Exit.FAILED)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, Exit.USAGE)
    TOO_SLOW = ("too_slow", 408, Exit.FAILED)
    CONFLICT = ("conflict", 409, Exit.FAILED)
    FORBIDDEN = ("forbidden", 403, Exit.FAILED)
    STALE = ("stale", 412, Exit.FAILED)
    TOO_LARGE = ("too_large", 413, Exit.USAGE)
    RATE_LIMITED = ("rate_limited", 429, Exit.FAILED)
    UNAVAILABLE = ("unavailable", 503, Exit.FAILED)
    ID_INVALID = ("id_invalid", 400, Exit.USAGE)
    VALUE_INVALID = ("value_invalid", 422, Exit.USAGE)
    DOCUMENT_INVALID = ("document_invalid", 422, Exit.USAGE)
    EXPRESSION_INVALID = ("expression_invalid", 422, Exit.USAGE)
    BLOB_MISSING = ("blob_missing", 500, Exit.FAILED)
    BLOB_CORRUPT = ("blob_corrupt", 500, Exit.TAMPERED)
    STORAGE_FULL = ("storage_full", 507, Exit.FAILED)
    HOME_LOCKED = ("home_locked", 409, Exit.FAILED)
    HOME_INVALID = ("home_invalid", 500, Exit.FAILED)
    SCHEMA_UNKNOWN = ("schema_unknown", 500, Exit.FAILED)
    AUDIT_UNAVAILABLE = ("audit_unavailable", 503, Exit.FAILED)
    AUDIT_TAMPERED = ("audit_tampered", 500, Exit.TAMPERED)
    AUDIT_INCOMPLETE = ("audit_incomplete", 500, Exit.INCOMPLETE)
    AUDIT_UNTRUSTED = ("audit_untrusted", 500, Exit.UNTRUSTED)
    ENGINE_PICKLE = ("engine_pickle", 500, Exit.FAILED)
    EFFECT_INDETERMINATE = ("effect_indeterminate", 409, Exit.INDETERMINATE)
    POLICY_INVALID = ("policy_invalid", 422, Exit.USAGE)
    BACKTEST_NEEDED = ("backtest_needed", 409, Exit.FAILED)
    EXEMPTION_INVALID = ("exemption_invalid", 422, Exit.USAGE)
    POLICY_DENIED = ("policy_denied", 403, Exit.DENIED)
    POLICY_UNAVAILABLE = ("policy_unavailable", 503, Exit.DENIED)
    WORKFLOW_INVALID = ("workflow_invalid", 422, Exit.USAGE)
    SOURCE_INVALID = ("source_invalid", 422, Exit.USAGE)
    INPUT_INVALID = ("input_invalid", 422, Exit.USAGE)
    ENVIRONMENT_INVALID = ("environment_invalid", 422, Exit.USAGE)
    SECRET_MISSING = ("secret_missing", 422, Exit.FAILED)
    TOOL_MISSING = ("tool_missing", 422, Exit.FAILED)
    TOOL_FAILED = ("tool_failed", 422, Exit.FAILED)
    SANDBOX_UNAVAILABLE = ("sandbox_unavailable", 503, Exit.FAILED)
    STEP_TIMEOUT = ("step_timeout", 422, Exit.FAILED)
    STEP_CANCELLED = ("step_cancelled", 409, Exit.FAILED)
    STATE_CONFLICT = ("state_conflict", 409, Exit.FAILED)
    STATE_LOCKED = ("state_locked", 409, Exit.FAILED)
    TRANSITION_ILLEGAL = ("transition_illegal", 409, Exit.FAILED)
    DIGEST_MISMATCH = ("digest_mismatch", 409, Exit.TAMPERED)
    APPROVAL_REFUSED = ("approval_refused", 403, Exit.FAILED)
    EVIDENCE_INVALID = ("evidence_invalid", 422, Exit.TAMPERED)

    @property
    def text(self) -> str:
        """The code as users see it."""
        return self.value[0]

    @property
    def http_status(self) -> int:
        """HTTP status for the API and the console."""
        return self.value[1]

    @property
    def exit(self) -> Exit:
        """Exit code for the command line."""
        return self.value[2]


class MandamusError(Exception):
    """What went wrong, where, and the next command.

    ``message`` names the thing (and ``file:line:col`` where there is one), ``remedy`` says what to do next,
    ``context`` holds machine-readable facts without secrets, ``retryable`` says whether trying again can help.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        remedy: str,
        context: Context | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy
        self.context: Context = MappingProxyType(dict(context or {}))
        self.retryable = retryable

    def to_json(self) -> dict[str, object]:
        """The four parts as JSON-ready data."""
        return {
            "code": self.code.text,
            "message": self.message,
            "remedy": self.remedy,
            "context": dict(self.context),
            "retryable": self.retryable,
        }


@dataclass(frozen=True)
class Problem:
    """One finding in a document: many are reported at once. ``line`` and ``col`` count from 1."""

    file: str
    line: int
    col: int
    code: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}: {self.code}: {self.message} ({self.remedy})"


def raise_problems(code: Code, problems: list[Problem], *, remedy: str) -> None:
    """Raise one error that lists every problem, or return when there is none."""
    if not problems:
        return
    lines = "\n".join(str(p) for p in problems)
    raise MandamusError(
        code,
        lines,
        remedy=remedy,
        context={"problems": [vars(p) for p in problems]},
    )
