"""Numbers as people read them: one form each (see the look's page on numbers), `–` when missing."""

from datetime import UTC, datetime
from decimal import Decimal

from signals.session import NEW_YORK

NARROW = "\u202f"
MINUS = "−"
JOINER = "\u2060"
MISSING = "–"
MINUTE_S, HOUR_S = 60, 3600


def time_of(ts_ns: int | None) -> str:
    """`10:42:30`, New York."""
    if not ts_ns or ts_ns <= 0:
        return MISSING
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, NEW_YORK).strftime("%H:%M:%S")


def clock(ts_ns: int | None) -> str:
    """`10:42:30 ET`."""
    text = time_of(ts_ns)
    return text if text == MISSING else f"{text} ET"


def wall(at: datetime, now: datetime | None = None) -> str:
    """`10:42:30 ET` today, `Tue 08:40 ET` on another day."""
    local = at.astimezone(NEW_YORK)
    if local.date() == (now or datetime.now(UTC)).astimezone(NEW_YORK).date():
        return local.strftime("%H:%M:%S ET")
    return local.strftime("%a %d %b %H:%M ET")


def number(value: float | Decimal | None, digits: int = 1, *, signed: bool = False) -> str:
    if value is None or value != value:
        return MISSING
    text = f"{abs(value):,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def count(value: int | None) -> str:
    """`11,012`; from a million `2.1 million`."""
    if value is None:
        return MISSING
    return f"{value / 1e6:,.1f} million" if value >= 1_000_000 else f"{value:,}"


def price(value: float | Decimal | None) -> str:
    """Two decimals, four below a dollar."""
    if value is None or value != value:
        return MISSING
    return number(value, 4 if -1 < value < 1 else 2)


def money(value: Decimal | None, *, signed: bool = True) -> str:
    """`+$68.54`, `−$125.21`."""
    if value is None:
        return MISSING
    cents = value.quantize(Decimal("0.01"))
    sign = MINUS if cents < 0 else "+" if cents > 0 and signed else ""
    return f"{sign}${abs(cents):,.2f}"


def unbroken(text: str) -> str:
    """Keep a minus with its amount where a narrow line wraps."""
    return text.replace(f"{MINUS}$", f"{MINUS}{JOINER}$")


def percent(value: float | Decimal | None, digits: int = 2) -> str:
    """`+1.15 %`, always signed."""
    if value is None or value != value:
        return MISSING
    return f"{number(value, digits, signed=True)}{NARROW}%"


def arrow(value: float | Decimal | None) -> str:
    if value is None or value != value:
        return ""
    return "▲" if value > 0 else "▼" if value < 0 else "■"


def tone(value: float | Decimal | None) -> str:
    """The class of a gain or a loss."""
    if value is None or value != value or value == 0:
        return ""
    return "up" if value > 0 else "down"


def milliseconds(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f} ms"


def duration(seconds: float | None) -> str:
    """`912 ms`, `2.4 s`, `3 min 20 s`, `4 h 32 min`."""
    if seconds is None or seconds < 0:
        return MISSING
    if seconds < 1:
        return f"{seconds * 1000:,.0f} ms"
    if seconds < MINUTE_S:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min {whole % MINUTE_S:02d} s"
    return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S:02d} min"


def counted(value: int, thing: str) -> str:
    """`1 candidate`, `2 candidates`, `No candidates`."""
    return f"{f'{value:,}' if value else 'No'} {thing}{'' if value == 1 else 's'}"


def words(name: str) -> str:
    return name.replace("_", " ")


def size(n_bytes: int) -> str:
    """`512 KB`, `6.2 MB`."""
    if n_bytes < 1_000_000:
        return f"{n_bytes / 1_000:,.0f} KB"
    return f"{n_bytes / 1_000_000:,.1f} MB"
