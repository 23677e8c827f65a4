"""What the hub is told from outside, once, at its start."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

PAPER_HOST = "paper-api.alpaca.markets"
DATA_URL = "https://data.alpaca.markets"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class HubConfig:
    run_id: str
    shards: int
    speed: float
    record_dir: str
    relay_url: str
    relay_key: str
    relay_secret: str
    relay_ca_file: str = ""
    redis_url: str
    broker_url: str
    broker_key: str
    broker_secret: str
    stream_url: str  # of the account's news, "" the one that belongs to `broker_url`
    lockstep_url: str
    live_allowed: bool
    futures_source: str = ""
    data_url: str = ""  # of the broker's historical data, "" none
    symbol_notes: str = ""  # file of symbol,sector,beta

    @classmethod
    def from_settings(cls) -> "HubConfig":
        return cls(
            run_id=settings.TRADEPLANE_RUN,
            shards=settings.TRADEPLANE_SHARDS,
            speed=settings.TRADEPLANE_SPEED,
            record_dir=settings.TRADEPLANE_RECORD_DIR,
            relay_url=settings.RELAY_URL,
            relay_key=settings.RELAY_KEY_ID,
            relay_secret=settings.RELAY_SECRET,
            relay_ca_file=settings.RELAY_CA_FILE,
            redis_url=settings.REDIS_STATE_URL,
            broker_url=settings.APCA_API_BASE_URL,
            broker_key=settings.APCA_API_KEY_ID,
            broker_secret=settings.APCA_API_SECRET_KEY,
            stream_url=settings.APCA_STREAM_URL,
            lockstep_url=settings.VENUE_LOCKSTEP_URL,
            live_allowed=settings.LIVE_TRADING,
            futures_source=settings.TRADEPLANE_FUTURES,
            data_url=settings.APCA_DATA_BASE_URL or data_url_of(settings.APCA_API_BASE_URL),
            symbol_notes=settings.TRADEPLANE_SYMBOLS,
        )

    def account_mode(self, mode: str) -> str:
        """Return what the account behind the keys is good for, seen from a trading mode.

        Shadow sends its orders to the venue on this machine only, never to Alpaca.
        """
        host = urlsplit(self.broker_url).hostname or ""
        if host in LOOPBACK:
            return mode if mode in ("paper", "shadow") else "paper"
        if host == PAPER_HOST:
            return "paper"
        return "live" if self.live_allowed else "live_not_allowed"


def data_url_of(base_url: str) -> str:
    """Return where the broker behind a trading URL keeps its history; a venue here has none."""
    host = urlsplit(base_url).hostname or ""
    return DATA_URL if host.endswith(".alpaca.markets") else ""
