"""What the documentation tools share: the Markdown files and the code blocks in them."""
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*(.*)$")


def project_files(root=ROOT):
    """Relative names of all files that are tracked or could be; without git: all but build/."""
    run = subprocess.run(["git", "-C", str(root), "ls-files", "--cached", "--others",
                          "--exclude-standard"], capture_output=True, text=True)
    if run.returncode == 0 and run.stdout:
        names = run.stdout.splitlines()
    else:
        names = [p.relative_to(root).as_posix() for p in Path(root).rglob("*")
                 if p.relative_to(root).parts[0] not in ("build", ".git")]
    return sorted(name for name in names if Path(root, name).is_file())


def markdown_files(root=ROOT):
    return [name for name in project_files(root) if name.endswith(".md")]


@dataclass
class Block:
    """A fenced code block: ```LANGUAGE WORD... on line `line`."""
    path: str
    line: int
    language: str
    words: list
    text: str


def split(path, text):
    """(blocks, prose): the code blocks, and the lines outside them as (number, line)."""
    blocks, prose = [], []
    fence, start, info, body, indent = None, 0, "", [], 0
    for number, line in enumerate(text.splitlines(), 1):
        match = FENCE.match(line)
        if fence is None and match:
            fence, start, info, body = match[2], number, match[3].strip(), []
            indent = len(match[1])
        elif fence is not None and match and match[2].startswith(fence) and not match[3]:
            words = info.split()
            blocks.append(Block(path, start, words[0] if words else "", words[1:],
                                "\n".join(body) + "\n"))
            fence = None
        elif fence is not None:
            body.append(line[indent:] if line[:indent].isspace() or not indent else line)
        else:
            prose.append((number, line))
    if fence is not None:
        raise ValueError(f"{path}:{start}: this code block never ends")
    return blocks, prose
