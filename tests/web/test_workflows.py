"""Workflows: the list, and the page of one with its text, inputs, steps and runs."""

from __future__ import annotations

import re

PAGE = "/workflows/storage/workflows/deploy.yaml"


def test_workflows_are_listed_by_project(visit):
    """Each with its file and what it does; a project without any shows the next command."""
    page = visit("grace").get("/workflows").text
    assert f'href="{PAGE}"' in page
    assert "2 steps" in page


def test_a_workflow_shows_all_there_is_of_it(visit, place):
    """Digest, inputs, a picture of its steps, its last runs, who may run it, and the way to the form."""
    run = place.run()
    page = visit("grace").get(PAGE).text
    assert "<title>Workflow deploy of storage · Mandamus</title>" in page
    assert re.search(r'<code class="digest">sha256:[0-9a-f]{64}</code>', page)
    assert re.search(r'<th scope="row">says</th><td>string</td><td><code>&#34;done&#34;</code></td>', page)
    assert page.count('<g class="node"') == 2
    assert run in page
    assert 'href="/catalog/storage/workflows/deploy.yaml"' in page
    assert "You may ask for it in dev, guarded." in page
    assert "mandamus catalog show storage workflows/deploy.yaml" in page


def test_each_line_of_the_text_has_an_address(visit, place):
    """Numbered, escaped, and as it stands in the file."""
    page = visit("grace").get(PAGE).text
    lines = (place.project / "workflows" / "deploy.yaml").read_text().splitlines()
    found = re.findall(r'<span class="line" id="L(\d+)"><a href="#L\1">\1</a> (.*)\n</span>', page)
    assert [int(number) for number, _ in found] == list(range(1, len(lines) + 1))
    assert "&#34;${{ inputs.says }}&#34;" in found[-1][1]


def test_a_workflow_that_cannot_run_is_shown_with_why(visit, place):
    """The place in the file, escaped; no form leads to it."""
    file = place.project / "workflows" / "bad.yaml"
    file.write_text("workflow: <b>bad</b>\nsteps: {one: {script: {run: x}}}\n")
    try:
        client = visit("grace")
        page = client.get("/workflows/storage/workflows/bad.yaml").text
        assert "workflows/bad.yaml:1:" in page
        assert "<b>bad" not in page
        assert "Ask for it" not in page
        assert "cannot run" in client.get("/workflows").text
    finally:
        file.unlink()


def test_what_is_no_workflow_is_not_there(visit):
    """No path leads out of the folder, and no other file of the project is shown."""
    client = visit("grace")
    for file in ("platform.yaml", "workflows/../platform.yaml", "../../etc/passwd", "workflows/none.yaml", "%2fetc"):
        assert client.get(f"/workflows/storage/{file}").status_code == 404
    assert client.get("/workflows/none/workflows/deploy.yaml").status_code == 404
