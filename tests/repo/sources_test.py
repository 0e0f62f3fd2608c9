"""House rules that a machine can check: sizes, guards, tabs, forbidden flags."""
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from markdown import project_files  # noqa: E402

LONGEST_FILE = 600  # lines
CODE = (".h", ".cc", ".py", ".sh")


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


class Sources(unittest.TestCase):
    def files(self, *suffixes):
        return [f for f in project_files(ROOT) if f.endswith(suffixes)]

    def test_length(self):
        long = [f for f in self.files(*CODE) if text(f).count("\n") > LONGEST_FILE]
        self.assertEqual(long, [])

    def test_headers_are_included_once(self):
        # -inl.h files are included once per instruction set; their guard is Highway's toggle.
        # The header for C has the guard that every C compiler knows.
        open_ones = [f for f in self.files(".h") if "#pragma once" not in text(f)
                     and not (f.endswith("-inl.h") and "HWY_TARGET_TOGGLE" in text(f))
                     and not (f.endswith("c_api.h") and "#ifndef LONGSPAN_C_API_H" in text(f))]
        self.assertEqual(open_ones, [])

    def test_one_constant_has_one_definition(self):
        # A test that includes a header of the library and defines its constant otherwise links,
        # and then one of both reads the other's bytes. -inl.h files have a namespace each.
        inline = re.compile(r"^inline (?:constexpr|const|constinit) [^=;{(]*?(k[A-Z]\w*)\b[^;]*", re.MULTILINE)
        seen = {}
        for file in self.files(".h"):
            for found in inline.finditer(text(file) if not file.endswith("-inl.h") else ""):
                seen.setdefault(found[1], {}).setdefault(" ".join(found[0].split()), file)
        self.assertEqual([kinds for kinds in seen.values() if len(kinds) > 1], [])
        self.assertIn("kNan", seen)  # the search finds constants

    def test_whitespace(self):
        for file in self.files(*CODE, ".md", ".txt", ".cmake"):
            if file.startswith("data/"):
                continue
            self.assertNotIn("\t", text(file), file)
            self.assertNotRegex(text(file), re.compile(r"[ \t]+$", re.MULTILINE), file)

    def test_flags(self):
        # Written so that this file does not find itself.
        banned = re.compile(r"-ffast-mat[h]|-Ofas[t]|-march=nativ[e]|-mavx(?!512_bf16)\w*=")
        for file in self.files(".txt", ".cmake", ".json"):
            self.assertNotRegex(text(file), banned, file)

    def test_library_does_not_speak_or_leave(self):
        # printf-family and streams belong to cli/; the library throws.
        banned = re.compile(r"std::(cout|cerr)|\bprintf\s*\(|fmt::print|\babort\s*\(|\bexit\s*\(")
        for file in self.files(".h", ".cc"):
            if file.startswith(("src/", "include/")) and not re.search(
                    r"_(test|bench|fuzz)\.cc$", file):
                code = re.sub(r"//.*", "", text(file))
                self.assertNotRegex(code, banned, file)


if __name__ == "__main__":
    unittest.main()
