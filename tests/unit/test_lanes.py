"""How often replicas look at lanes."""

from golek_worker.bus.lanes import LANES_LOOKED_AT, LOOK_S, pause


def test_many_replicas_together_look_no_more_often_than_few() -> None:
    """Up to some lanes each replica looks once in LOOK_S; of ten times as many each looks a tenth as often."""
    assert pause(1, follows=False) == LOOK_S
    many = [pause(10 * LANES_LOOKED_AT, follows=False) for _ in range(2000)]
    assert 9 * LOOK_S < sum(many) / len(many) < 11 * LOOK_S
    assert min(many) >= 5 * LOOK_S


def test_a_second_look_follows_the_first() -> None:
    """However many lanes there are: who has a slot takes what is left about a second after it was seen."""
    assert pause(1000, follows=True) == LOOK_S
