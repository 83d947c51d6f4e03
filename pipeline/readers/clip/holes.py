"""Holes: runs of zeros in encoded frames that no encoder writes, such as a lost sector leaves."""

NAL_CODECS = {"h264", "hevc"}
NAL_ZEROS = 16  # emulation prevention keeps encoders from writing more than a few in a row
RANGE_CODED = {"vp8", "vp9"}
SEARCHED_CODECS = NAL_CODECS | RANGE_CODED  # the codecs that `has_hole` knows
RANGE_ZEROS = 512  # bytes; libvpx was seen to write 83 in a row into a flat frame of 1080p, fewer into smaller ones
PIXELS_PER_ZERO = 4096  # so that larger frames may hold longer runs


def has_hole(packet: bytes, codec: str, pixels: int) -> bool:
    """True where an encoded frame of `pixels` holds zeros that no encoder of this codec writes, as a lost sector does.

    H.264 and HEVC forbid them but as padding: at the end, or before a start code. In VP8 and VP9, whose decoders take
    anything, long runs are improbable. Other codecs may hold zeros (MJPEG of flat pictures), or report them.
    """
    if codec in RANGE_CODED:
        return bytes(max(RANGE_ZEROS, pixels // PIXELS_PER_ZERO)) in packet
    return codec in NAL_CODECS and _zeros_inside(packet)


def _zeros_inside(packet: bytes) -> bool:
    zeros = bytes(NAL_ZEROS)
    start = packet.find(zeros)
    while start >= 0:
        rest = packet[start:].lstrip(b"\0")
        if rest and rest[0] != 1:
            return True
        start = packet.find(zeros, len(packet) - len(rest))
    return False
