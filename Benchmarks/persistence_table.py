#!/usr/bin/env python3
"""Measures the table of persistence (Benchmarks/RESULTS.md) beside redis-server.

usage: Benchmarks/persistence_table.py [row …]      rows: bgsave

Server on core 0, load on core 1. Every result is a line of JSON on standard output and in
Benchmarks/report/engine.jsonl, with its command. Needs: redis-server (Debian), redis-py; builds of tierd and of Benchmarks.
"""
import json
import os
import shutil
import subprocess
import sys
import threading
import time

from engine import DIRECTORY, ROOT, Server, fill, load_command, note, tierd

KEYS = 1_000_000


def pair(server, seconds):
    """50,000 SETs a second, and 2000 GETs beside them."""
    loads = (["--sets", 1, "--rate", 50_000, "-P", 16, "-c", 20], ["--sets", 0, "--rate", 2000, "-c", 10])
    running = [subprocess.Popen(["taskset", "-c", "1", *load_command(server, *options, "--seconds", seconds)],
        stdout=subprocess.PIPE, text=True) for options in loads]
    return [json.loads(one.communicate()[0]) for one in running]


class Peak(threading.Thread):
    """The most RAM the server takes, with what a forked child has of its own."""

    def __init__(self, server):
        super().__init__()
        self.server, self.bytes, self.ends = server, 0, False

    def run(self):
        while not self.ends:
            total = self.server.rss()
            for child in os.popen(f"pgrep -P {self.server.pid}").read().split():
                try:
                    for line in open(f"/proc/{child}/smaps_rollup"):
                        if line.startswith("Private_Dirty"):
                            total += int(line.split()[1]) * 1024
                except OSError:
                    pass
            self.bytes = max(self.bytes, total)
            time.sleep(0.02)


def saved(client):
    start = time.time()
    client.bgsave()
    while client.info("persistence")["rdb_bgsave_in_progress"]:
        time.sleep(0.05)
    return time.time() - start


def bgsave():
    """BGSAVE under 50,000 writes a second: p99 with and without it, and RAM."""
    real = DIRECTORY + "-redis"
    os.makedirs(real, exist_ok=True)
    for start in (lambda: tierd("--maxmemory", "256mb"), lambda: Server("redis", 7392, [
            "redis-server", "--port", "7392", "--save", "", "--appendonly", "no", "--dir", real])):
        server = start()
        fill(server, KEYS)
        time.sleep(2)
        before, rss = pair(server, 8), server.rss()
        peak, seconds = Peak(server), []
        peak.start()
        saving = threading.Thread(target=lambda: (time.sleep(0.3), seconds.append(saved(server.client()))))
        saving.start()
        during = pair(server, 6)
        saving.join()
        peak.ends = True
        peak.join()
        note("bgsave", server=server.name, command="tierload --sets 1 --rate 50000 -P 16 -c 20; tierload --sets 0 --rate 2000 -c 10",
            set_p99_us=before[0]["p99_us"], get_p99_us=before[1]["p99_us"], set_p99_us_during=during[0]["p99_us"],
            get_p99_us_during=during[1]["p99_us"], set_ratio=round(during[0]["p99_us"] / before[0]["p99_us"], 2),
            get_ratio=round(during[1]["p99_us"] / before[1]["p99_us"], 2), seconds=round(seconds[0], 2),
            rss_mb=rss >> 20, peak_mb=peak.bytes >> 20, rss_ratio=round(peak.bytes / rss, 3),
            wrong=sum(x["wrong"] + x["errors"] for x in before + during))
        server.stop()
    shutil.rmtree(real)


if __name__ == "__main__":
    os.makedirs(f"{ROOT}/Benchmarks/report", exist_ok=True)
    rows = {f.__name__: f for f in (bgsave,)}
    for name in sys.argv[1:] or rows:
        if name not in rows:
            sys.exit(f"persistence_table.py: no row {name}; rows: {' '.join(rows)}")
        print(f"# {name}", flush=True)
        rows[name]()
