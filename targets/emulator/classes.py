"""Which class an A64 instruction is of, by its encoding (Arm ARM, DDI 0487, chapter C4).

The patterns stand in the order of the manual's bits 31 to 0: x is either, what is left out at the end is x, spaces are
for the reader. The first that fits counts; what fits none is `scalar`.
"""

CLASSES = ("vector_multiply_add", "vector", "load", "store", "scalar", "branch")

# Atomic read-modify-writes count as loads, since they wait for memory. One lane of a vector register and scalar float
# arithmetic are `scalar`, as system instructions and hints are.
PATTERNS: tuple[tuple[str, str], ...] = (
    # three registers of the same type: MLA and MLS; FMLA, FMLS, FMLAL2 and FMLSL2; FMLAL and FMLSL; half precision
    ("vector_multiply_add", "0xx 01110 xx1 xxxxx 100101"),
    ("vector_multiply_add", "0xx 01110 xx1 xxxxx 110011"),
    ("vector_multiply_add", "0x0 01110 x01 xxxxx 111011"),
    ("vector_multiply_add", "0x0 01110 x10 xxxxx 000011"),
    # its extension: SQRDMLAH, SQRDMLSH and dot products; matrix products; FCMLA; BFMMLA; BFDOT and BFMLAL
    ("vector_multiply_add", "0xx 01110 xx0 xxxxx 100xx1"),
    ("vector_multiply_add", "0xx 01110 xx0 xxxxx 1010x1"),
    ("vector_multiply_add", "0xx 01110 xx0 xxxxx 110xx1"),
    ("vector_multiply_add", "0x1 01110 010 xxxxx 111011"),
    ("vector_multiply_add", "0x1 01110 xx0 xxxxx 111111"),
    # three registers of different types: SMLAL, UMLAL, SMLSL, UMLSL, SQDMLAL, SQDMLSL
    ("vector_multiply_add", "0xx 01110 xx1 xxxxx 10xx00"),
    # by an element: (F)MLA, (F)MLS, SMLAL ... FCMLA; dot products and SQRDMLSH; FMLAL2 and FMLSL2; SQRDMLAH
    ("vector_multiply_add", "0xx 01111 xxx xxxxx 0xxxx0"),
    ("vector_multiply_add", "0xx 01111 xxx xxxxx 111xx0"),
    ("vector_multiply_add", "0x1 01111 xxx xxxxx 1x00x0"),
    ("vector_multiply_add", "0x1 01111 xxx xxxxx 1101x0"),
    ("vector", "0xx 0111x"),
    ("vector", "110 01110"),  # SHA-512, SM3 and SM4
    ("load", "xx 001000 1x1"),  # compare and swap
    ("load", "xx 111000 xx1 xxxxx xxxx00"),  # atomic memory operations
    ("store", "0x 00110x x0"),  # structures of vectors
    ("store", "xx 001000 x0"),  # exclusive and ordered
    ("store", "xx 011001 00"),  # ordered, with an offset
    ("store", "xx 101x0x x0"),  # pairs
    ("store", "xx 11100x 00"),  # a general register
    ("store", "xx 11110x x0"),  # a vector register
    ("load", "xx xx1x0x"),  # every other access, prefetching too
    ("branch", "0101 010x"),  # B.cond
    ("branch", "1101 011x"),  # to a register
    ("branch", "x001 01xx"),  # B and BL
    ("branch", "x011 01xx"),  # CBZ, CBNZ, TBZ and TBNZ
)


def mask_and_value(pattern: str) -> tuple[int, int]:
    """(bits that count, what they must be) of a pattern, as 32-bit words."""
    bits = pattern.replace(" ", "").ljust(32, "x")
    return int("".join("01"[bit != "x"] for bit in bits), 2), int(bits.replace("x", "0"), 2)


def class_of(word: int) -> str:
    """The class of the instruction whose encoding is the 32-bit `word`."""
    for name, pattern in PATTERNS:
        mask, value = mask_and_value(pattern)
        if word & mask == value:
            return name
    return "scalar"


def c_table() -> str:
    """The same for the plugin: one initialiser {mask, value, place in CLASSES} a line."""
    rows = [(*mask_and_value(pattern), CLASSES.index(name)) for name, pattern in PATTERNS]
    return "".join(f"{{{mask:#010x}u, {value:#010x}u, {place}}},\n" for mask, value, place in rows)
