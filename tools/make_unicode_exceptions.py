#!/usr/bin/env python3
"""Writes src/text/unicode_exceptions.cc: where the Python package `tokenizers` and utf8proc differ.

usage: make_unicode_exceptions.py OUTPUT      needs `pip install tokenizers xxhash` and
                                              libutf8proc.so.2

Each library follows its own version of Unicode, so code points that were assigned lately have
different properties. This asks both about every scalar value and writes down the differences, as
ranges. src/text/unicode.cc looks them up before it asks utf8proc. It prints the hashes of all answers of
the package, which src/text/unicode_test.cc compares with the project's own.
"""
import ctypes
import sys

import xxhash
from tokenizers import Regex, __version__, normalizers, pre_tokenizers

SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
# The bits of unicode.h.
LETTER, NUMBER, SPACE, CONTROL, PUNCTUATION, MARK, ANY_MARK, WORD = 1, 2, 4, 8, 16, 32, 64, 128
UPPER, LOWER, MARK_CLASS = 256, 512, 1024
WHITE_SPACE = ({*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
                0x202F, 0x205F, 0x3000})
# Categories as utf8proc numbers them: Lu Ll Lt Lm Lo = 1-5, Mn Mc Me = 6-8, Nd Nl No = 9-11,
# Pc ... Po = 12-18, Cc Cf Cs Co = 26-29.


def library():
    lib = ctypes.CDLL("libutf8proc.so.2")
    lib.utf8proc_category.argtypes = [ctypes.c_int32]
    lib.utf8proc_tolower.argtypes = [ctypes.c_int32]
    lib.utf8proc_tolower.restype = ctypes.c_int32
    lib.utf8proc_decompose_char.argtypes = [
        ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_ssize_t, ctypes.c_int,
        ctypes.POINTER(ctypes.c_int)]
    lib.utf8proc_decompose_char.restype = ctypes.c_ssize_t
    return lib


def flags_of_library(lib, c):
    category = lib.utf8proc_category(c)
    ascii_mark = c < 128 and chr(c) in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    return ((LETTER if 1 <= category <= 5 else 0) | (NUMBER if 9 <= category <= 11 else 0) |
            (SPACE if c in WHITE_SPACE else 0) |
            (CONTROL if 26 <= category <= 29 and c not in (9, 10, 13) else 0) |
            (PUNCTUATION if 12 <= category <= 18 or ascii_mark else 0) |
            (MARK if category == 6 else 0) | (ANY_MARK if 6 <= category <= 8 else 0) |
            (WORD if 1 <= category <= 10 or category == 12 else 0) |
            (UPPER if category in (1, 3) else 0) | (LOWER if category == 2 else 0) |
            (MARK_CLASS if 6 <= category <= 8 else 0))


def regex_matches(pattern):
    """The scalars that a character class of the package's regular expressions holds."""
    found = set()
    replace = normalizers.Replace(Regex(pattern), "\x01")
    for at in range(0, len(SCALARS), 4096):
        block = SCALARS[at:at + 4096]
        text = replace.normalize_str("".join(map(chr, block)))
        assert len(text) == len(block)
        found.update(c for c, t in zip(block, text) if ord(t) != c)
    return found


def flags_of_package():
    letters, numbers, spaces = (regex_matches(p) for p in (r"\p{L}", r"\p{N}", r"\s"))
    upper, lower, marks = (regex_matches(p) for p in (r"[\p{Lu}\p{Lt}]", r"\p{Ll}", r"\p{M}"))
    assert regex_matches(r"[\p{Lm}\p{Lo}]") == letters - upper - lower and upper | lower <= letters
    clean = normalizers.BertNormalizer(True, False, False, False)
    accents = normalizers.BertNormalizer(False, False, True, False)
    all_accents = normalizers.StripAccents()
    split, words = pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Whitespace()
    flags, odd_spaces = {}, []
    for c in SCALARS:
        text = "a" + chr(c) + "a"
        pieces = len(split.pre_tokenize_str(text))
        cleaned = clean.normalize_str(text)
        control = cleaned == "aa" and c not in (0, 0xFFFD)
        if not (c in spaces) == (pieces == 2):
            odd_spaces.append(hex(c))
        flags[c] = ((LETTER if c in letters else 0) | (NUMBER if c in numbers else 0) |
                    (SPACE if c in spaces else 0) | (CONTROL if control else 0) |
                    (PUNCTUATION if pieces == 3 else 0) |
                    (MARK if accents.normalize_str(text) == "aa" else 0) |
                    (ANY_MARK if all_accents.normalize_str(text) == "aa" else 0) |
                    (WORD if len(words.pre_tokenize_str(text)) == 1 else 0) |
                    (UPPER if c in upper else 0) | (LOWER if c in lower else 0) |
                    (MARK_CLASS if c in marks else 0))
        if c == 0:
            flags[c] |= CONTROL
    assert not odd_spaces, odd_spaces
    return flags


def decomposed(lib, c, options=1 << 4):  # DECOMPOSE
    if 0xAC00 <= c < 0xD7A4:
        return None
    buffer = (ctypes.c_int32 * 32)()
    last = ctypes.c_int(0)
    count = lib.utf8proc_decompose_char(c, buffer, 32, options, ctypes.byref(last))
    return "".join(chr(buffer[i]) for i in range(count))


def ranges(values):
    """[(first, last, value)] of a dict from code points; neighbours of one value are one range."""
    rows = []
    for c in sorted(values):
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == values[c]:
            rows[-1][1] = c
        else:
            rows.append([c, c, values[c]])
    return rows


def main():
    lib = library()
    package = flags_of_package()
    kinds = {c: f for c, f in package.items() if f != flags_of_library(lib, c)}
    nfd, lower = normalizers.NFD(), normalizers.Lowercase()
    texts = {}
    for c in SCALARS:
        ours, theirs = decomposed(lib, c), nfd.normalize_str(chr(c))
        if ours is not None and ours != theirs:
            texts[c] = theirs
    nfkd, whole = normalizers.NFKD(), {}
    for c in SCALARS:
        if decomposed(lib, c, 1 << 4 | 1 << 2) not in (None, nfkd.normalize_str(chr(c))):  # COMPAT
            assert nfkd.normalize_str(chr(c)) == chr(c), hex(c)
            whole[c] = 0
    lowers = {}
    for c in SCALARS:
        theirs = lower.normalize_str(chr(c))
        if chr(lib.utf8proc_tolower(c)) != theirs:
            lowers[c] = theirs
    # Combining classes: 0 or not is all that can differ between versions.
    starters = {}
    for c in SCALARS:
        theirs = (nfd.normalize_str("a" + chr(c) + "\u0334")[1:2] == "\u0334" or
                  nfd.normalize_str("a\u0345" + chr(c))[1:2] != "\u0345")
        if theirs != combining(lib, c) and nfd.normalize_str(chr(c)) == chr(c):
            starters[c] = theirs
    print(len(kinds), len(ranges(kinds)), "kinds;", len(texts), "decompositions;", len(lowers),
          "lower;", len(starters), "classes;", len(whole), "whole", file=sys.stderr)
    assert not any(starters.values()), "a class that utf8proc does not know"
    for name, data in (("kinds", b"".join(package[c].to_bytes(2, "little") for c in SCALARS)),
                       ("decompositions", lines(nfd.normalize_str)),
                       ("compatibility", lines(nfkd.normalize_str)),
                       ("lower case", lines(lower.normalize_str))):
        print(f"{name}: 0x{xxhash.xxh64(data).intdigest():x}")
    write(sys.argv[1], kinds, texts, lowers, starters, whole)


def lines(change):
    return "".join(change(chr(c)) + "\n" for c in SCALARS).encode()


class Property(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


def combining(lib, c):
    lib.utf8proc_get_property.restype = ctypes.POINTER(Property)
    lib.utf8proc_get_property.argtypes = [ctypes.c_int32]
    return lib.utf8proc_get_property(c).contents.combining_class != 0


def rows_text(rows):
    text, line = "", "   "
    for row in rows:
        if len(line) + len(row) + 1 > 100:
            text += line + "\n"
            line = "   "
        line += " " + row
    return text + line + "\n"


def write(path, kinds, texts, lowers, starters, whole):
    kind_rows = [f"{{0x{a:x}, 0x{b:x}, {v}}}," for a, b, v in ranges(kinds)]
    whole_rows = [f"{{0x{a:x}, 0x{b:x}, 0}}," for a, b, _ in ranges(whole)]
    starter_rows = [f"{{0x{a:x}, 0x{b:x}, 0}}," for a, b, v in ranges(starters) if not v]

    def mapped(values):
        rows = []
        for c in sorted(values):
            points = [f"0x{ord(t):x}" for t in values[c]] + ["0"] * 4
            rows.append(f"{{0x{c:x}, {{{', '.join(points[:4])}}}}},")
        return rows
    with open(path, "w", encoding="utf-8") as out:
        out.write(f"""// Written by tools/make_unicode_exceptions.py, tokenizers {__version__}: do not edit.
// clang-format off
#include "text/unicode_exceptions.h"

namespace longspan::text::exceptions {{

const std::vector<Range>& Kinds() {{
  static const std::vector<Range> rows = {{
{rows_text(kind_rows)}  }};
  return rows;
}}

const std::vector<Range>& Starters() {{
  static const std::vector<Range> rows = {{
{rows_text(starter_rows)}  }};
  return rows;
}}

const std::vector<Range>& Whole() {{
  static const std::vector<Range> rows = {{
{rows_text(whole_rows)}  }};
  return rows;
}}

const std::vector<Mapping>& Decompositions() {{
  static const std::vector<Mapping> rows = {{
{rows_text(mapped(texts))}  }};
  return rows;
}}

const std::vector<Mapping>& LowerCase() {{
  static const std::vector<Mapping> rows = {{
{rows_text(mapped(lowers))}  }};
  return rows;
}}

}}  // namespace longspan::text::exceptions
""")


if __name__ == "__main__":
    main()
