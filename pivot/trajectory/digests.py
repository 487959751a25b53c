"""A set of content hashes that costs a few bytes a member."""

_WIDTH = 12  # bytes: 24 hex digits
_EMPTY = bytes(_WIDTH)


class DigestSet:
    """Which ids (24 hex digits) were seen: an open-addressing table of 18 to 36 bytes a member.

    A Python set of the same strings takes about 130. The all-zero id can't be told from an empty place, so it is
    kept aside.
    """

    def __init__(self) -> None:
        self._places = 1 << 10
        self._table = bytearray(self._places * _WIDTH)
        self._count = 0
        self._zero = False

    def __len__(self) -> int:
        return self._count + self._zero

    def _place(self, digest: bytes) -> int:
        """Offset of the digest in the table, or of the empty place where it belongs."""
        place = int.from_bytes(digest[:8], "little") & (self._places - 1)
        while self._table[place * _WIDTH : (place + 1) * _WIDTH] not in (digest, _EMPTY):
            place = (place + 1) & (self._places - 1)
        return place * _WIDTH

    def __contains__(self, hex_id: str) -> bool:
        digest = bytes.fromhex(hex_id)
        if digest == _EMPTY:
            return self._zero
        offset = self._place(digest)
        return self._table[offset : offset + _WIDTH] == digest

    def add(self, hex_id: str) -> bool:
        """Remember an id; whether it is new."""
        digest = bytes.fromhex(hex_id)
        if digest == _EMPTY:
            new, self._zero = not self._zero, True
            return new
        offset = self._place(digest)
        if self._table[offset : offset + _WIDTH] == digest:
            return False
        self._table[offset : offset + _WIDTH] = digest
        self._count += 1
        if self._count * 3 > self._places * 2:
            self._grow()
        return True

    def _grow(self) -> None:
        old = self._table
        self._places *= 2
        self._table = bytearray(self._places * _WIDTH)
        for start in range(0, len(old), _WIDTH):
            digest = bytes(old[start : start + _WIDTH])
            if digest != _EMPTY:
                offset = self._place(digest)
                self._table[offset : offset + _WIDTH] = digest
