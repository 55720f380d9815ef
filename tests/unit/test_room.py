"""Who may be in the engine together? By example, without an engine."""

from golek_worker.room import Room


async def test_ordinary_jobs_share_the_room() -> None:
    """Nobody waits while nobody is alone."""
    room = Room()
    assert room.enter(alone=False) is None
    assert room.enter(alone=False) is None


async def test_a_suspect_waits_for_an_empty_room_and_keeps_it() -> None:
    """Alone means alone: those inside leave first, those after wait."""
    room = Room()
    room.enter(alone=False)
    suspect = room.enter(alone=True)
    later = room.enter(alone=False)
    assert suspect is not None
    assert later is not None
    assert not suspect.done()
    room.leave()
    assert suspect.done()
    assert not later.done()
    room.leave()
    assert later.done()


async def test_who_stops_waiting_holds_nobody_up() -> None:
    """A cancelled turn is passed over."""
    room = Room()
    room.enter(alone=False)
    suspect, later = room.enter(alone=True), room.enter(alone=False)
    assert suspect is not None
    assert later is not None
    suspect.cancel()
    room.leave()
    assert later.done()


async def test_a_suspect_that_gave_up_does_not_keep_newcomers_out() -> None:
    """Who comes after a cancelled turn goes in at once."""
    room = Room()
    room.enter(alone=False)
    suspect = room.enter(alone=True)
    assert suspect is not None
    suspect.cancel()
    assert room.enter(alone=False) is None


async def test_two_suspects_go_in_one_after_the_other() -> None:
    """Each has the room for itself, in the order they came."""
    room = Room()
    assert room.enter(alone=True) is None
    second, third = room.enter(alone=True), room.enter(alone=True)
    assert second is not None
    assert third is not None
    room.leave()
    assert second.done()
    assert not third.done()
    room.leave()
    assert third.done()
