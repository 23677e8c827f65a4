"""What the hub must never forget: runs, rounds, decisions, orders, trades, and who may write them.

The database is the only truth about money. Rows are claimed by compare-and-set UPDATEs, because
SQLite has no row locks and MariaDB ignores conditional unique constraints; where "at most one
active" is meant, a nullable key column is unique and set to NULL when the row is done.
"""

from django.db import models

from accounts.append_only import AppendOnly
from accounts.fields import MicroDollarField
from execution.external_models import Difference as Difference
from execution.external_models import ExternalOrder as ExternalOrder
from execution.external_models import Release as Release
from execution.written_once import Attempt, Event


class RunState(models.TextChoices):
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    FAILED = "failed"


class Run(models.Model):
    """One tape from start to end, or the open-ended live run."""

    id = models.CharField(primary_key=True, max_length=40)
    state = models.CharField(max_length=10, choices=RunState, default=RunState.STARTING)
    mode = models.CharField(max_length=10, default="paper")
    account_number = models.CharField(max_length=24, blank=True)
    day = models.DateField(null=True)
    open_ns = models.BigIntegerField(default=0)
    close_ns = models.BigIntegerField(default=0)
    lockstep = models.BooleanField(default=False)
    parameters_version = models.IntegerField(default=0)
    parameters = models.JSONField(default=dict)  # version -> the complete set
    assignment = models.IntegerField(default=0)
    assignments = models.JSONField(default=dict)  # shard id -> ranges
    grants = models.JSONField(default=list)  # the numbered grants behind `assignments`
    plan = models.JSONField(default=list)  # what they follow: the change's id, letters per shard
    dark = models.JSONField(default=list)  # letters that nobody reports: ranges, shard, since, why
    load = models.JSONField(default=dict)  # cell -> prints, when the letters were last given out
    universe = models.JSONField(default=list)
    market_ns = models.BigIntegerField(default=0)
    last_stop = models.BigIntegerField(default=-1)
    opening_cash = MicroDollarField(default=0)
    latches = models.JSONField(default=dict)  # what blocks entries until the day is over
    prints = models.BigIntegerField(default=0)
    build = models.CharField(max_length=40, blank=True)  # the hub that leads it: signals.build
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)
    summary = models.JSONField(null=True)

    def __str__(self) -> str:
        return self.id


class RoundState(models.TextChoices):
    CLOSED = "closed"  # inputs frozen, decision owed
    DECIDED = "decided"
    SKIPPED = "skipped_stale"


class Round(models.Model):
    """The one decision of bucket k, with the inputs it was made from."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="rounds")
    k = models.BigIntegerField()
    state = models.CharField(max_length=14, choices=RoundState)
    closed_ns = models.BigIntegerField()
    params_version = models.IntegerField()
    n_symbols = models.IntegerField(default=0)
    n_candidates = models.IntegerField(default=0)
    n_shadow = models.IntegerField(default=0)
    births = models.IntegerField(default=0)
    prints = models.BigIntegerField(default=0)
    late_prints = models.IntegerField(default=0)
    coverage = models.FloatField(default=1.0)
    flags = models.JSONField(default=list)
    funnel = models.JSONField(default=dict)
    streaks = models.JSONField(default=dict)
    withdrawn = models.JSONField(default=list)  # candidacies that ended: symbol, id, reason
    duplicates = models.JSONField(default=list)  # ignored: symbol, candidate id, what it was
    index = models.JSONField(default=dict)  # closes of the index symbols in this bucket
    inputs = models.BinaryField(null=True)  # packed: what decide() was given
    late_inputs = models.BinaryField(null=True)  # packed: what came after the round was closed
    decision_rows = models.BinaryField(null=True)  # packed rows of the decisions" hash
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "k"], name="one_round_per_bucket")]

    def __str__(self) -> str:
        return f"{self.run_id} round {self.k}"


class Decision(AppendOnly):
    """Why one candidate did or did not become an order in one round; never changed.

    `digest` is the SHA-256 of the record, which names the digest before it: a chain per run, in the
    order of the primary key (`services.chain`).
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+")
    k = models.BigIntegerField()
    symbol = models.CharField(max_length=16)
    candidate_id = models.CharField(max_length=48)
    outcome = models.CharField(max_length=24)
    primary_reason = models.CharField(max_length=200, blank=True)
    shadow = models.BooleanField(default=False)
    streak = models.IntegerField(default=0)
    rank = models.IntegerField(null=True)
    score = models.FloatField(null=True)
    record = models.JSONField()
    digest = models.CharField(max_length=64, blank=True)

    class Meta(AppendOnly.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["run", "k", "candidate_id"], name="one_decision_per_candidate"
            )
        ]
        indexes = [models.Index(fields=["run", "symbol", "k"], name="decision_by_symbol")]

    def __str__(self) -> str:
        return f"{self.symbol} {self.k} {self.outcome}"


class DecisionChain(models.Model):
    """The ends of a run's chain of decision records: one that is cut off at an end is missed too.

    `pruned` records went by age, from the beginning; `pruned_head` is the digest of the last one.
    """

    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="chain")
    head = models.CharField(max_length=64, blank=True)
    length = models.BigIntegerField(default=0)  # records ever written
    pruned = models.BigIntegerField(default=0)
    pruned_head = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return f"{self.run_id}: {self.length} records"


class UniverseEntry(models.Model):
    """One asset on one day: whether it may be entered, why not, and what is known of it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="listings")
    symbol = models.CharField(max_length=24)
    name = models.CharField(max_length=200, blank=True)
    included = models.BooleanField()
    reason = models.CharField(max_length=120, blank=True)  # why it is out, or what is unknown
    prev_close = models.FloatField(null=True)
    dollar_volume_20d = models.BigIntegerField(null=True)  # median, USD
    volume_14d = models.BigIntegerField(null=True)  # mean, shares
    volume_curve = models.JSONField(null=True)  # mean shares by each half hour of the session
    sector = models.CharField(max_length=40, blank=True)
    beta = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "symbol"], name="one_listing_per_symbol")
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {'in' if self.included else 'out'}"


class Trade(models.Model):
    """The life of one slot: from the reservation until the venue says flat.

    `slot_key` is unique while the slot counts and NULL once it was given back without a fill;
    `open_key` is unique while the trade is not closed: one active trade per symbol.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="trades")
    account_number = models.CharField(max_length=24)
    day = models.DateField()
    slot = models.IntegerField()
    try_no = models.IntegerField(default=1)
    slot_key = models.CharField(max_length=100, null=True, unique=True)
    open_key = models.CharField(max_length=64, null=True, unique=True)
    symbol = models.CharField(max_length=16)
    state = models.CharField(max_length=20)
    version = models.IntegerField(default=1)
    k = models.BigIntegerField()
    candidate_id = models.CharField(max_length=48)
    score = models.FloatField(default=0)
    quantity = models.IntegerField()
    limit = MicroDollarField()
    take_profit = MicroDollarField()
    stop_loss = MicroDollarField()
    filled_quantity = models.IntegerField(default=0)
    entry_value = MicroDollarField(default=0)
    exit_quantity = models.IntegerField(default=0)
    exit_value = MicroDollarField(default=0)
    realized_pnl = MicroDollarField(default=0)
    parameters_version = models.IntegerField()
    exit_parameters = models.JSONField(default=dict)
    reserved_ns = models.BigIntegerField()
    send_before_ns = models.BigIntegerField(default=0)  # a later entry would chase an old signal
    opened_ns = models.BigIntegerField(null=True)  # first fill
    filled_ns = models.BigIntegerField(null=True)  # entry terminal with shares
    protected_ns = models.BigIntegerField(null=True)
    naked_since_ns = models.BigIntegerField(null=True)
    naked_ns = models.BigIntegerField(default=0)  # total time without verified protection
    exit_why = models.CharField(max_length=24, blank=True)  # what we asked for, when we did
    exit_reason = models.CharField(max_length=24, blank=True)  # what closed it
    exit_step = models.CharField(max_length=16, blank=True)
    exit_due_ns = models.BigIntegerField(null=True)
    closed_ns = models.BigIntegerField(null=True)
    watch_acked = models.IntegerField(default=0)  # newest version a shard has confirmed
    protect_tries = models.IntegerField(default=0)
    reanchored = models.BooleanField(default=False)
    first_stop = MicroDollarField(null=True)  # before our software raised it; NULL: it never did
    stop_moved_ns = models.BigIntegerField(null=True)  # when it last tried to
    high = MicroDollarField(null=True)  # best eligible price of whole buckets since the entry
    leave_why = models.CharField(max_length=24, blank=True)  # asked for; the hub does it
    flags = models.JSONField(default=list)  # what people should know of how it was born
    quarantined = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["run", "state"], name="trade_by_state")]

    def __str__(self) -> str:
        return f"{self.symbol} slot {self.slot} {self.state}"

    @property
    def position_id(self) -> str:
        """Name of the position in messages to shards."""
        return f"{self.run_id}:{self.pk}"

    @property
    def held(self) -> int:
        """Shares we hold by the fills we know."""
        return self.filled_quantity - self.exit_quantity


class Order(models.Model):
    """The intent to have an order at the broker, and what became of it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="orders")
    trade = models.ForeignKey(Trade, on_delete=models.PROTECT, related_name="orders")
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="legs")
    purpose = models.CharField(max_length=4)  # e entry, tp, sl legs, o OCO, x exit, f flatten
    client_order_id = models.CharField(max_length=128)
    broker_id = models.CharField(max_length=40, null=True)
    symbol = models.CharField(max_length=16)
    side = models.CharField(max_length=4)
    type = models.CharField(max_length=16)
    quantity = models.IntegerField()
    limit = MicroDollarField(null=True)
    stop = MicroDollarField(null=True)
    take_profit = MicroDollarField(null=True)
    stop_loss = MicroDollarField(null=True)
    time_in_force = models.CharField(max_length=4, default="gtc")
    status = models.CharField(max_length=20)
    venue_status = models.CharField(max_length=24, blank=True)
    filled_quantity = models.IntegerField(default=0)
    filled_value = MicroDollarField(default=0)
    reason = models.CharField(max_length=200, blank=True)
    # our own refusal: its code, what was measured, what is allowed (null: no number)
    denied_code = models.CharField(max_length=24, blank=True)
    denied_value = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    denied_limit = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    fence_epoch = models.BigIntegerField()
    created_ns = models.BigIntegerField()
    expires_ns = models.BigIntegerField(null=True)  # entry TTL, market clock
    sent_ns = models.BigIntegerField(null=True)
    terminal_ns = models.BigIntegerField(null=True)
    cancel_requested_ns = models.BigIntegerField(null=True)
    replace_requested_ns = models.BigIntegerField(null=True)
    late_fill = models.BooleanField(default=False)
    quarantined = models.BooleanField(default=False)  # set aside: people must look (`Release`)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "client_order_id"], name="one_client_order_id"),
            models.UniqueConstraint(fields=["run", "broker_id"], name="one_broker_id"),
        ]
        indexes = [models.Index(fields=["run", "status"], name="order_by_status")]

    def __str__(self) -> str:
        return f"{self.client_order_id} {self.status}"

    @property
    def leaves(self) -> int:
        return self.quantity - self.filled_quantity


class BrokerRef(models.Model):
    """Every id the broker ever gave one of our orders: a replaced leg has a chain of them."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE)
    broker_id = models.CharField(max_length=40)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="refs")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "broker_id"], name="one_owner_per_broker_id")
        ]

    def __str__(self) -> str:
        return self.broker_id


class OrderAttempt(Attempt):
    """One request to the broker, committed before it is sent; no outcome means unknown."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="attempts")
    kind = models.CharField(max_length=8)  # submit, replace, cancel
    n = models.IntegerField()
    fence_epoch = models.BigIntegerField()
    sent_ns = models.BigIntegerField()
    sent_at = models.DateTimeField(auto_now_add=True)
    outcome = models.CharField(max_length=10, null=True)  # confirmed, refused, unknown, abandoned
    message = models.CharField(max_length=300, blank=True)
    answer = models.JSONField(null=True)
    answered_at = models.DateTimeField(null=True)

    class Meta(AppendOnly.Meta):
        constraints = [
            models.UniqueConstraint(fields=["order", "kind", "n"], name="one_attempt_number")
        ]

    def __str__(self) -> str:
        return f"{self.order_id} {self.kind} {self.n} {self.outcome}"


class BrokerEvent(Event):
    """What the broker said, raw, stored in the transaction of its effect; once per key."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT)
    key = models.CharField(max_length=120)
    source = models.CharField(max_length=10)  # stream, rest, fills, activities, books
    event = models.CharField(max_length=24)
    order = models.ForeignKey(Order, null=True, on_delete=models.PROTECT, related_name="events")
    ts_ns = models.BigIntegerField()
    raw = models.JSONField()
    received_at = models.DateTimeField(auto_now_add=True)

    class Meta(AppendOnly.Meta):
        constraints = [models.UniqueConstraint(fields=["run", "key"], name="one_event_per_key")]

    def __str__(self) -> str:
        return self.key


class ExitSignalRecord(models.Model):
    """A shard's hint that a threshold was crossed, and what the hub made of it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE)
    signal_id = models.CharField(max_length=120)
    trade = models.ForeignKey(Trade, null=True, on_delete=models.CASCADE, related_name="signals")
    symbol = models.CharField(max_length=16)
    kind = models.CharField(max_length=10)
    ts_ns = models.BigIntegerField()
    body = models.JSONField()
    outcome = models.CharField(max_length=20, blank=True)
    reason = models.CharField(max_length=120, blank=True)
    checks = models.JSONField(default=list)
    retry_at_ns = models.BigIntegerField(null=True)
    tries = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "signal_id"], name="one_record_per_signal")
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.kind} {self.outcome}"


class OvernightReview(models.Model):
    """What a person decided about a position that slept; append-only, the newest counts."""

    trade = models.ForeignKey(Trade, on_delete=models.CASCADE, related_name="reviews")
    decision = models.CharField(max_length=8)  # keep, sell
    reason = models.CharField(max_length=200)
    actor = models.CharField(max_length=80)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.trade_id} {self.decision}"


class StartupStep(models.Model):
    """One step of the start-up sequence, as the pages show it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps")
    position = models.IntegerField()
    name = models.CharField(max_length=24)
    state = models.CharField(max_length=10)  # pending, running, done, blocked
    reason = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="one_row_per_step")]
        ordering = ["position"]

    def __str__(self) -> str:
        return f"{self.name} {self.state}"


class Lease(models.Model):
    """Who may write orders; taken and renewed by conditional UPDATE on the database's clock."""

    name = models.CharField(primary_key=True, max_length=20)
    epoch = models.BigIntegerField(default=0)
    holder = models.CharField(max_length=80, blank=True)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} epoch {self.epoch}"


class KillSwitch(AppendOnly):
    """The newest row is the state of the switch."""

    level = models.CharField(max_length=16)
    reason = models.CharField(max_length=200)
    actor = models.CharField(max_length=80)
    at = models.DateTimeField(auto_now_add=True)

    class Meta(AppendOnly.Meta):
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.level


class ShardChange(models.Model):
    """Append-only: who takes part, and by which plan letters are given out; the newest counts.

    `enroll` and `drain` name a shard; one that was never named takes part. `plan` is `letters`,
    `load` or a map, and gives the letters out anew.
    """

    action = models.CharField(max_length=8)  # enroll, drain, plan
    shard = models.IntegerField(null=True)
    plan = models.CharField(max_length=400, blank=True)
    actor = models.CharField(max_length=150)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.action} {self.plan if self.shard is None else self.shard}"


class Figure(models.Model):
    """A measurement that people look at: the drill of the kill switch, the check of the books."""

    name = models.CharField(max_length=16)  # drill, books
    ok = models.BooleanField()
    body = models.JSONField()
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["name", "-id"], name="figure_by_name")]

    def __str__(self) -> str:
        return f"{self.name} {self.at:%F %T}"


class Activity(models.Model):
    """The hub's log for people: one row per change of state."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE)
    at = models.DateTimeField(auto_now_add=True)
    market_ns = models.BigIntegerField(default=0)
    level = models.CharField(max_length=8, default="info")
    kind = models.CharField(max_length=24)
    text = models.CharField(max_length=300)
    facts = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.text


class Acknowledgement(models.Model):
    """Somebody has read a warning or an error of the log; written once."""

    activity = models.OneToOneField(Activity, on_delete=models.CASCADE, related_name="seen")
    actor = models.CharField(max_length=150)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.actor}: {self.activity_id}"
