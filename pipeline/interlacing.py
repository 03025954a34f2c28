"""Whether a stream may hold interlaced frames, by its headers. Pure.

OpenCV's FFmpeg does not convert interlaced frames, and gives memory that nobody wrote to instead, without an error.
"""

import re

_LARGEST_HEADER = 1 << 16
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_EXTENSION, _PARAMETERS, _HEVC_PARAMETERS, _LAYERS = 0xB5, 7, 33, range(0x20, 0x30)
_BINARY_ONLY, _RECTANGLE = 2, 0
_GUARDED = b"\0\0\3"
"""Two zeros within a unit, told from the beginning of the next one."""


def may_be_interlaced(fourcc: int, head: bytes) -> bool:
    """Whether a stream's own headers leave it open; False for codecs that have no interlaced frames or are not known.

    Args:
        fourcc: the codec as OpenCV calls it, four characters in a number (`CAP_PROP_FOURCC`).
        head: what the container keeps for the decoder, then the first packet; H.264 and HEVC in Annex B form.
    """
    codec = (fourcc & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1").lower()
    head = head[:_LARGEST_HEADER]
    units = [head[match.end() :] for match in re.finditer(rb"\x00\x00\x01(?=.)", head, re.DOTALL)]
    try:
        match codec[:2], codec:
            case _, "h264":
                return any(_in_fields(unit[1:256]) for unit in units if unit[0] & 0x9F == _PARAMETERS)
            case _, "mpg2":
                extensions = [unit for unit in units if unit[0] == _EXTENSION and unit[1] >> 4 == 1]
                return any(not unit[2] & 0b1000 for unit in extensions)
            case _, "fmp4":
                return any(_is_layer_interlaced(unit[1:256]) for unit in units if unit[0] in _LAYERS)
            case _, "hevc":  # general_interlaced_source_flag (H.265, 7.3.3)
                sets = [unit[:256] for unit in units if unit[0] >> 1 & 0x3F == _HEVC_PARAMETERS]
                return any(unit.replace(_GUARDED, b"\0\0")[8] & 0x40 for unit in sets)
            case "ap", _:  # ProRes: interlace_mode of the frame header (SMPTE RDD 36, 5.1.1)
                return any(head[frame.end() + 12] & 0x0C for frame in re.finditer(b"icpf", head))
            case _, "avdn":  # DNxHD: each header begins with these bytes (SMPTE ST 2019-1)
                return any(head[frame.end()] & 2 for frame in re.finditer(rb"\x00\x00\x02\x80[\x01-\x03]", head))
            case "dv", _:
                return True
    except IndexError:
        pass
    return False


class _Bits:
    """Numbers out of a bit string (H.264, 7.2 and 9.1)."""

    def __init__(self, content: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in content.replace(_GUARDED, b"\0\0"))
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


def _is_layer_interlaced(layer: bytes) -> bool:
    """The flag `interlaced` of an MPEG-4 video object layer (ISO/IEC 14496-2, 6.2.3)."""
    bits = _Bits(layer)
    bits.take(9)
    version = bits.take(7) >> 3 if bits.take(1) else 1
    if bits.take(4) == 15:
        bits.take(16)
    if bits.take(1):
        bits.take(3)
        bits.take(79 if bits.take(1) else 0)
    shape = bits.take(2)
    if shape == 3 and version != 1:
        bits.take(4)
    bits.take(1)
    resolution = bits.take(16)
    bits.take(1)
    if bits.take(1):
        bits.take(max(1, (resolution - 1).bit_length()))
    if shape == _BINARY_ONLY:
        return False
    if shape == _RECTANGLE:
        bits.take(29)
    return bool(bits.take(1))


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
