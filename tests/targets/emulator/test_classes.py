"""The class of an instruction by its encoding; words as GNU's assembler writes them."""

import pytest

from targets.emulator.classes import CLASSES, PATTERNS, c_table, class_of, mask_and_value

WORDS = {
    "vector_multiply_add": {
        0x6E829420: "udot v0.4s, v1.16b, v2.16b",
        0x4FA2E020: "sdot v0.4s, v1.16b, v2.4b[1]",
        0x0E628020: "smlal v0.4s, v1.4h, v2.4h",
        0x4F722020: "smlal2 v0.4s, v1.8h, v2.h[3]",
        0x4E629420: "mla v0.8h, v1.8h, v2.8h",
        0x4F821020: "fmla v0.4s, v1.4s, v2.s[0]",
        0x4E22CC20: "fmla v0.4s, v1.4s, v2.4s",
        0x4EE2CC20: "fmls v0.2d, v1.2d, v2.2d",
        0x4E420C20: "fmla v0.8h, v1.8h, v2.8h",
    },
    "vector": {
        0x0E22C020: "smull v0.8h, v1.8b, v2.8b",
        0x4E606820: "sadalp v0.4s, v1.8h",
        0x6E22DC20: "fmul v0.4s, v1.4s, v2.4s",
        0x4E22F420: "fmax v0.4s, v1.4s, v2.4s",
        0x6EA2B420: "sqrdmulh v0.4s, v1.4s, v2.4s",
        0x4E040C20: "dup v0.4s, w1",
        0x4E823820: "zip1 v0.4s, v1.4s, v2.4s",
    },
    "load": {
        0xA8C17BFD: "ldp x29, x30, [sp], #16",
        0xB9400420: "ldr w0, [x1, #4]",
        0xB8A26820: "ldrsw x0, [x1, x2]",
        0x3CC10420: "ldr q0, [x1], #16",
        0x4CDF2020: "ld1 {v0.16b-v3.16b}, [x1], #64",
        0x4D40C820: "ld1r {v0.4s}, [x1]",
        0x885FFC20: "ldaxr w0, [x1]",
        0x58FFFBC0: "ldr x0, label",
        0xF9800020: "prfm pldl1keep, [x1]",
        0xB8200041: "ldadd w0, w1, [x2]",
        0x88A07C41: "cas w0, w1, [x2]",
        0xB8208041: "swp w0, w1, [x2]",
    },
    "store": {
        0xA9BF7BFD: "stp x29, x30, [sp, #-16]!",
        0xB8226820: "str w0, [x1, x2]",
        0xF81F8020: "stur x0, [x1, #-8]",
        0x3D8003E3: "str q3, [sp]",
        0xFD000420: "str d0, [x1, #8]",
        0x79000020: "strh w0, [x1]",
        0x4C9F7820: "st1 {v0.4s}, [x1], #16",
        0x8800FC41: "stlxr w0, w1, [x2]",
        0x889FFC20: "stlr w0, [x1]",
        0xAC810420: "stp q0, q1, [x1], #32",
    },
    "scalar": {
        0x8B020020: "add x0, x1, x2",
        0x9B020C20: "madd x0, x1, x2, x3",
        0x1F020C20: "fmadd s0, s1, s2, s3",
        0x1E222820: "fadd s0, s1, s2",
        0x9A820020: "csel x0, x1, x2, eq",
        0x90000000: "adrp x0, label",
        0xD503201F: "nop",
        0xD53BD040: "mrs x0, tpidr_el0",
        0xD4000001: "svc #0",
    },
    "branch": {
        0x17FFFFCB: "b label",
        0x97FFFFCA: "bl label",
        0x54FFF920: "b.eq label",
        0xB4FFF900: "cbz x0, label",
        0x371FF8E0: "tbnz w0, #3, label",
        0xD65F03C0: "ret",
        0xD61F0020: "br x1",
    },
}


@pytest.mark.parametrize(("name", "word", "text"), [(n, w, t) for n, words in WORDS.items() for w, t in words.items()])
def test_an_instruction_is_of_its_class(name: str, word: int, text: str) -> None:
    assert class_of(word) == name, text


def test_a_pattern_is_a_mask_and_a_value() -> None:
    assert mask_and_value("x1 0") == (0x60000000, 0x40000000)
    assert all(len(pattern.replace(" ", "")) <= 32 for _, pattern in PATTERNS)


def test_the_plugin_is_given_the_same_patterns_in_the_same_order() -> None:
    lines = c_table().splitlines()
    assert len(lines) == len(PATTERNS)
    place = CLASSES.index("branch")
    assert lines[-1] == f"{{0x7c000000u, 0x34000000u, {place}}},"  # x011 01xx
