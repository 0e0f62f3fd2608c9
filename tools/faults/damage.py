"""Damage to the newer of two checkpoints, of every kind that a disk or a hand can do."""
import json
import os
import shutil
import stat
from functools import partial

from support import (SMALLEST, Lost, Resumed, Training, add_training_options, check_is_the_same,
                     copy_until, in_parallel, make_model)

DESCRIPTION = ("Damages the newer of two checkpoints in about two hundred ways and resumes: it "
               "must step back with a warning, or say in one line why it cannot.")

NEWEST, BEFORE = 3, 2  # the steps of the two checkpoints
FILES = ("config.json", "manifest.json", "model.safetensors", "optimizer.safetensors",
         "trainer_state.json")

# What a resume does: goes on from the one before with a warning, from the newest, from the one
# before without a word (the newest is gone by name), or leaves with a status.
BACK, STAYS, GONE = "back", "stays", "gone"


def add_options(parser):
    add_training_options(parser, steps=4,
                         extra="--log-every 1 --eval-every 3 --batch 1 --tokens 64 --dropout 0.1 "
                               "--held-out 0.002 --progress none --keep 2", init=SMALLEST)
    parser.add_argument("--quick", action="store_true", help="every eighth kind only")


def change(name, edit, folder):
    path = folder / name
    path.write_bytes(edit(path.read_bytes()))


def flip(at, data):
    at = min(int(at * len(data)), len(data) - 1)
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1:]


def replace(name, make, folder):
    (folder / name).unlink()
    make(folder / name)


def lock_away(path):
    path.write_text("x")
    path.chmod(0)


BYTES = {
    **{f"a flipped bit at {at}": partial(flip, at) for at in (0.0, 0.01, 0.3, 0.5, 0.9, 1.0)},
    **{f"cut to {share}": lambda data, share=share: data[:int(share * len(data))]
       for share in (0.0, 0.001, 0.25, 0.5, 0.99)},
    "cut by a byte": lambda data: data[:-1],
    "zero-filled": lambda data: bytes(len(data)),
    "its second half zero": lambda data: data[:len(data) // 2] + bytes((len(data) + 1) // 2),
    "a byte more": lambda data: data + b"\0",
    "4096 bytes more": lambda data: data + bytes(4096),
    "twice": lambda data: data + data,
    "a byte moved": lambda data: data[1:] + data[:1],
    "a web page": lambda data: b"<!DOCTYPE html><html></html>",
}

OTHERS = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a FIFO": lambda path: os.mkfifo(path),
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a folder": lambda path: path.symlink_to("."),
}
if os.geteuid() != 0:  # root reads everything
    OTHERS["not readable"] = lock_away


def edit_manifest(edit, folder):
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    edited = edit(document)
    path.write_text(json.dumps(document if edited is None else edited, indent=2))


def set_field(*keys):
    *way, last, value = keys

    def edit(document):
        for key in way:
            document = document[key]
        document[last] = value
    return edit


MANIFEST = {
    "written otherwise": lambda m: None,
    "an empty object": lambda m: {},
    "a list": lambda m: [],
    "another step": set_field("step", 7),
    "another version": set_field("version", 2),
    "another format": set_field("format", "x"),
    "no files": set_field("files", []),
    "files as an object": set_field("files", {}),
    "a file less": lambda m: m["files"].pop() and None,
    "a name that leads out": set_field("files", 0, "name", "../../metrics.jsonl"),
    "an absolute name": set_field("files", 0, "name", "/etc/passwd"),
    "a negative length": set_field("files", 0, "bytes", -1),
    "a huge length": set_field("files", 0, "bytes", 2**62),
    "a length beyond 64 bits": set_field("files", 0, "bytes", 2**70),
    "a checksum of another": lambda m: set_field("files", 0, "xxh128", m["files"][1]["xxh128"])(m),
    "a checksum in capitals": lambda m: set_field("files", 0, "xxh128",
                                                  m["files"][0]["xxh128"].upper())(m),
    "no checksum": lambda m: m.pop("checksum") and None,
}


def rename_to(name, folder):
    folder.rename(folder.with_name(name))


def instead(make, folder):
    shutil.rmtree(folder)
    make(folder)


def swap(folder):
    one, other = folder / "model.safetensors", folder / "optimizer.safetensors"
    one.rename(folder / "x")
    other.rename(one)
    (folder / "x").rename(other)


def other_checkpoint(folder):
    return folder.with_name(f"checkpoint-{BEFORE}")


def take_from_the_other(name, folder):
    shutil.copy(other_checkpoint(folder) / name, folder / name)


def copy_of_the_other(folder):
    shutil.copytree(other_checkpoint(folder), folder)


def both(damage, folder):
    damage(folder)
    damage(other_checkpoint(folder))


FOLDER = {
    "two files swapped": (BACK, swap),
    "emptied": (BACK, partial(instead, lambda path: path.mkdir())),
    "only its manifest": (BACK, lambda folder: [(folder / name).unlink() for name in FILES
                                                if name != "manifest.json"]),
    "a file in its place": (BACK, partial(instead, lambda path: path.write_text("x"))),
    "a FIFO in its place": (BACK, partial(instead, os.mkfifo)),
    "a link to nowhere in its place": (BACK, partial(instead, lambda path: path.symlink_to("no"))),
    "a link to the other in its place":
        (BACK, partial(instead, lambda path: path.symlink_to(other_checkpoint(path).name))),
    "the other's content": (BACK, partial(instead, copy_of_the_other)),
    "of another number": (BACK, partial(rename_to, "checkpoint-9")),
    "of no number": (GONE, partial(rename_to, f"checkpoint-0{NEWEST}")),
    "removed": (GONE, shutil.rmtree),
    "a file beside its own": (STAYS, lambda folder: (folder / "notes.txt").write_text("x")),
    "a folder in it": (STAYS, lambda folder: (folder / "more").mkdir()),
    "an empty one of a later step":
        (STAYS, lambda folder: folder.with_name("checkpoint-4").mkdir()),
    "both: no weights": (3, partial(both, lambda folder: (folder / FILES[2]).unlink())),
    "both: no manifest": (3, partial(both, lambda folder: (folder / FILES[1]).unlink())),
    "both: a FIFO": (4, partial(both, partial(replace, FILES[3], os.mkfifo))),
    "both: cut": (3, partial(both, partial(change, FILES[4], lambda data: data[:10]))),
}


def kinds():
    """(name, what the resume does, function that damages the folder of the newest)."""
    for name in FILES:
        for what, edit in BYTES.items():
            yield f"{name}: {what}", BACK, partial(change, name, edit)
        for what, make in OTHERS.items():
            yield f"{name}: {what}", BACK, partial(replace, name, make)
        # All checkpoints of a run have the same configuration.
        expected = STAYS if name == "config.json" else BACK
        yield f"{name}: the other checkpoint's", expected, partial(take_from_the_other, name)
    for what, edit in MANIFEST.items():
        yield f"manifest.json: {what}", BACK, partial(edit_manifest, edit)
    for what, (expected, damage) in FOLDER.items():
        yield f"folder: {what}", expected, damage


def check(training, base, oracle, number, kind):
    name, expected, damage = kind
    out = base.with_name(f"damaged-{number}")
    shutil.copytree(base, out)
    damage(out / f"checkpoint-{NEWEST}")
    run = Resumed(training, out)
    if isinstance(expected, int):
        if run.status != expected or len(run.errors()) != 1:
            raise Lost(f"{name}: status {run.status} and not one line with {expected}: {run.said}")
    else:
        step = NEWEST if expected == STAYS else BEFORE
        if run.status != 0 or run.step != step:
            raise Lost(f"{name}: status {run.status}, resumed at {run.step} and not {step}: "
                       f"{run.said}")
        before = run.said.partition("resumed at")[0]
        if expected == BACK and "checkpoint-" not in before:
            raise Lost(f"{name}: no warning: {run.said}")
        check_is_the_same(out, oracle)
    shutil.rmtree(out)


def run(options, scratch, log):
    training = Training(options, make_model(options, scratch, log))
    oracle, base = scratch / "oracle", scratch / "base"
    training.finish(oracle, log, more=["--keep", str(options.steps)])
    copy_until(oracle, NEWEST, base)
    tried = list(enumerate(kinds()))[::8 if options.quick else 1]
    in_parallel(lambda item: check(training, base, oracle, *item), tried, log)
    back = sum(kind[1] == BACK for _, kind in tried)
    return (f"{len(tried)} kinds of damage to the newest checkpoint: {back} stepped back with a "
            f"warning, the others went on or said why not; losses and weights are the undisturbed "
            f"run's, bit for bit")
