"""Holes: runs of zeros in encoded frames that no encoder writes, as after the loss of a disk sector."""

NAL_CODECS = {"h264", "hevc"}
NAL_ZEROS = 16  # emulation prevention keeps encoders from writing more than a few in a row
RANGE_CODED = {"vp8", "vp9"}
SEARCHED_CODECS = NAL_CODECS | RANGE_CODED  # those that `has_hole` checks
RANGE_ZEROS = 512  # bytes; libvpx writes up to 83 in a row for a flat frame of 1080p (measured), fewer for smaller ones
PIXELS_PER_ZERO = 4096  # larger frames may have longer runs


def has_hole(packet: bytes, codec: str, pixels: int) -> bool:
    """Whether an encoded frame of `pixels` has a run of zeros that no encoder of its codec writes.

    H.264 and HEVC allow such runs only as padding: at the end, or before a start code. In VP8 and VP9, whose decoders
    accept any data, long runs are improbable. Other codecs may have zeros (MJPEG of flat pictures) or report them.
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
