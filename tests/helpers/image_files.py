"""Image files that the installed libraries do not write."""

import struct
import zlib

COLOR_TYPES = {2: 4, 3: 2, 4: 6}
"""PNG's color type by the number of channels."""


def write_png_of_16_bits(path, samples):
    """Write (height, width, channels) of 16 bits as PNG: grey with alpha, RGB or RGBA."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, COLOR_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path
