"""The OpenAPI document says what the routes do."""

from importlib import resources
from typing import Any
from urllib.parse import urljoin

import pytest
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from golek_program.web import openapi
from golek_program.web.described import describe
from golek_program.web.openapi import Work, document, field_sentences
from golek_worker.gateway import pages


class Question(Struct):
    """What is asked."""

    text: str
    """The words."""
    limit: int = 3


class Answer(Struct):
    """What comes back."""

    text: str


@describe(group="Talk", summary="Answers.", request=Question, reply=Answer, events=True, asks=True, errors=(501,))
async def answer(request: Request) -> Response:
    """For the tables below."""
    return Response()


@describe(group="Talk", summary="Lists.", query=Question, reply=list[Answer], others={503: Answer})
async def listed(request: Request) -> Response:
    """For the tables below."""
    return Response()


async def untold(request: Request) -> Response:
    """Says nothing of itself."""
    return Response()


@pytest.fixture
def told() -> dict[str, Any]:
    routes = [
        Route("/talk/{name:path}/now", answer, methods=["POST"]),
        Route("/talk", listed, methods=["GET"]),
        Route("/v1/talk", listed, methods=["GET"]),
        Route("/untold", untold),
    ]
    return document(routes, lambda path: path == "/talk", Work("Talk", "Talks.", "Here."))


def test_a_route_is_told_with_what_it_takes_and_gives(told: dict[str, Any]) -> None:
    """Body, answer, events, the name in its path, its errors, and that it wants a key."""
    operation = told["paths"]["/talk/{name}/now"]["post"]
    assert operation["summary"] == "Answers."
    assert operation["security"] == [{"key": []}]
    assert [one["name"] for one in operation["parameters"]] == ["name"]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Question"
    }
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert {"200", "400", "401", "403", "404", "408", "413", "429", "499", "501", "503", "504"} <= set(
        operation["responses"]
    )


def test_it_is_right_below_a_path_of_a_proxy(told: dict[str, Any]) -> None:
    """Its server is where the document itself lies."""
    (server,) = told["servers"]
    assert urljoin("https://llm.example.org/llm/openapi.json", server["url"]) == "https://llm.example.org/llm/"


def test_a_query_and_another_answer_are_told(told: dict[str, Any]) -> None:
    """The fields of a query are parameters; a status may have a body of its own; an open route wants no key."""
    operation = told["paths"]["/talk"]["get"]
    assert [(one["name"], one["required"]) for one in operation["parameters"]] == [("text", True), ("limit", False)]
    assert operation["parameters"][0]["description"] == "The words."
    assert operation["responses"]["503"]["content"]["application/json"]["schema"]["$ref"].endswith("/Answer")
    assert operation["security"] == []
    assert "401" not in operation["responses"]


def test_another_path_to_the_same_says_so(told: dict[str, Any]) -> None:
    """Readers see one operation, programs all paths."""
    assert told["paths"]["/v1/talk"]["get"]["x-same-as"] == told["paths"]["/talk"]["get"]["operationId"]
    assert "x-same-as" not in told["paths"]["/talk"]["get"]


def test_the_sentence_under_a_field_is_its_description(told: dict[str, Any]) -> None:
    """What is written for who reads the code is there for who asks, too."""
    assert told["components"]["schemas"]["Question"]["properties"]["text"]["description"] == "The words."
    assert field_sentences(Question) == {"text": "The words."}


def test_only_what_says_what_it_does_is_told(told: dict[str, Any]) -> None:
    """A route without a description is left out, rather than told wrongly."""
    assert "/untold" not in told["paths"]


def test_every_problem_that_an_operation_may_have_has_a_sentence() -> None:
    """No status is listed without words."""
    assert set(openapi.ASKED) | set(openapi.BODY) | {401, 405} <= set(openapi.PROBLEMS)


def test_the_files_of_the_pages_are_in_the_package() -> None:
    """They are found where the package is installed, and each has a kind that browsers know."""
    folders = [resources.files(package) / "static" for package in ("golek_worker.gateway", "golek_program.web")]
    assert {file.name for folder in folders for file in folder.iterdir()} == set(pages.FILES.all)
