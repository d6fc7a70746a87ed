"""What tests of identity write to."""

from __future__ import annotations

import pytest

from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer


@pytest.fixture
def audit(database, home, clock, entropy) -> Audit:
    return Audit(database, home / "log", Signer("log.example.com/home", b"\x07" * 32), clock, entropy)
