"""Which replicas of a model take jobs that are meant for them?

A router that wants to know asks on `golek.lanes.<token>`; each replica answers for itself, and says nothing while it
takes no jobs. A lane is a preference, never a trap: what lies there too long is taken by other replicas.
"""

from msgspec import Struct


class LaneReport(Struct, frozen=True):
    """One replica that takes jobs on its lane."""

    worker_id: str
    lane: str
    """The last token of its jobs' subject."""
    free: int
    """Slots without a job."""
    slots: int
