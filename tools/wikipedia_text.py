#!/usr/bin/env python3
"""The articles of a MediaWiki dump as plain text, for trainings on long documents.

usage: wikipedia_text.py DUMP.xml[.bz2] -o TEXT [--at-least BYTES]

Markup goes by simple rules: comments, references, tables, templates and files are cut out, of a link its
text stays, headings stand on lines of their own. Redirects and articles shorter than --at-least bytes of
text are left out; an article begins with its title, and a blank line stands between two. The package
gensim carries an extract of the English Wikipedia that is small enough to try this:
  pip download gensim --no-deps && unzip gensim-*.whl 'gensim/test/test_data/enwiki-latest*'
"""
import argparse
import bz2
import html
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

INNERMOST = re.compile(r"\{\{[^{}]*\}\}|\{\|(?:(?!\{\||\|\}).)*\|\}", re.DOTALL)
FILES = re.compile(r"\[\[(?:File|Image|Category|[a-z-]{2,12}):(?:[^\[\]]|\[\[[^\[\]]*\]\])*\]\]")
RULES = [
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"<ref[^>/]*/>|<ref[^>]*>.*?</ref>", re.DOTALL | re.IGNORECASE), ""),
    (re.compile(r"<(math|gallery|timeline|code|source)[^>]*>.*?</\1>", re.DOTALL | re.IGNORECASE), ""),
    (re.compile(r"<[^<>]*>"), ""),
]
LATER = [
    (FILES, ""),
    (re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]"), r"\1"),
    (re.compile(r"\[(?:https?|ftp)://\S+ ?([^\]]*)\]"), r"\1"),
    (re.compile(r"'{2,5}"), ""),
    (re.compile(r"^=+ *(.*?) *=+ *$", re.MULTILINE), r"\1"),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r"^[*#:; ]+", re.MULTILINE), ""),
    (re.compile(r"\n{3,}"), "\n\n"),
]


def plain(markup):
    for pattern, to in RULES:
        markup = pattern.sub(to, markup)
    before = None
    while before != markup:  # templates and tables stand in each other
        before, markup = markup, INNERMOST.sub("", markup)
    for pattern, to in LATER:
        markup = pattern.sub(to, markup)
    return html.unescape(markup).replace("\xa0", " ").strip()


def articles(file):
    """Title and markup of each page that is no redirect."""
    title = markup = ""
    for _, element in ElementTree.iterparse(file):
        name = element.tag.rpartition("}")[2]
        if name == "title":
            title = element.text or ""
        elif name == "text":
            markup = element.text or ""
        elif name == "page":
            if not markup.lstrip().lower().startswith("#redirect") and ":" not in title:
                yield title, markup
            element.clear()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dump", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--at-least", type=int, default=4096)
    a = parser.parse_args()
    opened = bz2.open(a.dump) if a.dump.suffix == ".bz2" else a.dump.open("rb")
    kept = []
    with opened as file:
        for title, markup in articles(file):
            text = f"{title}\n\n{plain(markup)}\n".encode()
            if len(text) >= a.at_least:
                kept.append(text)
    if not kept:
        sys.exit(f"wikipedia_text: {a.dump}: no article of {a.at_least} bytes; try a smaller --at-least")
    a.output.write_bytes(b"\n".join(kept))
    lengths = sorted(map(len, kept))
    print(f"{len(kept)} articles, {sum(lengths)} bytes, half of them longer than "
          f"{lengths[len(lengths) // 2]}")


if __name__ == "__main__":
    main()
