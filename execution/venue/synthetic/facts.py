"""What a US market day looks like, as plain numbers: the calibration of the synthetic market.

Source: measured on public US equity samples, 2013–2018 (ticks, quotes, sizes, conditions), and on
daily volumes of the listed universe, 2021–2026 (names, letters, concentration). Prices and volumes
of named symbols are invented round figures of the right order.
"""

# --- the universe -----------------------------------------------------------------------------
#: Listed names by first letter; the share is what counts.
SYMBOLS_PER_LETTER = {
    "A": 703, "B": 487, "C": 619, "D": 241, "E": 290, "F": 304, "G": 324, "H": 234, "I": 265,
    "J": 92, "K": 160, "L": 239, "M": 401, "N": 345, "O": 207, "P": 418, "Q": 50, "R": 299,
    "S": 551, "T": 343, "U": 116, "V": 171, "W": 172, "X": 61, "Y": 41, "Z": 49,
}  # fmt: skip
#: Share of names with 1, 2, … 5 letters; the rest carry a suffix (units, warrants, preferreds).
LENGTH_SHARES = (0.0029, 0.0341, 0.27, 0.5427, 0.1503)
SUFFIX_SHARE = 0.055
SUFFIXES = (".WS", ".U", ".PRA", ".PRB", ".PRC", ".B")
#: Cumulative share of the day's share volume held by the top names.
TOP_VOLUME_SHARES = (
    (1, 0.0357), (5, 0.1101), (10, 0.1534), (20, 0.212), (50, 0.3178), (100, 0.4208),
    (200, 0.5369), (500, 0.6953), (1000, 0.8194), (2000, 0.9285), (3000, 0.9737),
)  # fmt: skip
#: ln of share volume over all names: mean, standard deviation, left-skewed; quantiles of the rest.
VOLUME_QUANTILES = (
    (0.01, 6.0), (0.05, 151.5), (0.10, 1724.4), (0.25, 24054.5), (0.50, 204805.0),
    (0.75, 1033875.5),
)  # fmt: skip
PRICE_QUANTILES = (
    (0.001, 0.012), (0.01, 0.0267), (0.05, 0.3029), (0.10, 0.9124), (0.25, 4.03), (0.50, 13.3),
    (0.75, 36.61), (0.90, 105.2), (0.95, 197.8), (0.99, 505.2), (0.999, 1780.9),
)  # fmt: skip
PRICE_VOLUME_CORRELATION = 0.35  # of ranks; the named symbols add the rest
TOTAL_VOLUME = 14.0e9  # shares; gives 55–60 million trades a day (measured: 47–69 million)
CHEAP_RANKS = 60  # unnamed names among the first by share volume are low-priced ones
CHEAP_PRICES = (0.25, 9.0)
MAX_UNNAMED_DOLLARS = 1.2e9  # a day; more has a name that everybody knows
ETF_SHARE = 0.34
#: Symbols that feeds use for tests; a synthetic name must not look like one.
TEST_PREFIXES = ("ZVZZT", "ZWZZT", "ZXZZT", "NTEST", "CBO", "CBX", "ATEST", "MTEST", "PTEST")

#: Named symbols: listing exchange, price in USD, million shares a day.
STOCKS = {
    "AAPL": ("NASDAQ", 230, 52), "AMZN": ("NASDAQ", 215, 42), "AMD": ("NASDAQ", 160, 55),
    "AVGO": ("NASDAQ", 300, 24), "BAC": ("NYSE", 47, 40), "BABA": ("NYSE", 120, 18),
    "BE": ("NYSE", 55, 17), "CSCO": ("NASDAQ", 67, 21), "CRM": ("NYSE", 245, 9),
    "COIN": ("NASDAQ", 310, 12), "CRWV": ("NASDAQ", 95, 30), "DELL": ("NYSE", 130, 8),
    "DIS": ("NYSE", 115, 9), "DAL": ("NYSE", 58, 10), "EQT": ("NYSE", 52, 9),
    "F": ("NYSE", 11.6, 80), "FCX": ("NYSE", 44, 15), "FTNT": ("NASDAQ", 80, 9),
    "GOOGL": ("NASDAQ", 205, 36), "GOOG": ("NASDAQ", 206, 22), "GLW": ("NYSE", 66, 8),
    "HOOD": ("NASDAQ", 110, 40), "HIMS": ("NYSE", 45, 28), "HBAN": ("NASDAQ", 17, 20),
    "INTC": ("NASDAQ", 25, 95), "IONQ": ("NYSE", 40, 25), "IBM": ("NYSE", 245, 5),
    "JPM": ("NYSE", 290, 9), "JNJ": ("NYSE", 178, 8), "JD": ("NASDAQ", 31, 12),
    "KO": ("NYSE", 70, 15), "KVUE": ("NYSE", 21, 30), "LLY": ("NYSE", 720, 4),
    "LRCX": ("NASDAQ", 100, 13), "MU": ("NASDAQ", 120, 22), "MSFT": ("NASDAQ", 510, 22),
    "META": ("NASDAQ", 750, 12), "MRVL": ("NASDAQ", 74, 18), "NVDA": ("NASDAQ", 178, 190),
    "NFLX": ("NASDAQ", 1210, 3), "NOW": ("NYSE", 880, 2), "ORCL": ("NYSE", 235, 14),
    "OPEN": ("NASDAQ", 4.1, 200), "OKLO": ("NYSE", 72, 16), "PLTR": ("NASDAQ", 160, 75),
    "PFE": ("NYSE", 25, 45), "PG": ("NYSE", 157, 7), "PANW": ("NASDAQ", 185, 8),
    "QCOM": ("NASDAQ", 155, 8), "QBTS": ("NYSE", 16, 45), "QS": ("NASDAQ", 8.4, 25),
    "RIVN": ("NASDAQ", 13, 38), "RGTI": ("NASDAQ", 15, 50), "RKLB": ("NASDAQ", 46, 22),
    "SOFI": ("NASDAQ", 25, 65), "SMCI": ("NASDAQ", 44, 30), "T": ("NYSE", 28, 35),
    "TSLA": ("NASDAQ", 335, 90), "TSM": ("NYSE", 235, 13), "TXN": ("NASDAQ", 195, 6),
    "UNH": ("NYSE", 305, 12), "UBER": ("NYSE", 94, 16), "USB": ("NYSE", 48, 9),
    "V": ("NYSE", 350, 6), "VZ": ("NYSE", 44, 17), "VALE": ("NYSE", 10, 32),
    "WMT": ("NYSE", 97, 17), "WFC": ("NYSE", 80, 14), "WBD": ("NASDAQ", 12, 45),
    "XOM": ("NYSE", 108, 14), "XYZ": ("NYSE", 75, 8), "YUM": ("NYSE", 145, 2),
    "ZTS": ("NYSE", 150, 3), "ZM": ("NASDAQ", 74, 4), "C": ("NYSE", 94, 13),
}  # fmt: skip
ETFS = {
    "SPY": ("ARCA", 640, 68), "QQQ": ("NASDAQ", 570, 48), "IWM": ("ARCA", 228, 34),
    "VIXY": ("BATS", 38, 3.5), "DIA": ("ARCA", 448, 3.5), "TQQQ": ("NASDAQ", 90, 62),
    "SQQQ": ("NASDAQ", 17, 110), "SOXL": ("ARCA", 27, 75), "SOXS": ("ARCA", 7, 120),
    "XLF": ("ARCA", 52, 38), "XLE": ("ARCA", 87, 15), "XLK": ("ARCA", 265, 5),
    "GLD": ("ARCA", 310, 9), "SLV": ("ARCA", 35, 17), "TLT": ("NASDAQ", 87, 32),
    "HYG": ("ARCA", 80, 36), "EEM": ("ARCA", 50, 25), "EFA": ("ARCA", 92, 13),
    "FXI": ("ARCA", 39, 25), "KRE": ("ARCA", 61, 14), "VOO": ("ARCA", 590, 6),
    "ARKK": ("BATS", 74, 8), "UVXY": ("BATS", 14, 22), "TSLL": ("NASDAQ", 12, 85),
}  # fmt: skip

#: Moves per move of the market.
ETF_BETAS = {
    "SPY": 1.0, "QQQ": 1.2, "IWM": 1.15, "VIXY": -3.5, "UVXY": -5.0, "TQQQ": 3.6, "SQQQ": -3.6,
    "SOXL": 5.0, "SOXS": -5.0, "TLT": -0.2, "GLD": 0.0, "SLV": 0.2, "HYG": 0.35, "TSLL": 3.5,
}  # fmt: skip

# --- the day ----------------------------------------------------------------------------------
#: Trades per minute as multiples of the day's mean, at minutes after the open (linear between).
DAY_SHAPE = (
    (0, 2.55), (1, 2.05), (2, 1.9), (5, 1.7), (10, 1.55), (20, 1.35), (30, 1.28), (45, 1.15),
    (60, 1.1), (90, 0.98), (120, 0.86), (150, 0.75), (180, 0.70), (210, 0.67), (240, 0.70),
    (270, 0.74), (300, 0.80), (330, 0.92), (345, 1.0), (360, 1.15), (375, 1.65), (380, 2.1),
    (385, 2.5), (388, 3.1), (389, 6.6),
)  # fmt: skip

# --- prints -----------------------------------------------------------------------------------
ODD_LOT_SHARE = 0.46  # of prints, 2018
#: Odd lots of one name = clip(c + slope · ln(price / 100), low, high), as (low, high, c, slope).
ODD_LOT_MODEL = (0.15, 0.72, 0.495, 0.09)
#: 100-share prints of the rest = clip(c + slope · ln(price), low, high).
HUNDRED_MODEL = (0.30, 0.88, 0.32, 0.11)
AUCTION_TRADES = 200.0  # a day; quieter names have no opening and closing prints
ODD_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60, 75, 80, 99)
ODD_WEIGHTS = (
    56,
    15,
    11,
    8,
    20,
    8,
    7,
    6,
    5,
    20,
    18,
    16,
    10,
    9,
    11,
    22,
    8,
    5,
    7,
    5,
)  # ‰ of all prints; the rest of the odd lots is spread over 11–99
#: Mean shares of one print = clip(c · price^slope, low, high).
SIZE_MODEL = (2155.443, -0.6007, 20.0, 3000.0)
ISO_SHARE = 0.41  # prints with condition F
RARE_SHARE = 0.006
LATE_SHARE = 0.0004  # prints that arrive 1–8 s after their time
INSIDE_SHARE = 0.02  # prints inside the NBBO on exchanges
BEYOND_SHARE = 0.012  # prints one tick beyond it
TRF_MIDPOINT_SHARE = 0.30  # off-exchange prints at the midpoint
TRF_IMPROVED_SHARE = 0.30  # off-exchange prints with sub-penny improvement
#: Sale conditions beside the regular code: weight, codes, whether the price strays.
RARE_CONDITIONS = {
    "A": ((40, "4B", True), (32, "7V", True), (12, "R", False), (9, "N", False), (9, "Z", True),
          (6, "C", False), (8, "4", True), (3, "P", True), (2, "H", True)),
    "B": ((40, "4B", True), (32, "7V", True), (12, "R", False), (9, "N", False), (9, "Z", True),
          (6, "C", False), (8, "4", True), (3, "P", True), (2, "H", True)),
    "C": ((40, "4W", True), (32, "7V", True), (12, "R", False), (9, "N", False), (9, "Z", True),
          (6, "C", False), (8, "4", True), (3, "P", True), (2, "H", True)),
}  # fmt: skip
#: Share of prints by reporting venue, per tape.
EXCHANGES = {
    "A": (("D", 0.307), ("T", 0.171), ("N", 0.145), ("K", 0.09), ("P", 0.079), ("Z", 0.07),
          ("B", 0.055), ("Y", 0.042), ("V", 0.022), ("J", 0.009), ("X", 0.005), ("A", 0.005)),
    "B": (("D", 0.32), ("P", 0.20), ("T", 0.17), ("Z", 0.11), ("K", 0.08), ("B", 0.04),
          ("Y", 0.04), ("J", 0.02), ("V", 0.02)),
    "C": (("D", 0.33), ("Q", 0.29), ("P", 0.11), ("K", 0.10), ("Z", 0.08), ("B", 0.03),
          ("Y", 0.03), ("V", 0.02), ("J", 0.01)),
}  # fmt: skip

# --- bursts -----------------------------------------------------------------------------------
#: Fano factor of 1-second trade counts ≈ clip(a · rate^b, low, high), rate in trades per second.
FANO_MODEL = (16.0, 0.55, 1.5, 60.0)
#: Mean prints of one cluster (an order sweeping several venues) ≈ clip(a · rate^b, low, high).
CLUSTER_MODEL = (2.6, 0.35, 1.05, 9.0)
#: Standard deviation of ln intensity: whole market by minute, 5 s, 1 s; one name by minute.
COMMON_SD = (0.32, 0.36, 0.30)
OWN_SD = 0.32
#: Gaps inside a cluster: share and mean in ns (same stamp at ms resolution, near, straggling).
GAPS = ((0.55, 150_000), (0.30, 5_000_000), (0.15, 320_000_000))

# --- prices -----------------------------------------------------------------------------------
MARKET_DAY_SD = 0.007
ETF_DAY_SD = 0.009
#: Own daily standard deviation = clip(a · (USD volume / 1e9)^b, low, high).
DAY_SD_MODEL = (0.013, -0.11, 0.009, 0.09)
VARIANCE_SD = 0.5  # of ln volatility, drawn each 5 s: returns with fat tails

# --- quotes -----------------------------------------------------------------------------------
#: Spread in bps = clip(a · (USD volume / 1e9)^b, low, high), never under one tick.
SPREAD_MODEL = (3.0, -0.45, 1.6, 600.0)
ETF_SPREAD_FACTOR = 0.3
SPREAD_SD = 0.25  # of ln spread, redrawn each 4 s
#: Shares at the NBBO = volume · a · (tick in bps / 2)^b, in round lots.
DEPTH_MODEL = (1e-4, 1.5)
#: Trades a day, and how often the quote of such a name is refreshed when nothing changed, s.
REFRESH = ((1170.0, 5), (70.0, 15), (0.0, 60))

# --- the market's own sudden moves ---------------------------------------------------------------
IMPULSES_PER_HOUR = 500.0
IMPULSE_NAMES = 5_500.0  # among so many names
IMPULSE_NOISE = 18.0  # median size in standard deviations of a 5-second return

# --- rare events, per hour --------------------------------------------------------------------
CANCELS_PER_HOUR = 40.0
CORRECTIONS_PER_HOUR = 20.0
PAUSES_PER_HOUR = 3.0  # limit up, limit down
NEWS_HALTS_PER_HOUR = 0.3
PAUSE_S = 300
