"""Errors of this app, by what the caller must do.

ExecutionError
├── OrderDenied(code)    our own refusal: show it, record it, send nothing
├── NotSent(denial)      an entry was held back right before the socket: record it, free its slot
├── LeaseLost            another hub holds the lease: stop writing, leave
├── StepBlocked(reason)  a start-up step cannot go on yet: show it, retry with back-off
├── Stopping             the hub is asked to stop while it waits for something
├── DayOver              the hub's trading day is over and the next begins: leave, begin anew
├── RunFailed(reason)    the run cannot reach its end: record it, leave
├── ExportFailed         a table cannot be written: say why in one line
├── SwitchMoved          the kill switch is at another level than was meant: show it
└── SwitchStands         a stop that stands is stronger than the one asked for: show it

What a broker call may raise (`Refused`, `OutcomeUnknown`) stands in `brokers/port.py`; an illegal
move of an order or a trade is `domain.orders.IllegalTransition`.
"""

from execution.domain.limits import Denial


class ExecutionError(Exception):
    pass


class OrderDenied(ExecutionError):
    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(text or code)
        self.code = code


class NotSent(ExecutionError):
    def __init__(self, denial: Denial) -> None:
        super().__init__(f"{denial.code}: {denial.text}")
        self.denial = denial


class LeaseLost(ExecutionError):
    pass


class StepBlocked(ExecutionError):
    """A start-up step is not done yet; `waiting` means it only waits for somebody else."""

    def __init__(self, reason: str, *, waiting: bool = False) -> None:
        super().__init__(reason)
        self.waiting = waiting


class Stopping(ExecutionError):
    pass


class DayOver(ExecutionError):
    pass


class RunFailed(ExecutionError):
    pass


class SwitchMoved(ExecutionError):
    """Somebody turned the kill switch between a person's look and their reset."""


class SwitchStands(ExecutionError):
    """Nobody weakens a stop by turning the switch: that is a reset, which has its own right."""

    def __init__(self, standing: str, level: str) -> None:
        super().__init__(
            f"the kill switch stands at {standing}, which is stronger than {level}; "
            f"end {standing} first"
        )


class ExportFailed(ExecutionError):
    pass
