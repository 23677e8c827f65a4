"""The books in the database under duplicates, disorder, busts, closed days, crashes and crowds."""

import itertools
import random
import threading
from datetime import date
from decimal import Decimal

import pytest
from django.db import connection, transaction
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from accounts import check, selectors, services
from accounts.domain.ledger import Balances, Fill, Ledger
from accounts.domain.money import to_micros
from accounts.errors import DayNotClosable
from tests.integration.accounts_builders import DAY, an_account, crash_after, record
from tests.unit.ledger_machine import LedgerMachine, as_decimal

pytestmark = [pytest.mark.db, pytest.mark.django_db]


class DatabaseBooks:
    """The services, as the state machine drives them."""

    def __init__(self) -> None:
        self.account = services.open_account(
            number="PA1", run_id="machine", cash=Decimal(0), session_date=DAY, ts_ns=0
        )
        self._balances: Balances | None = None

    def record_fill(self, fill: Fill) -> None:
        self._balances = None
        if fill.split:
            self._record_split(fill)
            return
        services.record_fill(
            self.account,
            execution_id=fill.execution_id,
            order_ref="o1",
            symbol=fill.symbol,
            side="buy" if fill.quantity > 0 else "sell",
            quantity=abs(fill.quantity),
            price=as_decimal(fill.price),
            ts_ns=fill.ts_ns,
            session_date=fill.day,
            fee=as_decimal(fill.fee),
        )

    def _record_split(self, fill: Fill) -> None:
        services.record_split(
            self.account,
            source_id=fill.execution_id.removeprefix("split:"),
            symbol=fill.symbol,
            shares=fill.quantity,
            ts_ns=fill.ts_ns,
            session_date=fill.day,
            reason="split",
        )

    def bust(self, execution_id: str) -> None:
        self._balances = None
        services.reverse(self.account, source_key=f"fill:{execution_id}", reason="bust", ts_ns=1)

    def record_cash(self, source_id: str, kind: str, amount: int) -> None:
        self._balances = None
        services.record_cash(
            self.account,
            source_id=source_id,
            kind=kind,
            amount=as_decimal(amount),
            ts_ns=1,
            session_date=DAY,
        )

    def close_day(self, day: date) -> bool:
        try:
            services.close_day(self.account, session_date=day)
        except DayNotClosable:
            return False
        return True

    def crash(self) -> None:
        before = self.account.postings.count()
        crash_after(lambda: self.record_cash("lost", "transfer", 1))
        self._balances = None
        assert self.account.postings.count() == before

    def balances(self) -> Balances:
        if self._balances is None:
            rows = selectors.balances(self.account).items()
            self._balances = {
                key: (to_micros(amount), quantity)
                for key, (amount, quantity) in rows
                if amount or quantity
            }
        return self._balances

    def realized_on(self, day: date) -> int:
        return to_micros(selectors.realized_pnl(self.account, day))

    def violations(self) -> list[str]:
        return check.check(self.account)


class DatabaseMachine(LedgerMachine):
    """Each life in a transaction that is rolled back."""

    def open_books(self) -> DatabaseBooks:
        self.life = transaction.atomic()
        self.life.__enter__()
        return DatabaseBooks()

    def teardown(self) -> None:
        if hasattr(self, "life"):
            transaction.set_rollback(True)
            self.life.__exit__(None, None, None)


def test_the_database_agrees_with_the_obvious_model_whatever_happens(db):
    examples = max(settings.default.max_examples // 10, 1)

    # No shrinking: in a database it takes minutes, and the pure ledger's machine finds the least.
    how = settings(
        max_examples=examples,
        stateful_step_count=20,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )
    run_state_machine_as_test(DatabaseMachine, settings=how)


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_lose_and_double_nothing():
    account = an_account()
    writers, executions = 4, 6
    failures: list[BaseException] = []
    go = threading.Barrier(writers)

    def write(writer: int) -> None:
        try:
            go.wait(10)
            for number in range(executions):  # every execution comes from every writer
                turn = (number + writer) % executions
                side = "buy" if turn % 2 else "sell"
                record(account, f"e{turn}", side=side, ts_ns=turn, price=Decimal(40 + turn))
        except BaseException as exc:  # noqa: BLE001 - shown by the main thread
            failures.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    assert account.fills.count() == executions
    assert selectors.balances(account)[Ledger.POSITION, "AIG"][1] == 0
    assert check.check(account) == []


@pytest.mark.django_db(transaction=True)
def test_whoever_reads_while_eight_write_sees_books_that_balance():
    account = an_account()
    writers, transfers = 8, 5
    failures: list[BaseException] = []
    unbalanced: list[object] = []
    go, over = threading.Barrier(writers + 1), threading.Event()

    def guarded(work) -> threading.Thread:
        def run() -> None:
            try:
                go.wait(10)
                work()
            except BaseException as exc:  # noqa: BLE001 - shown by the main thread
                failures.append(exc)
            finally:
                connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def write(writer: int) -> None:
        rng = random.Random(writer)
        for number in range(transfers):
            amount = Decimal(rng.choice((-1, 1)) * rng.randint(1, 10**9)).scaleb(-6)
            services.record_cash(
                account, source_id=f"{writer}-{number}", kind="transfer", amount=amount, ts_ns=1,
                session_date=DAY,
            )  # fmt: skip

    def read() -> None:
        while not over.is_set():
            total = sum(amount for amount, _ in selectors.balances(account).values())
            if total:
                unbalanced.append(total)

    reader = guarded(read)
    threads = [guarded(lambda n=n: write(n)) for n in range(writers)]
    for thread in threads:
        thread.join(120)
    over.set()
    reader.join(30)

    assert failures == []
    assert unbalanced == []
    assert account.entries.filter(kind="transfer").count() == writers * transfers
    assert check.check(account) == []


def test_any_amount_comes_back_from_the_column_as_it_went_in(db):
    account = an_account()
    numbers = itertools.count(1)

    @given(st.integers(-(10**15), 10**15).filter(bool))
    @settings(max_examples=max(settings.default.max_examples // 4, 1))
    def goes_in_and_comes_back(micros: int) -> None:
        amount = as_decimal(micros)
        made = services.record_cash(
            account, source_id=f"c{next(numbers)}", kind="transfer", amount=amount, ts_ns=1,
            session_date=DAY,
        )  # fmt: skip
        (kept,) = made.entry.postings.filter(ledger=Ledger.CASH).values_list(
            "amount_usd", flat=True
        )
        assert (kept, type(kept)) == (amount, Decimal)
        assert Decimal(repr(kept).split("'")[1]) == amount
        assert -kept.as_tuple().exponent <= 6

    goes_in_and_comes_back()
