"""Whether a stream may hold interlaced frames, by the header in its first packet. Pure.

OpenCV's FFmpeg does not convert interlaced frames, and gives memory that nobody wrote to instead, without an error.
"""

import re

_LARGEST_HEADER = 1 << 16
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_SEQUENCE, _EXTENSION, _PARAMETERS = 0xB3, 0xB5, 7


def may_be_interlaced(packet: bytes) -> bool:
    """Takes the first packet of a stream, in Annex B form if it is H.264. False for codecs but that and MPEG-2."""
    head = packet[:_LARGEST_HEADER]
    units = [head[match.end() :] for match in re.finditer(rb"\x00\x00\x01(?=.)", head, re.DOTALL)]
    try:
        if any(unit[0] == _SEQUENCE for unit in units):
            extensions = [unit for unit in units if unit[0] == _EXTENSION and unit[1] >> 4 == 1]
            return any(not unit[2] & 0b1000 for unit in extensions)
        return any(_in_fields(unit[1:256]) for unit in units if unit[0] & 0x9F == _PARAMETERS)
    except IndexError:
        return False


class _Bits:
    """Numbers out of a bit string (H.264, 7.2 and 9.1)."""

    def __init__(self, content: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in content.replace(b"\0\0\3", b"\0\0"))
        self._place = 0

    def take(self, count: int) -> int:
        """An unsigned number of so many bits."""
        self._place += count
        if self._place > len(self._bits):
            raise IndexError
        return int(self._bits[self._place - count : self._place], 2) if count else 0

    def golomb(self) -> int:
        """An unsigned Exp-Golomb number."""
        zeros = self._bits.index("1", self._place) - self._place if "1" in self._bits[self._place :] else 99
        return self.take(2 * zeros + 1) - 1

    def skip_scaling_lists(self, count: int) -> None:
        """So many lists, each there or not (H.264, 7.3.2.1.1.1); a zero ends what a list says."""
        for number in range(count):
            last = following = 8
            for _ in range((16 if number < 6 else 64) * self.take(1)):
                if following:
                    code = self.golomb()
                    following = (last + (code + 1 >> 1) * (1 if code % 2 else -1)) % 256
                last = following or last


def _in_fields(parameters: bytes) -> bool:
    """Whether a sequence parameter set (H.264, 7.3.2.1.1) leaves `frame_mbs_only_flag` unset."""
    bits = _Bits(parameters)
    profile, _, _ = bits.take(8), bits.take(16), bits.golomb()
    if profile in _HIGH_PROFILES:
        chroma = bits.golomb()
        bits.take(1 if chroma == 3 else 0)
        bits.golomb(), bits.golomb(), bits.take(1)
        if bits.take(1):
            bits.skip_scaling_lists(8 if chroma != 3 else 12)
    bits.golomb()
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1), bits.golomb(), bits.golomb()
        for _ in range(min(255, bits.golomb())):
            bits.golomb()
    bits.golomb(), bits.take(1), bits.golomb(), bits.golomb()
    return not bits.take(1)
