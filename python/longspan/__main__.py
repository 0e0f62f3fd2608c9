"""``python -m longspan ARGS``: the program."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent / "_bin" / "longspan"


def main() -> int:
    """Becomes the program. Returns only where there is none: the status 2."""
    if not PROGRAM.is_file():
        print(
            "longspan: this build of the package has no program; build it without "
            "cmake.define.LONGSPAN_PYTHON=attention, and with LONGSPAN_CLI=ON",
            file=sys.stderr,
        )
        return 2
    try:
        os.execv(PROGRAM, [str(PROGRAM), *sys.argv[1:]])
    except OSError as error:
        print(f"longspan: {PROGRAM} cannot be run: {error.strerror}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
