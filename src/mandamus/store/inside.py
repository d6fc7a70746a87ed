"""The condition that keeps a list to the places where somebody may read it: in SQL, so that pages stay whole."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from mandamus.kernel.access import Area


def inside(
    areas: Sequence[Area], project: sa.ColumnElement[str], environment: sa.ColumnElement[str]
) -> list[sa.ColumnElement[bool]]:
    """That a row's project and environment lie in one of the places: no condition for everywhere, false for nowhere."""
    if any(area.everywhere for area in areas):
        return []
    return [sa.or_(sa.false(), *(_lies_in(area, project, environment) for area in areas))]


def _lies_in(area: Area, project: sa.ColumnElement[str], environment: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    held = ((project, area.projects), (environment, area.environments))
    return sa.and_(*(column.in_(sorted(names)) for column, names in held if names is not None))
