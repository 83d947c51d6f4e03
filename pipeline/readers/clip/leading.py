"""Leading packets: those of a clip cut from another one that refer to frames from before the cut."""

from __future__ import annotations

from typing import Any

from pipeline.errors import InvalidInput


class LeadingPackets:
    """Which packets of a clip that was cut out of another refer to frames from before the cut, and are not shown.

    Those are the ones before the first key frame, and those that follow it in the file and precede it when shown.
    `missed` holds their time stamps, `excused` what one of them was damaged by.
    """

    def __init__(self) -> None:
        self.key_seen = False
        self.missed: set[int | None] = set()
        self.excused: InvalidInput | None = None
        self._key: int | None = None
        self._over = False

    def cuts_off(self, packet: Any) -> bool:
        """Whether `packet`, the next in the file, is one of them."""
        if self._over:
            return False
        if packet.is_keyframe:
            self._over = self.key_seen or packet.pts is None
            self.key_seen, self._key = True, packet.pts
            return False
        missed = not self.key_seen or (packet.pts is not None and self._key is not None and packet.pts < self._key)
        self._over = not missed
        if missed:
            self.missed.add(packet.pts)
        return missed
