"""What a run amounted to, as `manage.py books sums` and `books equity` tell it."""

from datetime import date
from typing import Any, Literal, Self

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field, model_validator

from execution import reports
from tradeplane.api.errors import NOT_FOUND, REFUSALS
from tradeplane.api.rows import run_of
from tradeplane.api.schemas import LIMIT_MAX, Money, RunId

router = Router()


class DaysAsked(Schema):
    run: RunId | None = None
    first: date | None = Field(None, description="New York day")
    last: date | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError(f"first {self.first} is after last {self.last}")
        return self


class SumsAsked(DaysAsked):
    by: Literal["day", "week", "month", "version", "hour", "exit_reason", "symbol"] = "day"


class SumOut(Schema):
    by: str
    trades: int
    wins: int
    pnl: Money = Field(description="of the trades, before fees")
    fees: Money
    income: Money = Field(description="dividends and interest")
    other: Money = Field(description="in the ledger, and no closed trade explains it")
    net: Money
    transfers: Money = Field(description="moved in or out: no profit")
    average: Money | None
    best: Money | None
    worst: Money | None
    average_r: Money | None
    closed: bool = Field(description="every day of it is closed: it stays as it is")


class Sums(Schema):
    run: str | None
    opening: Money | None = Field(description="equity before the first day, positions at cost")
    items: list[SumOut]


class StepOut(Schema):
    day: date
    at: str = Field(description='New York time; "" of the day as a whole')
    what: str
    symbol: str
    pnl: Money
    transfer: Money
    equity: Money
    drawdown: Money
    text: str


class Equity(Schema):
    run: str | None
    opening: Money | None
    items: list[StepOut]


@router.get("/sums", response={200: Sums, **REFUSALS, **NOT_FOUND}, tags=["books"])
def sums(request: HttpRequest, asked: Query[SumsAsked]) -> dict[str, Any]:
    """Trades, fees, income and transfers by day or by what one asks; the last 500 lines."""
    told = _report(asked)
    if told is None:
        return {"run": None, "opening": None, "items": []}
    run, report = told
    items = reports.sums(report, asked.by)[-LIMIT_MAX:]
    return {"run": run, "opening": report.opening, "items": items}


@router.get("/equity", response={200: Equity, **REFUSALS, **NOT_FOUND}, tags=["books"])
def equity(request: HttpRequest, asked: Query[DaysAsked]) -> dict[str, Any]:
    """The equity after each closed trade and each other change; the last 500 steps."""
    told = _report(asked)
    if told is None:
        return {"run": None, "opening": None, "items": []}
    run, report = told
    items = reports.equity_curve(report)[-LIMIT_MAX:]
    return {"run": run, "opening": report.opening, "items": items}


def _report(asked: DaysAsked) -> tuple[str, reports.Report] | None:
    run = run_of(asked.run)
    return (
        None
        if run is None
        else (run.pk, reports.report(run.pk, first=asked.first, last=asked.last))
    )
