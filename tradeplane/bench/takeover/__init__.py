"""The take-over drill: kill a shard of a living market, measure until its letters report again."""
