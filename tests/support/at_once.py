"""Two processes that do the same at the same moment."""

import subprocess
import sys
from collections.abc import Sequence


def at_once(program: str, *arguments: Sequence[str]) -> list[str]:
    """Run a program, which prints "ready" and waits for a line, with each of the arguments; return what they print.

    All are told to go once all are ready, and all must end well.
    """
    processes = [
        subprocess.Popen([sys.executable, "-c", program, *given], stdin=-1, stdout=-1, text=True) for given in arguments
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return printed
