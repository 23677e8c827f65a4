"""The one place that says which platform the account is on; nothing above it names one."""

from execution.brokers.alpaca import AlpacaBroker
from execution.brokers.port import Broker


def connect(*, url: str, key: str, secret: str, stream_url: str = "") -> Broker:
    """Return the account behind these keys; no request is made yet.

    Args: url: of the broker's trading interface; stream_url: of the account's news, "" the one that
        belongs to `url`.
    """
    return AlpacaBroker(url=url, key=key, secret=secret, stream_url=stream_url)
