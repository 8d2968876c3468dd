"""How the lab finds the processes that its own ones started."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from lab.process import children


def test_children_of_a_process_are_found_whichever_of_its_threads_started_them() -> None:
    def start_and_look() -> tuple[int, list[int]]:
        with subprocess.Popen(["sleep", "60"]) as child:
            found = children(os.getpid())
            child.kill()
        return child.pid, found

    # A Go program, such as dockerd, starts its processes from any of its threads.
    with ThreadPoolExecutor() as pool:
        pid, found = pool.submit(start_and_look).result()
    assert pid in found
