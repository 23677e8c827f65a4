"""The words of the pages, in groups: what a tooltip says stands here too, for those who touch."""

from signals import quality
from tradeplane.pages import outcomes
from tradeplane.pages.flips import ASKS_FOR

KEYS = (
    (("1", "–", "5"), "pages"),
    (("/",), "find"),
    (("j", "k"), "next, previous candidate"),
    (("Enter",), "open it"),
    (("t",), "dark or light"),
    (("Shift", "K"), "stop dialog (opens only)"),
    (("Esc",), "close"),
    (("?",), "this list"),
)

#: group → (term, at most two sentences)
WORDS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "The signal",
        (
            ("Accelerator (AC)", "Bill Williams' Accelerator Oscillator: is the move getting "
             "faster? One bar per five seconds; the dotted line is your minimum."),
            ("AO", "In your parameters it means the curve that “oscillator_mode” chooses, the "
             "Accelerator by default. Elsewhere AO is the Awesome Oscillator, the average it is "
             "made from."),
            ("bps", "Basis point: one hundredth of a percent. 25 bps are 0.25 %."),
            ("σ (sigma)", "The burst in units of the stock's own noise. 3 σ is three times what "
             "it does on its own in quiet minutes."),
            ("Bucket", "Five seconds of trading of one stock: first, highest, lowest and last "
             "price, shares and number of trades."),
            ("Burst", "The buckets since the accelerator left the quiet zone."),
            ("Quiet base", "The flat stretch directly before a burst. Without one a burst is only "
             "more of the same."),
            ("Surge", "Volume of the last buckets against that of the quiet base."),
            ("Candidate", "A stock whose burst passes every threshold of the shard. The hub then "
             "asks its gates."),
            ("Near miss", "Recorded because it almost was a candidate; it can never fire."),
        ),
    ),
    (
        "Prices",
        (
            ("Bid, ask", "The best price somebody pays now, and the best somebody sells at. You "
             "buy at the ask and sell at the bid."),
            ("Spread", "The gap between them, and so the first cost of a trade."),
            ("NBBO", "National best bid and offer: the best bid and ask over all exchanges."),
            ("VWAP", "The average price of the day, weighted by shares. Far above it means you "
             "come late."),
            ("Slippage", "The difference between the price you decided at and the one you got."),
            ("LULD", "Limit up, limit down: the price band of a stock. Leaving it halts trading "
             "for five minutes or more."),
            ("Halt", "No trading in a stock for a while. It can reopen far from where it stopped."),
            ("IEX, SIP", "Two data feeds. IEX is one exchange, a few percent of the trades; SIP "
             "is all of them."),
        ),
    ),
    (
        "The decision",
        (
            ("Round", "Every five seconds the hub decides once, over all candidates of the same "
             "bucket, so the order of arrival picks nothing."),
            ("Gate", "A yes-or-no question with your limit. One no is enough to turn down; all "
             "are asked, so the record is complete."),
            ("Score", "0 to 100, only to rank those that passed every gate. It never overrides "
             "one."),
            ("Confirm", "How many rounds in a row a candidate must pass everything."),
            ("Reach", "The chance that a price without any drift touches your target in the time "
             "that is left."),
            ("Market gravity", "Does the whole market pull with the trade or against it, over the "
             "last five minutes?"),
            ("Futures trend", "The tide of the last hour. Alpaca sells no futures data, so four "
             "ETFs stand in for it."),
            ("Coverage", "The share of all stocks whose shard has reported. Below your minimum "
             "nobody fires."),
            ("Slot", "A place for one position. With “concurrent_trading” off there is one."),
            ("Unknown, so no", "Data were missing or too old. Doubt blocks entries, never exits."),
        ),
    ),
    (
        "The trade",
        (
            ("Bracket", "One order with three parts: the entry, a stop below and a target above. "
             "Stop and target lie at the broker and act without us."),
            ("Stop", "Sells when the price falls to it. It does not cap the loss: after a halt "
             "the price can open far below it."),
            ("Target", "Sells when the price rises to it (take-profit)."),
            ("Planned loss", "What the stop is meant to cost. It is a plan, not a maximum."),
            ("R", "One planned loss: from entry to stop. +2 R is twice that won."),
            ("Loss room", "How much more may be lost today before entries stop by themselves."),
            ("Realized", "Booked by a sale. What is still open is worth only its last price."),
            ("Shadow", "Decides on real data and sends its orders to the built-in paper venue "
             "only."),
            ("Paper", "Practice money. Fills are kinder than real ones."),
            ("Flatten", "Cancel entries and sell everything at the market."),
            ("Freeze", "Software touches nothing; only the broker's stop and target act."),
        ),
    ),
    (
        "The machines",
        (
            ("Relay", "Holds the one market-data connection that the broker allows, and serves it "
             "to all others."),
            ("Shard", "Watches the stocks of some first letters."),
            ("Hub", "Decides, orders, keeps the books."),
            ("Lag", "How far a shard's market clock trails this machine's."),
            ("Load", "Processor time of a shard, percent of one core."),
            ("Dark letter", "Its shard is silent. No entries there; positions stay protected at "
             "the broker."),
            ("Watermark", "The time before which no more prints are expected. A bucket closes "
             "when it passes the bucket's end and the grace for late prints."),
            ("Lock-step", "A tape as fast as the machine can: the market waits for every answer."),
        ),
    ),
    (
        "Doubts about data",
        tuple(
            (flag.name, f"{flag.label}. Acted on: {flag.consumer}. Cleared by: {flag.cleared}.")
            for flag in quality.FLAGS
            if (flag.name, flag.carried) != ("gap", quality.REPORT)
        ),
    ),
)  # fmt: skip

#: The plain findings of docs/when-to-trade.md, one sentence each.
FINDINGS = (
    "A five-second signal and a target of 3 to 5 % do not live on the same clock: most stocks "
    "cannot move that far in the time left, so the gate “Reach” asks before every entry.",
    "Watching every stock finds strong signals in pure noise: the strongest accelerator alone is "
    "mostly that, so volume, cost and a quiet base must agree.",
    "A stop-loss does not cap the loss; the size of a position does.",
    "The pattern-day-trader rule is gone since 4 June 2026; what counts is your buying power.",
    "Start in shadow, then paper, then a tenth of the size; “no measurable edge” is a result.",
)


#: gate → what it asks; the number and your limit stand in its sentence on the live page.
ASKED = {
    "G1": "Is the trading mode on?",
    "G2": "Is the kill switch off?",
    "G3": "Is the session open, not too early and not too late in the day?",
    "G4": "Do enough shards report, in time, with clocks and parameters that agree?",
    "G5": "Is the account's data fresh, and may it trade?",
    "G6": "Does the broker's stream of order news run?",
    "G7": "Is the loss of the day above your limit?",
    "G8": "Are there trades left for today?",
    "G9": "Has a take-profit already ended the day?",
    "G10": "Too many losses in a row?",
    "G11": "Has the pause after the last trade passed?",
    "G12": "Is every order's fate known and every position protected?",
    "G13": "Is the market as a whole not halted?",
    "G14": "Are enough requests to the broker left for exits?",
    "G15": "Are few enough stocks bursting at once? A crowd is a market event, not a stock's own.",
    "S1": "Is the stock in today's universe, and tradable?",
    "S2": "Is its price within your range?",
    "S3": "Is it not halted, and long enough reopened?",
    "S4": "Is it far enough from its halt band?",
    "S5": "Is there no position and no order in it, with us or at the broker?",
    "S6": "Has it not been traded too often today?",
    "S7": "Is the signal fresh enough to act on?",
    "S8": "Has it not run too far from where the burst began?",
    "S9": "Is the ask close enough to the price of the signal?",
    "S10": "Can it reach the target in the time left, by chance alone, often enough?",
    "S11": "Is at least one share left after all size limits?",
    "S12": "Did it trade in enough of its buckets to be read?",
    "S13": "Is the burst still alive and young?",
    "C1": "Does the market pull with the trade, and is the burst the stock's own?",
    "C2": "Does the tide of the last hour run with it?",
    "C3": "Can we get in and out cheaply, for the size that is meant?",
    "C4": "Is the price on the winning side of VWAP, not far above it?",
    "score": "Is the score at your minimum?",
    "confirm": "Has everything passed in enough rounds in a row?",
    "rank": "Was it ahead of the others of the round?",
    "P1": "Is a slot free?",
    "P2": "Does the whole exposure stay below your limit?",
    "P3": "Does the sum of planned losses?",
    "P4": "Are there few enough positions under this letter?",
    "P5": "And in this sector?",
    "P6": "Does it not move like a position that is open?",
    "P7": "Is there cash for it?",
}


def gates() -> list[tuple[str, list[tuple[str, str, tuple[str, ...]]]]]:
    """Return every gate by its group, as (code and name, what it asks, its parameters)."""
    return [
        (
            group,
            [
                (outcomes.label_of(code), ASKED[code], ASKS_FOR.get(code, ()))
                for code in outcomes.GATES
                if outcomes.group_of(code) == group
            ],
        )
        for group, _ in outcomes.GROUPS
    ]


def in_short() -> list[tuple[str, str]]:
    """Return the few words that the dialog on `?` has room for."""
    every = dict(row for _, rows in WORDS for row in rows)
    return [(term, every[term]) for term in SHORT]


SHORT = ("Accelerator (AC)", "bps", "σ (sigma)", "VWAP", "R", "LULD", "Planned loss", "Near miss")
