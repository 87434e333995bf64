"""``python -m py_code_mode.jupyter --base DIR -f FILE``: a workspace's kernel, for front ends that start a command."""

from __future__ import annotations

import argparse
import sys

from .standalone import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m py_code_mode.jupyter", description=main.__doc__)
    parser.add_argument(
        "--base", required=True, metavar="DIR", help="the workspace: a directory, or the URL of a Redis"
    )
    parser.add_argument("--tools", default="", metavar="DIR", help="tool definitions in place of the workspace's own")
    parser.add_argument("-f", required=True, metavar="FILE", dest="file", help="the kernel's connection file")
    arguments = parser.parse_args()
    sys.exit(main(arguments.base, arguments.tools, arguments.file))
