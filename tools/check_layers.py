#!/usr/bin/env python3
"""Checks that the arrow between the layers holds: scans #include lines, nothing else.

usage: check_layers.py [ROOT]      exits 1 and names every line that breaks a rule

1. A layer may include only itself and the layers before it in LAYERS.
2. Mechanisms of src/ops never include each other. What several of them are made of is no mechanism
   (SHARED_KERNELS), and includes none.
3. Some libraries are known to one place only (ONLY_IN).
4. The program is a client of the installed headers: cli/ includes longspan/ and cli/ only, and the
   experts' commands in cli/lab/ also lab/. So are the modules of Python: python/src includes
   longspan/ and its own files only.
Tests, benchmarks and tests/support may include what they like, with one exception: a test or
benchmark of a mechanism includes no other mechanism.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

LAYERS = ["base", "tensor", "parallel", "world", "simd", "probe", "gemm", "streams", "ops", "catalogue", "io", "data",
          "text", "metrics", "generate", "model", "families", "tasks",
          "train", "inspect", "c_api", "lab", "cli", "python"]
# The installed headers, each with the layer that implements it.
PUBLIC = {"types.h": "base", "error.h": "base", "counted.h": "base", "version.h": "base", "process.h": "base",
          "tensor.h": "tensor", "context.h": "parallel", "world.h": "world", "machine.h": "probe", "attention.h": "ops", "axial_position.h": "ops",
          "optimizer.h": "ops",
          "pattern.h": "catalogue", "files.h": "io", "data.h": "data", "tokenizer.h": "text",
          "tokenizer_training.h": "text", "metrics.h": "metrics", "sampling.h": "generate", "batch.h": "model",
          "model_info.h": "model", "step_memory.h": "model", "folders.h": "model",
          "model.h": "families", "tasks.h": "tasks", "vectors.h": "tasks", "generate.h": "tasks", "train.h": "train",
          "evaluate.h": "train", "head_training.h": "train", "named_options.h": "train", "plan.h": "train", "data_stats.h": "train", "ranks.h": "train", "run_log.h": "train",
          "inspect.h": "inspect", "c_api.h": "c_api", "longspan.h": "c_api"}
# Header (pattern) -> the only folders that may include it. src/gemm needs omp.h to tell oneDNN
# that a primitive is for one thread; it starts none.
ONLY_IN = {r"(oneapi/dnnl/)?dnnl\w*\.hp?p?": ("src/gemm",), r"CLI/.*": ("cli",),
           r"omp\.h": ("src/parallel", "src/gemm"), r"mpi\.h": ("src/world/mpi",), r"nanobind/.*": ("python/src",)}
SHARED_KERNELS = {"amx_attention"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')


def sources(root):
    """Every C++ file that is tracked or could be; without git every file in the source folders."""
    run = subprocess.run(["git", "-C", root, "ls-files", "--cached", "--others",
                          "--exclude-standard", "*.h", "*.cc"], capture_output=True, text=True)
    if run.returncode == 0 and run.stdout:
        names = run.stdout.splitlines()
    else:
        names = [p.relative_to(root).as_posix() for top in ("include", "src", "cli", "python")
                 for p in Path(root, top).rglob("*") if p.suffix in (".h", ".cc")]
    return sorted(name for name in names if Path(root, name).is_file())


def place(path):
    """(layer, mechanism) of a file of the project; (None, None) for one outside the layers."""
    parts = path.split("/")
    if parts[0] == "include" and len(parts) == 3:
        return PUBLIC.get(parts[2], "unknown public header"), None
    if parts[0] in ("cli", "python"):
        return parts[0], None
    if parts[0] == "src" and len(parts) > 2:
        return parts[1], parts[2] if parts[1] == "ops" and len(parts) > 3 else None
    return None, None


def target(root, including, name, quoted):
    """The project's file that an include means, or None for somebody else's."""
    beside = os.path.normpath(Path(including).parent / name)
    candidates = [f"include/{name}", f"src/{name}", name] + ([beside] if quoted else [])
    return next((c for c in candidates if Path(root, c).is_file()), None)


def is_client(path, found):
    """Whether a file of the program or of Python's modules may include this file of the project."""
    own = ("include/longspan/", "python/src/" if path.startswith("python/") else "cli/")
    return found.startswith(own + (("src/lab/",) if path.startswith("cli/lab/") else ()))


def check_file(root, path):
    layer, mechanism = place(path)
    exempt = bool(re.search(r"_(test|bench|fuzz)\.(cc|h)$", path)) or layer is None
    if layer is not None and layer not in LAYERS:
        yield 1, f"'{layer}' is not in the list of layers"
        return
    for number, line in enumerate(Path(root, path).read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quoted, name = match[1] == '"', match[2]
        for pattern, folders in ONLY_IN.items():
            inside = any(path.startswith(folder + "/") for folder in folders)
            if re.fullmatch(pattern, name) and not exempt and not inside:
                yield number, f"<{name}> belongs to {' and '.join(folders)} alone"
        found = target(root, path, name, quoted)
        if found is None:
            if name.startswith("longspan/"):
                yield number, f"{name} does not exist"
            continue
        other, other_mechanism = place(found)
        shared = other_mechanism in SHARED_KERNELS
        if mechanism and other_mechanism and mechanism != other_mechanism and not shared:
            yield number, f"mechanism {mechanism} includes mechanism {other_mechanism}"
        elif not exempt and layer in ("cli", "python") and not is_client(path, found):
            client = "the program is" if layer == "cli" else "Python's modules are"
            yield number, f"{client} a client of the library, and {found} is not installed"
        elif not exempt and found.startswith("tests/"):
            yield number, f"{found} is for tests only"
        elif not exempt and other in LAYERS and LAYERS.index(other) > LAYERS.index(layer):
            yield number, f"layer {layer} includes {found} of the higher layer {other}"


def main(root):
    files = [f for f in sources(root) if f.split("/")[0] in ("include", "src", "cli", "python")]
    problems = [f"{path}:{number}: {text}"
                for path in files for number, text in check_file(root, path)]
    for problem in problems:
        print(problem)
    print(f"layers: {len(files)} files, {len(problems)} problems")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    default = Path(__file__).resolve().parent.parent
    sys.exit(main(str(sys.argv[1] if len(sys.argv) > 1 else default)))
