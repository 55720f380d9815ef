"""The page of all routes, as a person uses it."""

from playwright.sync_api import expect

from tests.support.fronts import Fleet
from tests.web.conftest import KEY, Opens


def test_routes_are_found_and_read(opens: Opens, fleet: Fleet) -> None:
    """Searching leaves what fits; a route shows its fields, limits and errors."""
    page = opens(f"{fleet.gateway}/docs").page
    page.fill("#search", "chat next turn")
    shown = page.locator(".route:visible")
    expect(shown).to_have_count(1)
    shown.locator("summary").first.click()
    expect(shown).to_contain_text("messages")
    expect(shown).to_contain_text("max_completion_tokens")
    expect(shown).to_contain_text("429")
    expect(shown).to_contain_text("Also at /chat/completions")


def test_a_route_is_tried(opens: Opens, fleet: Fleet) -> None:
    """The answer is shown with its status and its time."""
    page = opens(f"{fleet.gateway}/docs#get_v1_models").page
    route = page.locator("#get_v1_models")
    route.get_by_role("button", name="Send").click()
    expect(route.locator(".try pre")).to_contain_text("golek-tiny")
    expect(route.locator(".try [role=status]")).to_contain_text("200")


def test_the_key_goes_with_it(opens: Opens, locked: Fleet) -> None:
    """Without one the answer says what is missing, with it it comes."""
    watched = opens(f"{locked.gateway}/docs#get_v1_models")
    route = watched.page.locator("#get_v1_models")
    route.get_by_role("button", name="Send").click()
    expect(route.locator(".try [role=status]")).to_contain_text("A key is needed")
    watched.page.fill("#key", KEY)
    route.get_by_role("button", name="Send").click()
    expect(route.locator(".try pre")).to_contain_text("echo")
    assert all("401" in line for line in watched.complaints)
    watched.complaints.clear()


def test_it_fits_a_phone(opens: Opens, fleet: Fleet) -> None:
    """At 390 pixels nothing is cut off sideways, with every route open."""
    page = opens(f"{fleet.gateway}/docs", viewport={"width": 390, "height": 780}).page
    page.locator(".route").first.wait_for()
    page.evaluate("document.querySelectorAll('.route').forEach((one) => { one.open = true; })")
    page.locator(".try").last.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelector('main').scrollWidth") <= 390
