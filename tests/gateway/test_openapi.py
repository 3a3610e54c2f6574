"""The published document is the code's, and it tells of every route."""

import dataclasses
import re
from pathlib import Path
from unittest.mock import MagicMock

from jsonschema import Draft202012Validator
from starlette.routing import Route

from gateway import openapi
from gateway.http import Http

PAGE = Path(__file__).parents[2] / "docs/openapi.json"
DOCUMENT = openapi.document()


def routes():
    """Return path and method of all routes of the API but the one that takes whatever is left."""
    http = Http(**{field.name: MagicMock() for field in dataclasses.fields(Http)})
    for route in http.application().routes:
        if isinstance(route, Route) and route.methods:
            path = re.sub(r":\w+}", "}", route.path)
            yield from ((path, method.lower()) for method in route.methods - {"HEAD"})


def test_the_published_document_is_the_codes():
    assert PAGE.read_text() == openapi.render(), "run python -m gateway.openapi > docs/openapi.json"


def test_every_reference_leads_somewhere():
    for at in re.findall(r'"\$ref": "#/([^"]+)"', openapi.render()):
        found = DOCUMENT
        for name in at.split("/"):
            found = found[name]
        assert found, at


def test_every_schema_is_one():
    for name in DOCUMENT["components"]["schemas"]:
        schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
        Draft202012Validator.check_schema(schema)


def test_every_route_is_told_of_and_nothing_else():
    told = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert told == set(routes())


async def test_it_is_served_to_anybody(bench):
    async with bench.http() as client:
        answer = await client.get("/v1/openapi.json", headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.json()) == (200, DOCUMENT)
