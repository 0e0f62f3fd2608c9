#!/usr/bin/env python3
"""Lets Doxygen read the comments of a header as they stand. Lines keep their numbers.

usage: doxygen_filter.py HEADER

A comment documents what stands below it, up to the next blank line: the first name, and each later
one that has no comment of its own. A comment behind a name documents that name, and goes on in
lines that begin in the same column; of a line with several names it documents them all.
"""
import re
import sys

COMMENT = re.compile(r"(\s*)//(?!/)\s?(.*)$")
BEHIND = re.compile(r"(.*?\S)(\s+)//(?!/)\s?(.*)$")
HEADING = re.compile(r"-{4}")  # "// ---- options ------"
# "double beta1 = 0.9, beta2 = 0.98;": Doxygen gives a comment to one of the names alone.
SEVERAL = re.compile(r"(\s*(?:[\w:]+(?:<.*>)?(?: const)?)) ((?:\w+(?: = [^,;(]+)?, )+\w+(?: = [^,;(]+)?);$")
NO_NAME = re.compile(r"\s*(#|\}|public:|private:|namespace|using \w+::|friend )")


def escaped(text):
    """Text in which Doxygen finds no command and no tag."""
    return re.sub(r"([\\@<>#&%])", r"\\\1", text)


class Filter:
    def __init__(self):
        self.above, self.used = [], False  # the comment of this paragraph
        self.column = None                 # where the comment behind a name began
        self.depth, self.inside = 0, False  # parentheses of a declaration that goes on

    def line(self, line):
        comment = COMMENT.match(line)
        if comment and self.column is not None and len(comment[1]) == self.column:
            return f"{comment[1]}///< {escaped(comment[2])}"
        self.column = None
        if comment:
            if self.used or HEADING.search(line):
                self.above, self.used = [], False
            if not HEADING.search(line):
                self.above.append(escaped(comment[2]))
            return ""
        if not line.strip():
            self.above, self.used = [], False
            return ""
        return "" if line.startswith("#pragma GCC") else self.code(line)

    def code(self, line):
        documented = ""
        behind = BEHIND.match(line)
        if behind and behind[1].count('"') % 2 == 0:
            line = behind[1]
            if SEVERAL.match(line):
                self.above, self.used = [*self.above, escaped(behind[3])], False
            elif not NO_NAME.match(line):
                self.column = len(behind[1]) + len(behind[2])
                documented = f"{behind[2]}///< {escaped(behind[3])}"
        begins = not self.inside and not NO_NAME.match(line)
        self.depth += line.count("(") - line.count(")")
        self.inside = self.depth > 0 or not line.endswith((";", "{", "}", ",", ":"))
        text = ""
        if begins and self.above and not (documented and self.used):
            text = f"/** {' '.join(self.above)} */ "
            self.used = True
        several = SEVERAL.match(line)
        if several:
            line = " ".join(f"{text}{several[1]} {name};" for name in several[2].split(", "))
            text = ""
        if line.endswith("{"):
            self.above, self.used = [], False
        return text + line + documented


def c_line(line):
    """The same for the header for C: its comments begin with /* and say where they end."""
    return re.sub(r"/\*(?! --)", "/**<" if line.split("/*")[0].strip() else "/**", line, count=1)


if __name__ == "__main__":
    read = Filter()
    with open(sys.argv[1], encoding="utf-8") as header:
        for each in header:
            each = each.rstrip("\n")
            print(c_line(each) if sys.argv[1].endswith("c_api.h") else read.line(each))
