"""Tells when the machine itself stood still: a process of real-time priority that wakes every few milliseconds on a core.

usage: python -m bench.witness CORE FILE     (until it is killed; a line for each pause: seconds since boot, milliseconds)

What makes it late is no program on this machine but the hypervisor under it, or the kernel with interrupts off. A
latency longer than the pauses in its time is the server's own.
"""
import os
import subprocess
import sys
import time

INTERVAL = 0.004
#: Shorter pauses are not told of.
LEAST = 0.002


def main(core, path):
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    with open(path, "w", buffering=1) as file:
        before = time.monotonic()
        while True:
            time.sleep(INTERVAL)
            now = time.monotonic()
            if now - before - INTERVAL > LEAST:
                file.write(f"{now:.4f} {(now - before - INTERVAL) * 1000:.1f}\n")
                # The write may have waited for the disk.
                now = time.monotonic()
            before = now


class Witness:
    """One for each of two cores, the server's and the load's. Without the right to a real-time priority there is none."""

    def __init__(self, directory, cores):
        self.files = [f"{directory}/witness-{core}" for core in cores]
        package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.processes = [subprocess.Popen([sys.executable, "-m", "bench.witness", core, file], cwd=package, stderr=subprocess.DEVNULL)
            for core, file in zip(cores, self.files)]

    def longest(self, since, until):
        """The longest pause that ended in that time of the monotonic clock, in ms; None if nobody watched."""
        if any(process.poll() is not None for process in self.processes):
            return None
        pauses = [0.0]
        for path in self.files:
            if os.path.exists(path):
                with open(path) as file:
                    pauses += [pause for ended, pause in (map(float, line.split()) for line in file) if since <= ended <= until + INTERVAL]
        return max(pauses)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
