"""Who may be in the engine together? By example, without an engine."""

import pytest

from golek_worker.room import Manner, Room


async def test_ordinary_jobs_share_the_room() -> None:
    """Nobody waits while the door is open."""
    room = Room()
    assert room.enter("a", "together") is None
    assert room.enter("b", "together") is None
    assert room.accused is None


async def test_a_job_on_trial_joins_and_shuts_the_door() -> None:
    """Those inside stay; who comes later waits until it is acquitted, and then shares the room with it."""
    room = Room()
    room.enter("a", "together")
    assert room.enter("suspect", "trial") is None
    assert room.accused == "suspect"
    later = room.enter("b", "together")
    assert later is not None
    room.leave("a")
    assert not later.done()
    room.acquit("suspect")
    assert later.done()
    assert room.accused is None


async def test_suspects_are_tried_one_after_the_other() -> None:
    """The next trial begins when the one before has ended, whether by acquittal or by leaving."""
    room = Room()
    assert room.enter("first", "trial") is None
    second, third = room.enter("second", "trial"), room.enter("third", "trial")
    assert second is not None
    assert third is not None
    room.acquit("first")
    assert (second.done(), third.done(), room.accused) == (True, False, "second")
    room.leave("second")
    assert (third.done(), room.accused) == (True, "third")


async def test_who_is_not_accused_opens_no_door() -> None:
    """A guest acquitted before has nothing to say in the trial of another."""
    room = Room()
    room.enter("first", "trial")
    room.acquit("first")
    room.enter("second", "trial")
    room.acquit("first")
    room.leave("first")
    assert room.accused == "second"


async def test_alone_means_alone() -> None:
    """Those inside leave first, those after wait, until the end."""
    room = Room()
    room.enter("a", "together")
    suspect = room.enter("suspect", "alone")
    later = room.enter("b", "together")
    assert suspect is not None
    assert later is not None
    assert not suspect.done()
    room.leave("a")
    assert (suspect.done(), later.done(), room.accused) == (True, False, "suspect")
    room.leave("suspect")
    assert later.done()


@pytest.mark.parametrize("manner", ["trial", "alone"])
async def test_who_stops_waiting_holds_nobody_up(manner: Manner) -> None:
    """A cancelled turn is passed over, by those who wait already and by those who come."""
    room = Room()
    room.enter("first", manner)
    gone, later = room.enter("gone", manner), room.enter("b", "together")
    assert gone is not None
    assert later is not None
    gone.cancel()
    room.leave("first")
    assert later.done()
    again = room.enter("again", "alone")
    assert again is not None
    again.cancel()
    assert room.enter("c", "together") is None
