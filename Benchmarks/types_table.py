#!/usr/bin/env python3
"""Measures the table of the data types (Benchmarks/RESULTS.md) beside redis-server.

usage: Benchmarks/types_table.py [row …]      rows: sizes tests growth scripts large

Server on core 0, load on core 1. Every result is a line of JSON on standard output and in
Benchmarks/report/engine.jsonl, with its command. Needs: redis-server, redis-benchmark (Debian), redis-py;
`growth` also matplotlib for its picture, Benchmarks/growth.svg.
"""
import csv
import io
import os
import random
import socket
import subprocess
import sys
import threading
import time

from engine import ROOT, note, redis_server, tierd

KEYS = 1_000_000


def encode(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def send(server, commands, batch=1000):
    """Sends commands whose replies are one line each."""
    s = socket.create_connection(("127.0.0.1", server.port))

    def flush(chunk, n):
        s.sendall(b"".join(chunk))
        lines = 0
        while lines < n:
            data = s.recv(1 << 20)
            if b"-ERR" in data or b"-OOM" in data:
                sys.exit(f"{server.name}: {data[:200]!r}")
            lines += data.count(b"\n")
    chunk = []
    for words in commands:
        chunk.append(encode(words))
        if len(chunk) == batch:
            flush(chunk, batch)
            chunk = []
    flush(chunk, len(chunk))
    s.close()


def dataset(kind):
    """The commands that make a dataset, the same each time."""
    r = random.Random(1)
    b = lambda text: text.encode()
    word = lambda: b("%010d" % r.randrange(10**10))[::-1].replace(b"0", b"x")
    if kind == "strings of 10 bytes":
        return ([b"SET", b"key:%07d" % i, word()] for i in range(KEYS))
    if kind == "hashes of 10 fields":
        return ([b"HSET", b"key:%07d" % i] + [x for f in range(10) for x in (b"field%d" % f, word())] for i in range(KEYS))
    if kind == "sets of 10 integers":
        return ([b"SADD", b"key:%07d" % i] + [b"%d" % r.randrange(1 << 30) for _ in range(10)] for i in range(KEYS))
    if kind == "lists of 10":
        return ([b"RPUSH", b"key:%07d" % i] + [word() for _ in range(10)] for i in range(KEYS))
    if kind == "a sorted set of 1 M":
        order = list(range(KEYS))
        r.shuffle(order)
        return ([b"ZADD", b"zset", b"%d.5" % r.randrange(1 << 30), b"member:%07d" % i] for i in order)
    return ([b"XADD", b"stream", b"%d-0" % (1_700_000_000_000 + i * 3), b"field", word(), b"other", b"%d" % i] for i in range(KEYS))


def sizes(repeats=3):
    """RSS with a dataset less RSS before it; the medians."""
    for kind in ("strings of 10 bytes", "hashes of 10 fields", "sets of 10 integers", "lists of 10",
            "a sorted set of 1 M", "a stream of 1 M"):
        grown = {"tierd": [], "redis": []}
        for _ in range(repeats):
            for start in (lambda: tierd("--maxmemory", "4gb"), redis_server):
                server = start()
                before = server.rss()
                # XADD answers with two lines.
                send(server, dataset(kind)) if "stream" not in kind else send_streams(server, dataset(kind))
                grown[server.name].append((server.rss() - before) / 1e6)
                server.stop()
        ours, theirs = (sorted(grown[name])[repeats // 2] for name in ("tierd", "redis"))
        note("sizes", data=f"1 M {kind}" if kind[0] != "a" else kind, tierd_mb=round(ours, 1), redis_mb=round(theirs, 1),
            ratio=round(ours / theirs, 3), runs={name: [round(mb, 1) for mb in runs] for name, runs in grown.items()})


def send_streams(server, commands):
    with server.client() as client:
        pipe = client.pipeline(transaction=False)
        for i, words in enumerate(commands):
            pipe.execute_command(*words)
            if i % 1000 == 999:
                pipe.execute()
        pipe.execute()


TESTS = ("ping_inline", "ping_mbulk", "set", "get", "incr", "lpush", "rpush", "lpop", "rpop", "sadd", "hset", "spop", "zadd",
    "zpopmin", "lrange_100", "lrange_300", "lrange_500", "lrange_600", "mset")


def benchmark(server, *options):
    """redis-benchmark's last figure: requests a second, and the server's CPU time for each in microseconds."""
    command = ["taskset", "-c", "1", "redis-benchmark", "-p", str(server.port), "--csv", *options]
    before = server.cpu()
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    busy, seconds = server.cpu() - before, time.perf_counter() - start
    rows = list(csv.reader(io.StringIO(done.stdout)))
    requests = int(options[options.index("-n") + 1]) * (len(rows) - 1)
    return " ".join(command[3:]), float(rows[-1][1]), busy / requests * 1e6, busy / seconds


def compare(row, name, options, servers, repeats=5):
    """One of redis-benchmark's tests, the servers in turn; the medians."""
    found = {server.name: [] for server in servers}
    for _ in range(repeats):
        for server in servers:
            command, *figures = benchmark(server, *options)
            found[server.name].append(figures)
    rps, cpu, busy = ({n: sorted(f[i] for f in v)[repeats // 2] for n, v in found.items()} for i in range(3))
    note(row, test=name, command=command, tierd_rps=round(rps["tierd"]), redis_rps=round(rps["redis"]),
        ratio=round(rps["tierd"] / rps["redis"], 2), tierd_cpu_us=round(cpu["tierd"], 3), redis_cpu_us=round(cpu["redis"], 3),
        cpu_ratio=round(cpu["redis"] / cpu["tierd"], 2), tierd_busy=round(busy["tierd"], 2), redis_busy=round(busy["redis"], 2))


def side_by_side(share=None):
    """Both servers on core 0; with `share`, each gets that share of the core and no more, so that the load has time left."""
    group = None
    if share:
        group = "/sys/fs/cgroup/cpu/tierd-bench"
        os.makedirs(group, exist_ok=True)
        for name, value in (("cpu.cfs_period_us", 10_000), ("cpu.cfs_quota_us", int(10_000 * share))):
            with open(f"{group}/{name}", "w") as f:
                f.write(str(value))
    servers = [tierd("--maxmemory", "2gb"), redis_server()]
    for server in servers:
        if group:
            for task in os.listdir(f"/proc/{server.pid}/task"):
                with open(f"{group}/tasks", "w") as f:
                    f.write(task)
    return servers


def tests():
    """Every default test, each server with a whole core, then with 40 % of it."""
    for row, share, requests in (("tests", None, 1_000_000), ("tests, 40 % of a core", 0.4, 500_000)):
        servers = side_by_side(share)
        for name in TESTS:
            n = requests // 10 if "lrange" in name else requests
            compare(row, name, ["-t", name, "-P", "16", "-n", str(n)], servers)
        for server in servers:
            server.stop()


def scripts():
    servers = side_by_side()
    for pipeline in ("16", "1"):
        compare("scripts", f"EVAL, pipeline {pipeline}", ["-P", pipeline, "-n", "200000", "EVAL",
            "return redis.call('get',KEYS[1])", "1", "key"], servers)
    for server in servers:
        server.stop()
    multi()


def multi():
    """MULTI, ten SETs and EXEC in one pipeline, eight such at a time on one connection; the servers in turn."""
    request = encode([b"MULTI"]) + b"".join(encode([b"SET", b"key:%d" % i, b"value"]) for i in range(10)) + encode([b"EXEC"])
    found = {"tierd": [], "redis": []}
    servers = side_by_side()
    for _ in range(5):
        for server in servers:
            s = socket.create_connection(("127.0.0.1", server.port))
            before, start, count = server.cpu(), time.perf_counter(), 80_000
            for _ in range(count // 8):
                s.sendall(request * 8)
                lines = 0
                while lines < 8 * 22:
                    lines += s.recv(1 << 16).count(b"\n")
            found[server.name].append((count / (time.perf_counter() - start), (server.cpu() - before) / count * 1e6))
            s.close()
    (tierd_tps, tierd_cpu), (redis_tps, redis_cpu) = (
        [sorted(f[i] for f in found[n])[2] for i in range(2)] for n in ("tierd", "redis"))
    note("multi of 10", tierd_tps=round(tierd_tps), redis_tps=round(redis_tps), ratio=round(tierd_tps / redis_tps, 2),
        tierd_cpu_us=round(tierd_cpu, 2), redis_cpu_us=round(redis_cpu, 2), cpu_ratio=round(redis_cpu / tierd_cpu, 2))
    for server in servers:
        server.stop()


def growth():
    """Time of single commands on collections of 10^2 … 10^6 elements, server time by INFO commandstats."""
    points = {}
    for start in (lambda: tierd("--maxmemory", "4gb"), redis_server):
        server = start()
        client = server.client()
        n = 0
        for size in (100, 1000, 10_000, 100_000, 1_000_000):
            r = random.Random(size)
            commands = []
            for i in range(n, size):
                commands += [[b"ZADD", b"z", b"%d" % r.randrange(1 << 40), b"m%d" % i], [b"HSET", b"h", b"f%d" % i, b"v"],
                    [b"SADD", b"s", b"m%d" % i], [b"LPUSH", b"l", b"e%d" % i]]
            send(server, commands)
            n = size
            client.config_resetstat()
            probe = []
            for _ in range(20_000):
                i = r.randrange(size)
                probe += [[b"ZADD", b"z", b"%d" % r.randrange(1 << 40), b"m%d" % i], [b"HSET", b"h", b"f%d" % i, b"w"],
                    [b"SADD", b"s", b"m%d" % i], [b"LPUSH", b"l", b"e"], [b"LLEN", b"l"],
                    [b"ZRANK", b"z", b"m%d" % i]]
            send(server, probe)
            # By rank and by score, one element each.
            pipe = client.pipeline(transaction=False)
            for _ in range(20_000):
                at = r.randrange(size)
                pipe.execute_command("ZRANGE", "z", at, at)
                pipe.execute_command("ZRANGEBYSCORE", "z", r.randrange(1 << 40), "+inf", "LIMIT", 0, 1)
            pipe.execute()
            stats = client.info("commandstats")
            for name in ("zadd", "hset", "sadd", "lpush", "zrange", "zrangebyscore"):
                usec = stats[f"cmdstat_{name}"]["usec_per_call"]
                points.setdefault(name, {}).setdefault(server.name, []).append((size, usec))
                note("growth", server=server.name, test=name, elements=size, usec_per_call=usec)
        server.stop()
    picture(points)


def picture(points):
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot
    names = {"zrange": "ZRANGE by rank, 1 element", "zrangebyscore": "ZRANGEBYSCORE, 1 element"}
    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6), sharex=True)
    for axis, (name, servers) in zip(axes.flat, points.items()):
        for server, values in servers.items():
            axis.plot([v[0] for v in values], [v[1] for v in values], marker="o", label=server)
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_title(names.get(name, name.upper()))
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.supxlabel("elements in the collection")
    figure.supylabel("microseconds a call in the server")
    figure.tight_layout()
    figure.savefig(f"{ROOT}/Benchmarks/growth.svg")


def large():
    """A collection of a million elements leaves RAM and comes back, while another client reads a hot key."""
    server = tierd("--maxmemory", "2gb")
    client = server.client()
    client.set("hot", "x" * 100)
    for kind, make in (("zset", lambda i: [b"ZADD", b"zset", b"%d" % i, b"member:%07d" % i]),
            ("hash", lambda i: [b"HSET", b"hash", b"field:%07d" % i, b"value:%d" % i]),
            ("set", lambda i: [b"SADD", b"set", b"member:%07d" % i]),
            ("list", lambda i: [b"RPUSH", b"list", b"element:%07d" % i])):
        send(server, (make(i) for i in range(KEYS)))
    send_streams(server, ([b"XADD", b"stream", b"%d-0" % (i + 1), b"field", b"value%d" % i] for i in range(KEYS)))
    reads = {"zset": ["ZSCORE", "zset", "member:0000007"], "hash": ["HGET", "hash", "field:0000007"],
        "set": ["SISMEMBER", "set", "member:0000007"], "list": ["LINDEX", "list", "500000"], "stream": ["XLEN", "stream"]}
    probe = Probe(server.port)
    note("large", what="nothing going on", hot_read_worst_ms=probe.worst(lambda: time.sleep(2)))
    for kind, read in reads.items():
        demoting = probe.worst(lambda: client.execute_command("TIER", "DEMOTE", kind))
        start = time.perf_counter()
        promoting = probe.worst(lambda: client.execute_command(*read))
        note("large", what=f"{kind} of 1 M", hot_read_worst_ms_while_demoted=demoting,
            hot_read_worst_ms_while_promoted=promoting, promoted_after_ms=round((time.perf_counter() - start) * 1000))
    probe.stop()
    server.stop()


class Probe:
    """A client of its own process that reads one key over and over, and keeps the longest time."""

    def __init__(self, port):
        code = f"""
import socket, sys, time, threading
s = socket.create_connection(("127.0.0.1", {port})); worst = 0
def report():
    global worst
    for line in sys.stdin:
        print(worst, flush=True); worst = 0
threading.Thread(target=report, daemon=True).start()
while True:
    t = time.perf_counter()
    s.sendall(b"*2\\r\\n$3\\r\\nGET\\r\\n$3\\r\\nhot\\r\\n"); s.recv(4096)
    worst = max(worst, time.perf_counter() - t)
"""
        self.process = subprocess.Popen(["taskset", "-c", "1", sys.executable, "-c", code], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)

    def read(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def worst(self, action):
        self.read()
        action()
        return round(self.read() * 1000, 2)

    def stop(self):
        self.process.kill()


if __name__ == "__main__":
    os.makedirs(f"{ROOT}/Benchmarks/report", exist_ok=True)
    rows = {f.__name__: f for f in (sizes, tests, growth, scripts, large)}
    for name in sys.argv[1:] or rows:
        if name not in rows:
            sys.exit(f"types_table.py: no row {name}; rows: {' '.join(rows)}")
        print(f"# {name}", flush=True)
        rows[name]()
