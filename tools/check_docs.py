#!/usr/bin/env python3
"""Checks what the documentation points at.

usage: check_docs.py [ROOT]      exits 1 and names every line that is wrong

1. Every relative link in Markdown exists, and so does its #anchor.
2. Every `path` in Markdown that begins with a folder or file of the project exists. Wildcards and
   braces are understood: `src/ops/*/README.md`, `src/base/arena.{h,cc}`; <words> stand for names.
3. Every `Suite.Name` in Markdown is a test in the C++ sources, every `Class.test_name` one in Python.
4. No file names a place that only one machine has.
5. Links lead from docs/index.md to every page under docs/.
6. Every path in a comment of C++ or CMake that ends in .h, .cc, .md or .py exists: from the root, in
   src/, in include/ or beside the file.
"""
import re
import sys
from pathlib import Path

from markdown import ROOT, markdown_files, project_files, split

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"`([^`]+)`")
PATH = re.compile(r"[\w.{},*<>+-]+(/[\w.{},*<>+-]*)*")
TEST = re.compile(r"[A-Z]\w*\.(?:[A-Z]|test_)\w*")
DEFINED = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)", re.MULTILINE)
IN_PYTHON = re.compile(r"^class (\w+)\(|^    def (test_\w+)\(", re.MULTILINE)
# A comment's words that are a path with a folder, or a header or page alone.
COMMENT = {True: re.compile(r"//(.*)$"), False: re.compile(r"#(.*)$")}  # of C++, or else CMake
IN_COMMENT = re.compile(r"(?<![\w./{}*-])([\w*-]+(?:/[\w*-]+)+\.(?:h|cc|md|py)|[\w-]+\.(?:h|cc|md))(?![\w/])")
# Headers of other people, and names that stand for any file.
FOREIGN = {"foreach_target.h", "README.md", "X_bench.cc"}
# Written so that this file does not find itself.
MACHINE = re.compile(r"(?<![\w.])/(?:wor[k]|roo[t]|hom[e]/\w+|tm[p]/[w])(?:/|\b)")


def anchors(text):
    """The anchors that the headings of a Markdown file get on common hosts."""
    result = set()
    for _, line in split("", text)[1]:
        if line.startswith("#"):
            title = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip())
            result.add(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-"))
    return result


def braces(word):
    """a.{h,cc} -> a.h, a.cc"""
    match = re.search(r"\{([^{}]*)\}", word)
    if not match:
        return [word]
    return [w for part in match[1].split(",")
            for w in braces(word[:match.start()] + part + word[match.end():])]


def exists(folder, word):
    pattern = re.sub(r"<[^<>]*>", "*", word).rstrip("/")
    if "*" in pattern:
        return any(True for _ in folder.glob(pattern))
    return (folder / pattern).exists()


def tests_of(root, files):
    """Suite.Name and Class.test_name of every test in the sources."""
    tests = set()
    for path in files:
        if path.endswith("_test.cc"):
            found = DEFINED.findall((root / path).read_text(encoding="utf-8"))
            tests.update(f"{suite}.{name}" for suite, name in found)
        elif path.endswith("_test.py"):
            inside = ""
            for of_class, name in IN_PYTHON.findall((root / path).read_text(encoding="utf-8")):
                inside = of_class or inside
                if name:
                    tests.add(f"{inside}.{name}")
    return tests


def check_markdown(root, path, tops, tests):
    text = (root / path).read_text(encoding="utf-8")
    folder = (root / path).parent
    for number, line in split(path, text)[1]:
        for link in LINK.findall(line):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            where = folder / name if name else root / path
            if not where.exists():
                yield number, f"the link {link} leads nowhere"
            elif anchor and anchor not in anchors(where.read_text(encoding="utf-8")):
                yield number, f"{name or path} has no heading #{anchor}"
        for code in CODE.findall(line):
            if TEST.fullmatch(code) and code not in tests:
                yield number, f"`{code}` is no test"
            for word in code.split():
                word = re.sub(r"^\./", "", word.rstrip(".,:;"))
                if not PATH.fullmatch(word) or word.split("/")[0] not in tops:
                    continue
                for one in braces(word):
                    if not exists(root, one) and not exists(folder, one):
                        yield number, f"`{one}` does not exist"


def check_comments(root, path):
    """(line, problem) of every path in the comments of a C++ or CMake file that leads nowhere."""
    folder = (root / path).parent
    for number, line in enumerate((root / path).read_text(encoding="utf-8").splitlines(), 1):
        comment = COMMENT[path.endswith((".h", ".cc"))].search(line)
        for word in IN_COMMENT.findall(comment[1]) if comment else ():
            where = (root, root / "src", root / "include", folder, root / "include/longspan")
            if word not in FOREIGN and not any(exists(place, word) for place in where):
                yield number, f"the comment's {word} does not exist"


def linked_pages(root, path):
    """The Markdown files that a page links to, relative to the root."""
    for _, line in split(path, (root / path).read_text(encoding="utf-8"))[1]:
        for link in LINK.findall(line):
            page = ((root / path).parent / link.partition("#")[0]).resolve()
            if page.suffix == ".md" and page.is_file() and page.is_relative_to(root.resolve()):
                yield page.relative_to(root.resolve()).as_posix()


def unreachable_pages(root, pages):
    """Pages under docs/ to which no chain of links inside docs/ leads from docs/index.md."""
    wanted = {page for page in pages if page.startswith("docs/")}
    seen, queue = set(), ["docs/index.md"] if wanted else []
    while queue:
        path = queue.pop()
        if path in wanted and path not in seen:
            seen.add(path)
            queue += linked_pages(root, path)
    return sorted(wanted - seen)


def check(root):
    files = project_files(root)
    tops = {name.split("/")[0] for name in files}
    for path in files:
        try:
            text = (root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE.search(line):
                yield f"{path}:{number}: names a place that only one machine has: {line.strip()}"
    tests = tests_of(root, files)
    for path in markdown_files(root):
        for number, problem in check_markdown(root, path, tops, tests):
            yield f"{path}:{number}: {problem}"
    for path in files:
        if path.endswith((".h", ".cc", "CMakeLists.txt", ".cmake")):
            for number, problem in check_comments(root, path):
                yield f"{path}:{number}: {problem}"
    for path in unreachable_pages(root, markdown_files(root)):
        yield f"{path}:1: no link leads here from docs/index.md"


if __name__ == "__main__":
    problems = list(check(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT))
    for line in problems:
        print(line)
    print(f"docs: {len(problems)} problems")
    sys.exit(1 if problems else 0)
