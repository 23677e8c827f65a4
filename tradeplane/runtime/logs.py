"""Log lines: fixed text, then the facts of `extra` as key=value; never a secret."""

import logging

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}
_SECRET_WORDS = ("secret", "password", "token", "authorization", "cookie", "api_key")


class FactsFormatter(logging.Formatter):
    """`time LEVEL logger: message key=value …`; values of secret-looking keys are masked."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        facts = " ".join(
            f"{key}={_shown(key, value)}"
            for key, value in vars(record).items()
            if key not in _STANDARD
        )
        return f"{line} {facts}" if facts else line


def _shown(key: str, value: object) -> str:
    if any(word in key.lower() for word in _SECRET_WORDS):
        return "***"
    return str(value).replace("\n", "\\n").replace("\x1b", "\\e")
