"""Leading packets: those of a clip cut from another one that refer to frames from before the cut."""

from __future__ import annotations

from typing import Any

from pipeline.errors import InvalidInput


class LeadingPackets:
    """Finds the packets at the start of a cut clip that refer to frames from before the cut; players do not show them.

    These are the packets before the first key frame, and those that come after it in the file but before it in display
    order. `skipped` are their time stamps; `damage` is the error from decoding one of them.
    """

    def __init__(self) -> None:
        self.key_seen = False
        self.skipped: set[int | None] = set()
        self.damage: InvalidInput | None = None
        self._key: int | None = None
        self._ended = False

    def includes(self, packet: Any) -> bool:
        """Whether `packet`, the next in the file, is a leading one."""
        if self._ended:
            return False
        if packet.is_keyframe:
            self._ended = self.key_seen or packet.pts is None
            self.key_seen, self._key = True, packet.pts
            return False
        is_leading = not self.key_seen or (packet.pts is not None and self._key is not None and packet.pts < self._key)
        self._ended = not is_leading
        if is_leading:
            self.skipped.add(packet.pts)
        return is_leading
