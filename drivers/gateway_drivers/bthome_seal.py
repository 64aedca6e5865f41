"""Encrypted BTHome v2: opening a payload, and refusing what was recorded and is played back.

Source: https://bthome.io/encryption. AES-CCM with a tag of four bytes; the nonce is the address, the UUID
and the flags as they are sent (D2FC41), and a counter of four bytes, little-endian, that the sensor raises
with every packet. Behind the flags come ciphertext, counter, tag. What to do about the counter is left to
the receiver; see `Unsealer`.
"""

from typing import Final

from gateway.driver import BadFrame

TAG: Final = 4
COUNTER: Final = 4
RESTART_BELOW: Final = 100
RESTART_PACKETS: Final = 3
_UUID: Final = bytes([0xD2, 0xFC])


class Unsealer:
    """Opens one sensor's payloads, in order.

    A counter must rise. It may begin anew once, after a change of battery: that is believed when
    `RESTART_PACKETS` packets in a row have counters below `RESTART_BELOW` that rise, and no packet of the
    run before came in between. One packet played back never passes, nor does a series while the sensor
    itself is heard; a series recorded after a change of battery and played back while the sensor is silent
    would pass, and can be told from a real one by nothing that is in it. The first packet of all is
    believed: nothing is known before it. So a sensor whose battery was changed while `RESTART_BELOW`
    of its packets or more went unheard is refused, as bad frames, until its worker is started again.
    """

    def __init__(self, key: bytes, address: str) -> None:
        from cryptography.exceptions import InvalidTag  # some MiB, only for workers with a key
        from cryptography.hazmat.primitives.ciphers.aead import AESCCM

        self._wrong: type[Exception] = InvalidTag
        self._cipher = AESCCM(key, tag_length=TAG)
        self._address = bytes.fromhex(address.replace(":", ""))
        self._last: int | None = None
        self._last_payload = b""
        self._restart: list[int] = []
        self._restart_payload = b""

    def open(self, payload: bytes) -> bytes | None:
        """Flags and objects in clear, None for the repeat of a packet.

        Raises BadFrame for a wrong key, for what was changed on its way, and for a replay.
        """
        if payload == self._last_payload or payload == self._restart_payload:
            return None
        if len(payload) < 1 + COUNTER + TAG:
            raise BadFrame("an encrypted BTHome advertisement cut short")
        flags, tag = payload[:1], payload[-TAG:]
        sealed, counter = payload[1 : -COUNTER - TAG], payload[-COUNTER - TAG : -TAG]
        try:
            clear = self._cipher.decrypt(self._address + _UUID + flags + counter, sealed + tag, None)
        except self._wrong:
            raise BadFrame(
                "the bindkey does not open it: a wrong key, or it was changed on its way"
            ) from None
        self._believe(int.from_bytes(counter, "little"), payload)
        return bytes([flags[0] & ~1]) + clear

    def _believe(self, counter: int, payload: bytes) -> None:
        """Raises BadFrame unless the counter rose, or has surely begun anew."""
        if self._last is not None and counter <= self._last:
            rises = not self._restart or counter > self._restart[-1]
            if counter >= RESTART_BELOW or counter == self._last:
                raise BadFrame(f"its counter went from {self._last} to {counter}: a replay")
            self._restart = [*self._restart, counter] if rises else [counter]
            self._restart_payload = payload
            if len(self._restart) < RESTART_PACKETS:
                raise BadFrame(f"its counter went from {self._last} to {counter}: a replay, or a new battery")
        self._last, self._last_payload = counter, payload
        self._restart, self._restart_payload = [], b""
