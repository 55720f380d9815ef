"""Who is a page of somebody else's? By table."""

import pytest

from golek_program.web import foreign
from golek_wire.errors import ForbiddenError

HERE = "127.0.0.1:8000"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": HERE},
        {"host": "localhost:8000"},
        {"host": "[::1]:8000"},
        {"host": "192.168.1.7"},
        {"host": "gateway:8000"},
        {"host": "host.docker.internal:8000"},
        {},
        {"host": HERE, "origin": f"http://{HERE}", "sec-fetch-site": "same-origin"},
        {"host": HERE, "sec-fetch-site": "none"},
        {"host": "llm.example.org", "origin": "https://app.example.org", "sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_programs_and_our_own_pages_may_ask(headers: dict[str, str]) -> None:
    """Under names that nobody can give to this door from outside; pages that were allowed, under any."""
    foreign.refuse(headers, {"https://app.example.org"})


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"host": "evil.example:8000", "origin": "http://evil.example:8000"}, "host: under the name 'evil.example:"),
        ({"host": "evil.example:8000", "sec-fetch-site": "same-origin"}, "host: "),
        ({"host": "evil.localhost.example"}, "host: "),
        ({"host": "[::1"}, "host: "),
        ({"host": HERE, "origin": "https://evil.example"}, "origin: pages of 'https://evil.example'"),
        ({"host": HERE, "origin": "null"}, "origin: "),
        ({"host": HERE, "origin": "http://localhost:8000"}, "origin: "),
        ({"host": HERE, "sec-fetch-site": "cross-site"}, "sec-fetch-site: "),
        ({"host": HERE, "sec-fetch-site": "same-site"}, "sec-fetch-site: "),
    ],
    ids=str,
)
def test_pages_of_others_may_not(headers: dict[str, str], problem: str) -> None:
    """Neither by a name that leads here, nor by a form, a picture or a frame; unless all may."""
    with pytest.raises(ForbiddenError, match=problem):
        foreign.refuse(headers, {"https://app.example.org"})
    foreign.refuse(headers, {"*"})
