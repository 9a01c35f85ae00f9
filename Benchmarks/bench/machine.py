"""What machine this is, and what its disk can do."""
import json
import os
import platform
import re
import subprocess
import time


def output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout or done.stderr).strip()


def first(pattern, text, otherwise="unknown"):
    found = re.search(pattern, text, re.M)
    return found.group(1).strip() if found else otherwise


def facts(root, directory):
    """Everything a reader needs to judge the figures."""
    commit = output("git", "-C", root, "rev-parse", "--short", "HEAD")
    changed = output("git", "-C", root, "status", "--porcelain", "--", "Sources", "Benchmarks/Sources", "Benchmarks/bench")
    return {
        "processor": first(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read()),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "hypervisor": first(r"Hypervisor vendor:\s*(.*)", output("lscpu"), "none"),
        "file_system": output("findmnt", "-no", "FSTYPE,SOURCE", "-T", directory),
        "tierd": commit + (" with changes" if changed else ""),
        "swift": first(r"(Swift version \S+)", output("swift", "--version")),
        "rivals": {name: version for name, version in versions()},
        "load_average_before": os.getloadavg(),
    }


def versions():
    """Of the rivals that are there."""
    for name, command in (("redis-server", ["redis-server", "--version"]), ("memcached", ["memcached", "--version"]),
            ("fio", ["fio", "--version"]), ("redis-benchmark", ["redis-benchmark", "--version"]),
            ("valkey-server", ["valkey-server", "--version"]), ("keydb-server", ["keydb-server", "--version"]),
            ("dragonfly", ["dragonfly", "--version"]), ("GarnetServer", ["GarnetServer", "--version"]),
            ("kvrocks", ["kvrocks", "--version"])):
        text = output(*command).splitlines()
        if text:
            yield name, text[0][:80]


def comes_to_rest(seconds):
    """Waits, that long at most, until two seconds have gone by with cores and disks at rest; whether they have."""
    os.sync()
    deadline, quiet, before = time.monotonic() + seconds, 0, work()
    while quiet < 2:
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
        now = work()
        busy, written = (after - was for after, was in zip(now, before))
        quiet, before = quiet + 1 if busy < 0.06 * os.cpu_count() and written < 1 << 20 else 0, now
    return True


def work():
    """Core seconds that were not idle, and bytes written to disks, since the machine started."""
    with open("/proc/stat") as file:
        ticks = list(map(int, file.readline().split()[1:9]))
    with open("/proc/diskstats") as file:
        sectors = sum(int(line.split()[9]) for line in file)
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK"), sectors * 512


class Fio:
    program = "fio"


def fio(path, depth, core, seconds, size):
    """Random reads of 4 KiB past the page cache; a record like tierload's."""
    command = ["fio", "--name=read", f"--filename={path}", "--rw=randread", "--bs=4k", "--direct=1", "--ioengine=io_uring",
        f"--iodepth={depth}", f"--size={size // 4096 * 4096}", "--readonly", "--time_based", f"--runtime={seconds}",
        "--output-format=json"]
    done = subprocess.run(["taskset", "-c", core, *command], capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode:
        raise RuntimeError(f"fio: {done.stderr.strip()}")
    read = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["read"]
    at = read["clat_ns"]["percentile"]
    return " ".join(command), {
        "rps": round(read["iops"]), "requests": read["total_ios"], "seconds": seconds, "missing": 0, "wrong": 0, "errors": 0,
        "latency_us": {"mean": read["clat_ns"]["mean"] / 1000, "p50": at["50.000000"] / 1000, "p99": at["99.000000"] / 1000,
            "p999": at["99.900000"] / 1000, "max": read["clat_ns"]["max"] / 1000}}
