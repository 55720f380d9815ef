"""Named grammars over HTTP."""

import httpx2

from tests.support.fronts import Fleet

YES = {"name": "yes-no", "description": "Yes or no", "content": 'root ::= "yes" | "no"'}


async def test_a_grammar_has_a_life(fleet: Fleet) -> None:
    """Stored at the worker it is known at the gateway; changed over the revision that was read, and removed by it."""
    async with httpx2.AsyncClient() as client:
        worker, gateway = f"{fleet.worker}/grammars", f"{fleet.gateway}/grammars"
        made = await client.post(worker, json=YES)
        assert made.status_code == 201
        assert "content" not in made.json()
        read = (await client.get(f"{gateway}/yes-no")).json()
        assert (read["content"], read["description"]) == (YES["content"], "Yes or no")
        listed = (await client.get(gateway)).json()["grammars"]
        assert {"code", "json", "yes-no"} <= {one["name"] for one in listed}
        twice = await client.post(gateway, json=YES | {"revision": 0})
        assert (twice.status_code, twice.json()["error"]["code"]) == (409, "CONFLICT")
        changed = await client.put(
            f"{gateway}/yes-no", json={"content": 'root ::= "maybe"', "revision": read["revision"]}
        )
        assert changed.status_code == 200
        late = await client.delete(f"{worker}/yes-no", params={"revision": read["revision"]})
        assert late.status_code == 409
        gone = await client.delete(f"{worker}/yes-no")
        assert (gone.status_code, gone.json()) == (200, {"name": "yes-no", "deleted": True})
        again = await client.get(f"{gateway}/yes-no")
        assert (again.status_code, again.json()["error"]["code"]) == (404, "UNKNOWN_GRAMMAR")


async def test_what_is_wrong_is_named(fleet: Fleet) -> None:
    """A wrong grammar with its place, a wrong field, another name in the body, a built-in one."""
    async with httpx2.AsyncClient(base_url=fleet.gateway) as client:
        wrong = (await client.post("/grammars", json=YES | {"content": "root ::= ("})).json()["error"]
        assert wrong["code"] == "INVALID_GRAMMAR"
        assert "line 1" in wrong["message"]
        for answer, param in (
            (await client.post("/grammars", json={"name": "x", "content": 3}), "content"),
            (await client.put("/grammars/x", json=YES), "name"),
            (await client.delete("/grammars/x", params={"revision": "old"}), "revision"),
        ):
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        refused = await client.delete("/grammars/json")
        assert refused.status_code == 400
