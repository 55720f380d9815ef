"""Who is let in over HTTP."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from golek_monitor.picture import Picture
from golek_monitor.web.access import Access
from tests.support import sample_monitor

ORDER = "/api/models/qwen3-4b/drain"
KEYED = ("/api/services", "/api/replicas", "/api/events", "/api/history", "/api/nothing")
OPEN = ("/healthz", "/health/ready", "/openapi.json", "/api/access")


@pytest.fixture
async def public(seen: Picture) -> AsyncIterator[httpx2.AsyncClient]:
    """A monitor that others reach."""
    async with (
        sample_monitor.serving(seen, access=Access("s3cret", public=True)) as url,
        httpx2.AsyncClient(base_url=url) as client,
    ):
        yield client


async def test_strangers_learn_nothing_of_the_fleet(public: httpx2.AsyncClient) -> None:
    """Not even which paths there are; that the process lives, and what can be asked, everybody may know."""
    for path in KEYED:
        response = await public.get(path)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert [(await public.get(path)).status_code for path in OPEN] == [200] * len(OPEN)


async def test_a_browser_logs_in_looks_acts_and_logs_out(public: httpx2.AsyncClient) -> None:
    """With the cookie alone. The order then fails for want of a bus, not of rights."""
    assert (await public.get("/api/access")).json() == {"looks": False, "acts": False, "has_key": True}
    refused = await public.post("/api/login", json={"key": "guess"})
    assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)
    assert (await public.post(ORDER, json={})).status_code == 401
    assert (await public.post("/api/login", json={"key": "s3cret"})).json()["acts"] is True
    assert (await public.get("/api/access")).json() == {"looks": True, "acts": True, "has_key": True}
    assert (await public.get("/api/services")).status_code == 200
    assert (await public.post(ORDER, json={})).json()["error"]["code"] == "BUS_UNAVAILABLE"
    assert (await public.post("/api/logout", json={})).json()["looks"] is False
    assert (await public.get("/api/services")).status_code == 401


async def test_a_script_brings_the_key(public: httpx2.AsyncClient) -> None:
    """As a header; a wrong one is told so."""
    right, wrong = {"authorization": "Bearer s3cret"}, {"authorization": "Bearer guess"}
    assert (await public.get("/api/services", headers=right)).status_code == 200
    assert "MONITOR_KEY" in (await public.get("/api/services", headers=wrong)).json()["error"]["message"]


async def test_pages_of_others_get_nothing_out_of_a_browser_here(web: httpx2.AsyncClient) -> None:
    """Where no key is wanted, because only this machine reaches the door."""
    foreign = {"origin": "https://evil.example.org"}
    assert (await web.get("/api/services", headers=foreign)).status_code == 403
    assert (await web.get("/api/events", headers=foreign)).status_code == 403
    assert (await web.post(ORDER, json={}, headers=foreign)).status_code == 403
    assert (await web.post(ORDER, data={"worker_id": "x"})).status_code == 415
    assert (await web.post(ORDER, json={})).json()["error"]["code"] == "BUS_UNAVAILABLE"
