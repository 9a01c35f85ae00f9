#!/usr/bin/env python3
"""Measures the table of persistence (Benchmarks/RESULTS.md) beside redis-server.

usage: Benchmarks/persistence_table.py [row …]      rows: bgsave restart appendonly

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

import redis

from engine import DIRECTORY, ROOT, TIERD, Server, fill, load, load_command, note, tierd

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


def restart():
    """SIGTERM to the first GET served: 5 M keys x 500 B, about 80 % demoted; redis-server loading the same from RDB."""
    keys, real = 5_000_000, DIRECTORY + "-redis"
    shutil.rmtree(real, ignore_errors=True)
    os.makedirs(real)
    commands = {
        "tierd": ["--port", "7391", "--dir", DIRECTORY, "--io-threads", "2", "--maxmemory", "860mb", "--tier-max-bytes", "16gb"],
        "redis": ["redis-server", "--port", "7392", "--save", "3600 1", "--appendonly", "no", "--dir", real],
    }
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    os.makedirs(DIRECTORY)
    for name, command in commands.items():
        start = lambda: Server(name, 7391 if name == "tierd" else 7392, ([TIERD] if name == "tierd" else []) + command, core=None)
        server = start()
        fill(server, keys)
        time.sleep(3)
        runs = []
        for _ in range(3):
            tier = server.client().info("tier") if name == "tierd" else {}
            began = time.time()
            server.process.terminate()
            server.process.wait(300)
            stopped = time.time()
            server = start()
            client = redis.Redis(port=server.port, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
            while True:
                try:
                    if client.get(b"key:%012d" % 1):
                        break
                except (redis.BusyLoadingError, redis.ConnectionError):
                    time.sleep(0.002)
            runs.append((stopped - began, time.time() - stopped))
        note("restart", server=name, command="SIGTERM; start; GET until it is answered", keys=keys, demoted=tier.get("tier_items_demoted"),
            stop_s=[round(stop, 2) for stop, _ in runs], first_get_s=[round(first, 2) for _, first in runs],
            total_s=[round(sum(run), 2) for run in runs])
        server.process.kill()
        server.process.wait()
    shutil.rmtree(real)


def appendonly():
    """SET of 100 bytes over 50 connections, by appendfsync and pipeline, the two servers in turn."""
    real = DIRECTORY + "-redis"
    results = {}
    for _ in range(3):
        for policy in ("always", "everysec"):
            for pipeline, requests in ((1, 300_000), (16, 1_500_000)):
                for name in ("redis", "tierd"):
                    options = ["--appendonly", "yes", "--appendfsync", policy]
                    if name == "tierd":
                        server = tierd(*options)
                    else:
                        shutil.rmtree(real, ignore_errors=True)
                        os.makedirs(real)
                        server = Server("redis", 7392, ["redis-server", "--port", "7392", "--save", "", "--dir", real, *options])
                    result = load(server, "-c", 50, "-P", pipeline, "--sets", 1, "-d", 100, "-r", requests)
                    results.setdefault((policy, pipeline, name), []).append(result)
                    server.process.kill()
                    server.process.wait()
    for (policy, pipeline, name), runs in results.items():
        note("appendonly", server=name, command=runs[0]["command"], appendfsync=policy, pipeline=pipeline,
            **{key: [run[key] for run in runs] for key in ("rps", "p50_us", "p99_us", "cpu_us_per_request")})
    shutil.rmtree(real, ignore_errors=True)


if __name__ == "__main__":
    os.makedirs(f"{ROOT}/Benchmarks/report", exist_ok=True)
    rows = {f.__name__: f for f in (bgsave, restart, appendonly)}
    for name in sys.argv[1:] or rows:
        if name not in rows:
            sys.exit(f"persistence_table.py: no row {name}; rows: {' '.join(rows)}")
        print(f"# {name}", flush=True)
        rows[name]()
