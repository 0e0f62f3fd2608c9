#!/usr/bin/env python3
"""Writes the committed inputs of the fuzz targets pickle, zip_directory, pytorch_file and shard_index.

usage: make_pytorch_corpus.py [tests/fuzz/corpus]

Every input is composed here byte by byte: no torch is needed, and the same files come out each time.
"""
import io
import json
import struct
import sys
import zipfile
from pathlib import Path

LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
DICT = b"ccollections\nOrderedDict\n)R"
DATA = struct.pack("<6f", *range(6))


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def numbers(*values):
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key="0", elements=6, view=b""):
    return (b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu")
            + number(elements) + view + b"tQ")


def tensor(of, offset, shape, stride):
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + of + number(offset) + numbers(*shape)
            + numbers(*stride) + b"\x89" + DICT + b"tR")


def program(body):
    return b"\x80\x02" + body + b"."


def table(*entries):
    return program(DICT + b"(" + b"".join(text(n) + v for n, v in entries) + b"u")


def archive(entries, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, data in entries:
            z.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def archive64(name, data):
    """An archive with zip64 end records, as torch writes them."""
    plain = archive([(name, data)])
    end = plain[-22:]
    entries, size, begin = struct.unpack_from("<HII", end, 10)
    at = len(plain) - 22
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, entries, entries, size, begin)
    return plain[:-22] + end64 + b"PK\6\7" + struct.pack("<IQI", 0, at, 1) + end


def legacy(state, keys, data):
    system = program(b"}(" + text("little_endian") + b"\x88u")
    return (LEGACY + program(b"M\xe9\x03") + system + state
            + program(b"](" + b"".join(map(text, keys)) + b"e") + data)


def inputs():
    good = table(("a", tensor(storage(), 0, (2, 3), (3, 1))))
    turned = table(("a", tensor(storage(), 0, (3, 2), (1, 3))))
    parameter = program(DICT + b"(" + text("a") + b"ctorch._utils\n_rebuild_parameter\n("
                        + tensor(storage(), 1, (5,), (1,)) + b"\x88" + DICT + b"tRu}("
                        + text("_metadata") + DICT + b"ub")
    yield "pickle", {
        "table": good, "parameter": parameter, "empty": b"",
        "system": program(b"cposix\nsystem\n" + text("true") + b"\x85R"),
        "laughs": program(b"]q\x01" + (b"](" + b"h\x01" * 10 + b"eq\x01") * 10),
        "itself": program(b"]q\x01h\x01a"), "deep": program(b")" + b"\x85" * 1000),
        "constants": program(b"(N\x88\x89K\x01M\x01\x02\x8a\x01\xff" + number(-1) + b"U\x01at"),
        "pairs": program(b"ccollections\nOrderedDict\n]" + text("a") + b"N\x86a\x85R"),
    }
    entries = [("m/data.pkl", good), ("m/byteorder", b"little"), ("m/data/0", DATA)]
    two = archive([("m/a", b"hello"), ("m/b", b"world")])
    yield "zip_directory", {
        "two": two, "none": archive([]), "cut": two[:-1], "zip64": archive64("m/a", b"hello"),
        "deflate": archive([("m/a", b"x" * 100)], zipfile.ZIP_DEFLATED),
        "path": archive([("../a", b"x")]),
    }
    view = b"(" + text("v") + number(2) + number(3) + b"t"
    yield "pytorch_file", {
        "zip": archive(entries), "turned": archive([("m/data.pkl", turned), ("m/data/0", DATA)]),
        "parameter": archive([("m/data.pkl", parameter), ("m/data/0", DATA)]),
        "script": archive([("m/data.pkl", good), ("m/constants.pkl", b"")]),
        "outside": archive([("m/data.pkl", table(("a", tensor(storage(), 1, (6,), (1,))))),
                            ("m/data/0", DATA)]),
        "expanded": archive([("m/data.pkl", table(("a", tensor(storage(), 0, (1 << 30,), (0,))))),
                             ("m/data/0", DATA)]),
        "legacy": legacy(table(("a", tensor(storage("7", 6, view), 1, (2,), (1,)))), ["7"],
                         struct.pack("<q", 6) + DATA),
        "legacy_cut": legacy(table(("a", tensor(storage("7", 6, b"N"), 0, (6,), (1,)))), ["7"],
                             struct.pack("<q", 6) + DATA[:-1]),
        "lfs": b"version https://git-lfs.github.com/spec/v1\n",
    }
    one = {"metadata": {"total_size": 8}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}
    yield "shard_index", {
        "good": json.dumps(one).encode(), "path": b'{"weight_map":{"a":"../../etc/passwd"}}',
        "twice": b'{"weight_map":{"a":"b","a":"c"}}', "empty": b'{"weight_map":{}}',
        "number": b'{"weight_map":{"a":1}}', "list": b"[]",
        "size": b'{"metadata":{"total_size":1e300},"weight_map":{"a":"b"}}',
    }


def main():
    corpus = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus")
    for target, files in inputs():
        (corpus / target).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (corpus / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
