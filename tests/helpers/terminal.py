"""What a command shows in a terminal of a given width."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

from project_copy import environment

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def in_terminal(*command: str, cwd: Path, columns: int = 120) -> list[str]:
    """Run a command in a pseudo-terminal and return the lines that it writes there, without colours."""
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    variables = environment(DVC_PAGER="cat", TERM="xterm")
    variables.pop("COLUMNS", None)
    with subprocess.Popen(
        command, cwd=cwd, env=variables, stdin=terminal, stdout=terminal, stderr=terminal
    ) as done:
        os.close(terminal)
        output = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    lines = [line.rstrip() for line in ESCAPES.sub("", output.decode("utf-8", "replace")).splitlines()]
    assert done.returncode == 0, "\n".join(lines)
    return lines


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so once the command has closed its end
        return b""
