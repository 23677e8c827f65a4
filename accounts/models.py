"""The books: accounts, and a journal that only grows.

An entry is one event with its postings; `source_key` makes a second delivery of the event a no-op.
A correction is a second entry that reverses the first.
"""

from django.db import models

from accounts.append_only import AppendOnly
from accounts.domain import ledger
from accounts.domain.money import to_micros
from accounts.fields import MicroDollarField


class Account(models.Model):
    """A brokerage account as one run sees it; every tape run has its own."""

    class Mode(models.TextChoices):
        PAPER = "paper"
        SHADOW = "shadow"
        LIVE = "live"

    number = models.CharField(max_length=32)
    run_id = models.CharField(max_length=64)
    mode = models.CharField(max_length=8, choices=Mode.choices, default=Mode.PAPER)
    opened_on = models.DateField(help_text="trading day of the opening balance")
    closed_through = models.DateField(
        null=True, editable=False, help_text="this day and all before it are closed"
    )

    class Meta:
        constraints = [
            # A replayed tape opens the same account number again, under its own run.
            models.UniqueConstraint(fields=["run_id", "number"], name="account_once_per_run"),
        ]

    def __str__(self) -> str:
        return f"{self.number} ({self.run_id})"


class JournalEntry(AppendOnly):
    """One event in the books; immutable."""

    class Kind(models.TextChoices):
        OPENING = "opening"
        FILL = "fill"
        ADOPTION = "adoption", "position adopted"
        SPLIT = "split"
        TRANSFER = "transfer"
        INCOME = "income"
        FEE = "fee"
        ADJUSTMENT = "adjustment"
        SUSPENSE = "suspense"
        REVERSAL = "reversal"

    account = models.ForeignKey(Account, models.PROTECT, related_name="entries")
    source_key = models.CharField(max_length=160, help_text="made by the source of the event")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    occurred_ns = models.BigIntegerField(help_text="venue time, UTC ns")
    session_date = models.DateField(help_text="the open day it is booked on")
    order_ref = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    # One-to-one: an entry is reversed at most once, whatever races.
    reverses = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="reversed_by"
    )
    recorded_at = models.DateTimeField(auto_now_add=True)

    class Meta(AppendOnly.Meta):
        verbose_name_plural = "journal entries"
        constraints = [
            models.UniqueConstraint(fields=["account", "source_key"], name="entry_once"),
        ]
        indexes = [models.Index(fields=["account", "session_date"], name="entry_by_day")]

    def __str__(self) -> str:
        return f"{self.source_key} ({self.kind})"


#: Entries with a row of `Fill`: what the lots are rebuilt from.
OF_FILLS = (JournalEntry.Kind.FILL, JournalEntry.Kind.ADOPTION, JournalEntry.Kind.SPLIT)


class Posting(AppendOnly):
    """One leg of an entry; the legs of an entry sum to zero on each day."""

    entry = models.ForeignKey(JournalEntry, models.PROTECT, related_name="postings")
    account = models.ForeignKey(Account, models.PROTECT, related_name="postings")
    ledger = models.CharField(
        max_length=16, choices=[(one.value, one.value) for one in ledger.Ledger]
    )
    symbol = models.CharField(max_length=16, blank=True)
    session_date = models.DateField()
    amount_usd = MicroDollarField(help_text="a debit is positive, a credit negative")
    quantity = models.BigIntegerField(default=0, help_text="signed shares")

    class Meta(AppendOnly.Meta):
        indexes = [
            models.Index(fields=["account", "ledger", "symbol"], name="posting_by_ledger"),
            models.Index(fields=["account", "session_date"], name="posting_by_day"),
        ]

    def __str__(self) -> str:
        return f"{self.ledger} {self.symbol} {self.amount_usd}".replace("  ", " ")


class Fill(AppendOnly):
    """The facts of an execution, or of a split, from which the lots are rebuilt."""

    entry = models.OneToOneField(JournalEntry, models.PROTECT, related_name="fill")
    account = models.ForeignKey(Account, models.PROTECT, related_name="fills")
    execution_id = models.CharField(max_length=128)
    symbol = models.CharField(max_length=16)
    quantity = models.BigIntegerField(help_text="signed shares: a buy is positive")
    price_usd = MicroDollarField()
    fee_usd = MicroDollarField(default=0)
    ts_ns = models.BigIntegerField(help_text="venue time, UTC ns")
    session_date = models.DateField(help_text="trading day of the execution")
    order_ref = models.CharField(max_length=64)

    class Meta(AppendOnly.Meta):
        constraints = [
            models.UniqueConstraint(fields=["account", "execution_id"], name="fill_once"),
        ]
        indexes = [models.Index(fields=["account", "symbol", "ts_ns"], name="fill_by_symbol")]

    def __str__(self) -> str:
        return f"{self.quantity:+d} {self.symbol} at {self.price_usd}"

    @property
    def facts(self) -> ledger.Fill:
        """This row as the pure ledger knows it."""
        ours = self.entry.kind == JournalEntry.Kind.FILL
        return ledger.Fill(
            execution_id=self.execution_id,
            symbol=self.symbol,
            quantity=self.quantity,
            price=to_micros(self.price_usd),
            ts_ns=self.ts_ns,
            day=self.session_date,
            fee=to_micros(self.fee_usd),
            source=ledger.Ledger.CASH if ours else ledger.Ledger.EXTERNAL,
            split=self.entry.kind == JournalEntry.Kind.SPLIT,
        )


class DayClose(AppendOnly):
    """What a day amounted to when it was closed; `check_books` holds the journal to it."""

    account = models.ForeignKey(Account, models.PROTECT, related_name="day_closes")
    session_date = models.DateField()
    realized_usd = MicroDollarField()
    fees_usd = MicroDollarField()
    cash_usd = MicroDollarField(help_text="balance at the end of the day")
    postings = models.PositiveIntegerField()
    recorded_at = models.DateTimeField(auto_now_add=True)

    class Meta(AppendOnly.Meta):
        constraints = [
            models.UniqueConstraint(fields=["account", "session_date"], name="day_closed_once"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.session_date}"
