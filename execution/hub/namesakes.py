"""Orders of today that have names of our form and that this run does not know.

Names are the same for every run of an account and day. Another run (or this one, before its
database was restored from a backup) used their slots: they count as taken and as entries of the
day, and nobody takes the orders, or what they bought, for ours.
"""

from datetime import time

from execution.brokers.port import BrokerOrder
from execution.hub.desk import Desk
from execution.hub.legs import DEAD_LEGS
from execution.services import external, journal, runs, venue_state
from signals.session import new_york_ns


def recognize(desk: Desk) -> list[str]:
    """Keep the orders of today that are named as ours and are not; return their names.

    Raises:
        BrokerError: the broker did not say which orders there are.
    """
    run = desk.run
    after_ns = new_york_ns(runs.day_of(run), time(0))
    strange = [
        seen
        for seen in desk.broker.orders(status="all", after_ns=after_ns)
        if external.name_of(run, seen.client_order_id) is not None and not _ours(desk, seen)
    ]
    named = (external.name_of(run, one.client_order_id) for one in strange)
    desk.entries_of_others = len({name.slot for name in named if name and name.day == run.day})
    fresh = [one for one in strange if not external.knows(run.pk, one.id)]
    for one in strange:
        works = one.status not in DEAD_LEGS
        external.note_order(run, one, now_ns=desk.now_ns(), locks=works)
    names = sorted(one.client_order_id for one in fresh)
    if names:
        text = "named as ours, made by another run or before a backup: their slots are taken"
        desk.note("reconcile", f"{', '.join(names)}: {text}", level="warning", orders=names)
    return names


def _ours(desk: Desk, seen: BrokerOrder) -> bool:
    """Do we know it? By its name alone only when it is not older than our own order."""
    row = venue_state.find(desk.run.pk, seen)
    if row is None:
        return False
    by_id = row.refs.filter(broker_id__in=filter(None, (seen.id, seen.replaces, seen.replaced_by)))
    return by_id.exists() or not journal.is_anothers(row, seen)
