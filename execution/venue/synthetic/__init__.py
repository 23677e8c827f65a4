"""The synthetic whole market: a seeded US market day, generated as fast as it is read."""

from execution.venue.synthetic.market import SyntheticMarket
from execution.venue.synthetic.plan import Planted

__all__ = ["Planted", "SyntheticMarket"]
