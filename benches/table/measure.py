"""Runs a command and says what it took, as one JSON object in a file: wall and CPU seconds, peak memory.

    measure.py REPORT COMMAND ...

The figures are the kernel's (`wait4`): user and system time of the process and of those it waited
for, and the most memory that was resident, not less than the ten megabytes of this interpreter.
"""

import json
import os
import sys
import time

report, command = sys.argv[1], sys.argv[2:]
began = time.monotonic()
process = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(process, 0)
took = {
    "wall": time.monotonic() - began,
    "cpu": usage.ru_utime + usage.ru_stime,
    "memory": usage.ru_maxrss * 1024,
    "code": os.waitstatus_to_exitcode(status),
}
with open(report, "w") as file:
    json.dump(took, file)
