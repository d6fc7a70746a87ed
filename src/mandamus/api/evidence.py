"""The route of the proof of a run."""

from __future__ import annotations

from fastapi import Response

from mandamus.api import given
from mandamus.api.door import Routes, TheHouse, Who
from mandamus.kernel import ids
from mandamus.kernel.access import Permission
from mandamus.kernel.ids import RunId

routes = Routes("evidence")


@routes.verb(
    "GET",
    "/runs/{run}/evidence",
    Permission.EVIDENCE_READ,
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}, "description": "The sealed bundle."}},
)
def get_evidence(house: TheHouse, who: Who, run: given.Run) -> Response:
    """The sealed bundle of a closed run, to be verified offline; that it was handed out is recorded."""
    run_id = RunId(ids.parse("run", run))
    digest, data = house.evidence.bundle(who, run_id)
    headers = {"Content-Disposition": f'attachment; filename="{run_id}.zip"', "ETag": f'"{digest}"'}
    return Response(data, media_type="application/zip", headers=headers)
