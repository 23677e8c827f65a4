"""Books what came to the account or left it without an order, from the broker's own activities.

A word that we do not know is booked in suspense, where the check of the books shows it until people
have said what it is; nothing is dropped. Of shares only a split of what we hold is booked; others
are said, and the comparison with the broker locks entries until people have looked.
"""

from accounts import services as books
from accounts.models import Account
from execution.brokers.port import Broker, CashActivity, is_whole
from execution.models import Activity, Run
from execution.services import activity, splits
from signals.session import day_of

#: Kinds of our books by how the broker's words begin (source: the activity types of its API).
KINDS = (
    ("DIV", "income"), ("INT", "income"), ("CIL", "income"),  # CIL: for a fraction of a share
    ("FEE", "fee"), ("CFEE", "fee"), ("PTC", "fee"),
    ("CSD", "transfer"), ("CSW", "transfer"), ("JNLC", "transfer"), ("ACATC", "transfer"),
)  # fmt: skip


def take_in(run: Run, broker: Broker, *, now_ns: int) -> int:
    """Book the cash and the splits since the run began; returns how many entries are new.

    Raises:
        BrokerError: the activities could not be read.
    """
    since_ns = int(run.started_at.timestamp() * 1_000_000_000)
    told = broker.cash_activities(after_ns=since_ns)
    count = sum(_book(run, one, now_ns) for one in told if one.amount)
    groups = splits.unbooked(run, told)
    left = groups
    if groups:
        there = {p.symbol: p.quantity for p in broker.positions() if is_whole(p.quantity)}
        left = splits.take_in(run, groups, there, now_ns=now_ns)
    others = [one for one in told if not one.amount and not splits.is_split(one)]
    for one in [*others, *(one for group in left for one in group)]:
        _say(run, one, now_ns)
    return count + len(groups) - len(left)


def kind_of(word: str) -> str:
    """Return the kind of entry for one of the broker's words; "suspense" for an unknown one."""
    return next((kind for begin, kind in KINDS if word.startswith(begin)), "suspense")


def _say(run: Run, one: CashActivity, now_ns: int) -> None:
    """Tell people, once, of shares that we cannot explain."""
    text = f"{one.kind} {one.symbol}: {one.shares} shares came without an order: people must look"
    facts = {"activity": one.activity_id}
    told = Activity.objects.filter(
        run=run, kind="reconcile", level="alarm", facts__activity=one.activity_id
    )
    if not told.exists():
        activity.note(run.pk, "reconcile", text, level="alarm", market_ns=now_ns, **facts)


def _book(run: Run, one: CashActivity, now_ns: int) -> bool:
    what = f"{one.kind} {one.symbol}".strip()
    kind = kind_of(one.kind)
    made = books.record_cash(
        Account.objects.get(run_id=run.pk, number=run.account_number),
        source_id=one.activity_id[:120],
        kind=kind,
        amount=one.amount,
        ts_ns=one.ts_ns,
        session_date=day_of(one.ts_ns),
        reason=f"{what} {one.text}".strip()[:200],
    )
    if made.created:
        level = "alarm" if kind == "suspense" else "info"
        text = f"{what}: {one.amount} USD booked as {kind}"
        activity.note(run.pk, "reconcile", text, level=level, market_ns=now_ns)
    return made.created
