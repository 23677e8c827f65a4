"""Settings: the only place that reads the environment.

Every variable is listed in `.env.example`; without any of them the project runs on one machine
(SQLite, an embedded Redis-compatible server, the paper venue).
"""

import secrets
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
if (BASE_DIR / ".env").is_file():
    env.read_env(BASE_DIR / ".env")


def _kept_secret(path: Path) -> str:
    """Return the secret kept in `path`, making it on first use (mode 0600, atomic)."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(48))
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            pass  # another process was first; its secret counts
        finally:
            fresh.unlink()
    return path.read_text()


# --- where state lives -------------------------------------------------------------------------
TRADEPLANE_HOME = Path(env.str("TRADEPLANE_HOME", default=str(BASE_DIR / "var"))).resolve()
try:
    TRADEPLANE_HOME.mkdir(parents=True, exist_ok=True)
    SECRET_KEY = env.str("SECRET_KEY", default="") or _kept_secret(TRADEPLANE_HOME / "secret_key")
except OSError as exc:
    raise SystemExit(f"TRADEPLANE_HOME={TRADEPLANE_HOME} cannot be used: {exc.strerror}") from None

# --- Django ------------------------------------------------------------------------------------
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
ROOT_URLCONF = "tradeplane.urls"
ASGI_APPLICATION = "tradeplane.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "ninja",  # its docs page and the scripts of it
    "relay",
    "signals",
    "shards",
    "accounts",
    "execution",
    "tradeplane",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "tradeplane.pages.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = TRADEPLANE_HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Strict"
CSRF_COOKIE_SAMESITE = "Strict"
X_FRAME_OPTIONS = "DENY"

# --- database: SQLite by default, MySQL/MariaDB by URL -------------------------------------------
DATABASES = {
    "default": env.db_url(
        "DATABASE_URL", default=f"sqlite:///{TRADEPLANE_HOME / 'tradeplane.sqlite3'}"
    )
}
#: How long a MySQL server may be silent in the middle of a query; 0: for ever (big migrations).
DATABASE_TIMEOUT_S = env.int("DATABASE_TIMEOUT_S", default=30)
_db = DATABASES["default"]
if _db["ENGINE"].endswith("sqlite3"):
    _db["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
        "PRAGMA busy_timeout=20000;",
    }
else:
    if find_spec("MySQLdb") is None:  # it needs a compiler; PyMySQL is slower
        import_module("pymysql").install_as_MySQLdb()
    _db.setdefault("OPTIONS", {}).update(
        charset="utf8mb4",
        isolation_level="read committed",
        init_command="SET sql_mode='STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,"
        "ERROR_FOR_DIVISION_BY_ZERO', innodb_strict_mode=1",
    )
    if DATABASE_TIMEOUT_S:  # a server that hangs must not hang the hub: it fails and dials anew
        _db["OPTIONS"].update(
            connect_timeout=10, read_timeout=DATABASE_TIMEOUT_S, write_timeout=DATABASE_TIMEOUT_S
        )
    _db.update(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True)
    _db["TEST"] = {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_bin"}

# --- Redis: 0 stream state and pages, 1 Celery ---------------------------------------------------
REDIS_URL = env.str("REDIS_URL", default="") or "redis://127.0.0.1:6379"
#: Without one, `up` starts its own server.
REDIS_URL_GIVEN = env.str("REDIS_URL", default="") != ""
REDIS_STATE_URL = f"{REDIS_URL.rstrip('/')}/0"
CELERY_BROKER_URL = f"{REDIS_URL.rstrip('/')}/1"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_STATE_URL], "prefix": "pages"},
    }
}

CACHES = {
    "default": {  # counts of API requests, nothing that anyone would miss
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_STATE_URL,
        "KEY_PREFIX": "web",
        "OPTIONS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
    },
    "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}
#: Requests a minute: of one caller, and from one address without a valid key.
API_RATES = {"read": 300, "write": 30, "kill": 60, "anonymous": 30}

# --- roles find each other -----------------------------------------------------------------------
RELAY_URL = env.str("RELAY_URL", default="ws://127.0.0.1:8765/v2/sip")
RELAY_KEY_ID = env.str("RELAY_KEY_ID", default="")
RELAY_SECRET = env.str("RELAY_SECRET", default="")
#: PEM certificates to trust for `wss` to the relay (an authority of your own); "": the system's.
RELAY_CA_FILE = env.str("RELAY_CA_FILE", default="")
RELAY_UPSTREAM_URL = env.str("RELAY_UPSTREAM_URL", default="")
RELAY_HOME = TRADEPLANE_HOME / "relay"
#: Where shards keep closed buckets as Parquet, in a folder per day; None keeps none.
_ARCHIVE = env.str("TRADEPLANE_ARCHIVE", default=str(TRADEPLANE_HOME / "archive"))
ARCHIVE_HOME = None if _ARCHIVE == "off" else Path(_ARCHIVE).resolve()

# --- the broker: the paper venue unless told otherwise -------------------------------------------
APCA_API_KEY_ID = env.str("APCA_API_KEY_ID", default=env.str("ALPACA_API_KEY", default=""))
APCA_API_SECRET_KEY = env.str(
    "APCA_API_SECRET_KEY", default=env.str("ALPACA_SECRET_KEY", default="")
)
APCA_API_BASE_URL = env.str("APCA_API_BASE_URL", default="http://127.0.0.1:8766")
APCA_STREAM_URL = env.str("APCA_STREAM_URL", default="")
#: Set by `up` on a lock-step tape run: where the hub meets the venue's discrete-event clock.
VENUE_LOCKSTEP_URL = env.str("VENUE_LOCKSTEP_URL", default="")
#: Live trading needs this exact sentence; anything else keeps it off.
LIVE_TRADING_WORDS = "I understand that this trades real money"
LIVE_TRADING = env.str("TRADEPLANE_LIVE", default="") == LIVE_TRADING_WORDS

#: futures_provider external_futures: a JSON file or http(s) address (docs/operating.md).
TRADEPLANE_FUTURES = env.str("TRADEPLANE_FUTURES", default="")
#: A file of `symbol,sector,beta` lines for the sector and beta rules ("" none).
TRADEPLANE_SYMBOLS = env.str("TRADEPLANE_SYMBOLS", default="")
#: Daily bars for usual volumes; by default Alpaca's with keys of Alpaca, none on a venue here.
APCA_DATA_BASE_URL = env.str("APCA_DATA_BASE_URL", default="")

# --- the run (set by `up`; see DESIGN "Runs") ----------------------------------------------------
TRADEPLANE_RUN = env.str("TRADEPLANE_RUN", default="live")
#: Tape runs: shards append every closed bucket here, for the run's hash ("" = off).
TRADEPLANE_RECORD_DIR = env.str("TRADEPLANE_RECORD_DIR", default="")
TRADEPLANE_SHARDS = env.int("TRADEPLANE_SHARDS", default=1)
#: Market seconds per process second on a paced tape; deadlines are divided by it.
TRADEPLANE_SPEED = env.float("TRADEPLANE_SPEED", default=1.0)

#: Where a process of a test shall die (`execution.failpoints`); "" arms nothing.
TRADEPLANE_FAILPOINTS = env.str("TRADEPLANE_FAILPOINTS", default="")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"()": "tradeplane.runtime.logs.FactsFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"websockets": {"level": "WARNING"}},  # each role says itself who comes and goes
    "root": {
        "handlers": ["stderr"],
        "level": env.str("LOG_LEVEL", default="INFO"),
    },
}
