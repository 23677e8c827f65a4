"""A tape at its own pace under a hub: it waits until everybody is warm, and its end is complete."""

from execution.venue.player import Player


class PacedPlayer(Player):
    """With a hub on its way the first message waits for the hub's word; without one, for readers.

    What is sent before a shard has subscribed is lost to it, so its buckets would differ.
    """

    async def _readiness(self) -> None:
        await super()._readiness()
        if self.options.lockstep:
            await self._desk.begun.wait()

    async def _pace(self, speed: float, *, until_ns: int | None = None) -> None:
        await super()._pace(speed, until_ns=until_ns)
        if until_ns is None:
            await self._move(self.replay.now_ns)  # the last clock, so that the last bucket closes
