"""aarch64 programs of a few instructions, as static ELF files."""

import struct
from collections.abc import Iterable
from pathlib import Path

BASE = 0x400000

FIRST_MARK = (0xD2800FA8, 0xD2800020, 0xF2A8AA00, 0xD4000001)  # mov x8, 125; x0 = 0x45500001; svc 0
LAST_MARK = (0xD2800040, 0xF2A8AA00, 0xD4000001)  # x0 = 0x45500002; svc 0
EXIT = (0xD2800000, 0xD2800BA8, 0xD4000001)  # exit(0)
LOOP = (
    0xD2807D01,  # mov x1, 1000
    0x4E22CC20,  # loop: fmla v0.4s, v1.4s, v2.4s
    0x3DC003E3,  # ldr q3, [sp]
    0x3D8003E3,  # str q3, [sp]
    0x4E258484,  # add v4.16b, v4.16b, v5.16b
    0xF1000421,  # subs x1, x1, 1
    0x54FFFF61,  # b.ne loop
)
UDOT = 0x6E829420  # udot v0.4s, v1.16b, v2.16b


def program(file: Path, words: Iterable[int]) -> Path:
    """An executable that begins with the first of `words`."""
    code = b"".join(struct.pack("<I", word) for word in words)
    start = 64 + 56
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, BASE + start, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, start + len(code), start + len(code), 0x1000)
    file.write_bytes(identity + head + segment + code)
    file.chmod(0o755)
    return file
