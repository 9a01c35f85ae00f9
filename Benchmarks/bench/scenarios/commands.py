import subprocess
import time

from .. import page as pages
from .. import servers
from .ram import cpu

NAME = "commands"
TITLE = "The tests of redis-benchmark, scripts and transactions"
QUESTION = ("The requests redis-benchmark makes by default, in pipelines of 16 over 50 connections, made by tierload, because "
    "redis-benchmark itself is the bottleneck beyond 1 to 2 million requests a second.")
TEN = " ".join("key:__rand_int__ xxx" for _ in range(10))
#: Name, mix, share of the requests.
TESTS = (
    ("PING_INLINE", "PING", 1), ("PING_MBULK", "PING", 1), ("SET", "SET key:__rand_int__ xxx", 1), ("GET", "GET key:__rand_int__", 1),
    ("INCR", "INCR counter:__rand_int__", 1), ("LPUSH", "LPUSH mylist xxx", 1), ("RPUSH", "RPUSH mylist xxx", 1),
    ("LPOP", "LPOP mylist", 1), ("RPOP", "RPOP mylist", 1), ("SADD", "SADD myset element:__rand_int__", 1),
    ("HSET", "HSET myhash element:__rand_int__ xxx", 1), ("SPOP", "SPOP myset", 1),
    ("ZADD", "ZADD myzset 0 element:__rand_int__", 1), ("ZPOPMIN", "ZPOPMIN myzset", 1),
    ("LRANGE_100", "LRANGE mylist 0 99", 0.1), ("LRANGE_300", "LRANGE mylist 0 299", 0.05),
    ("LRANGE_500", "LRANGE mylist 0 499", 0.05), ("LRANGE_600", "LRANGE mylist 0 599", 0.05), ("MSET (10 keys)", f"MSET {TEN}", 0.3),
)
EVAL = "EVAL \"return redis.call('get',KEYS[1])\" 1 key"
MULTI = "MULTI; " + "; ".join(f"SET key:{i} value" for i in range(10)) + "; EXEC"


def measure(bench):
    running = [kind(bench) for kind in (servers.Tierd, servers.Redis)]
    requests, repeats = bench.pick(400_000, 1_000_000), bench.pick(3, 5)
    for name, mix, share in TESTS:
        n = int(requests * share)
        if name == "LRANGE_100":
            for server in running:
                bench.load("elements for LRANGE", server, "-m", "LPUSH mylist xxx", "-P", 16, "-r", 2000, record=False)
        more = ["--format", "inline"] if name == "PING_INLINE" else []
        bench.rounds(repeats, running, lambda server, number: bench.load(name, server, "-m", mix, "-P", 16, "-r", n, *more,
            repeat=number))
    for what, mix, pipeline, n in (("EVAL, pipeline 16", EVAL, 16, 0.4), ("EVAL, no pipeline", EVAL, 1, 0.2)):
        bench.rounds(repeats, running, lambda server, number: bench.load(what, server, "-m", mix, "-P", pipeline, "-r",
            int(requests * n), repeat=number))
    bench.rounds(repeats, running, lambda server, number: bench.load("MULTI of 10", server, "-m", MULTI, "--in-turn", "-P", 12,
        "-r", requests, repeat=number))
    generator(bench, running)
    for server in running:
        server.stop()


def generator(bench, running):
    """What a request costs the generators themselves: the same GETs by tierload and by redis-benchmark."""
    for server in running:
        if server.name != "tierd":
            continue
        for pipeline, n in ((1, 100_000), (16, 1_000_000)):
            bench.load(f"GET for the generators, pipeline {pipeline}", server, "-m", "GET key:__rand_int__", "-P", pipeline, "-r", n)
            command = ["redis-benchmark", "-p", str(server.port), "-t", "get", "-n", str(n), "-P", str(pipeline), "-q"]
            before, began = children(), time.time()
            subprocess.run(["taskset", "-c", bench.load_core, *command], capture_output=True, check=True)
            bench.record(f"redis-benchmark, pipeline {pipeline}", server, {
                "generator_us": round((children() - before) / n * 1e6, 3), "rps": round(n / (time.time() - began))}, " ".join(command))


def children():
    import resource
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def present(records, page):
    names = [name for name, _, _ in TESTS] + ["EVAL, pipeline 16", "EVAL, no pipeline", "MULTI of 10"]
    ratios = {name: records.figure(name, "tierd").over(records.figure(name, "redis")) for name in names}
    plotted, axis = pages.figure(height=6.4)
    for place, name in enumerate(reversed(names)):
        value = ratios[name].value
        axis.barh(place, value, color=pages.color("tierd") if value >= 1 else pages.color("redis"), height=0.7)
        axis.annotate(f"{value:.2f} ×", (value, place), va="center", xytext=(4, 0), textcoords="offset points", fontsize=9)
    axis.set_yticks(range(len(names)), list(reversed(names)), fontsize=9)
    axis.axvline(1, color="#333", linewidth=1)
    axis.axvline(1.5, color="#333", linewidth=1, linestyle=":")
    axis.set_xlabel("requests a second of tierd to those of redis-server (1: the same, dotted: wanted)")
    axis.grid(axis="y", visible=False)
    page.plot(plotted, "Throughput to redis-server's, one core each. Longer is better.")
    rows = []
    for name in names:
        ours, theirs = records.figure(name, "tierd"), records.figure(name, "redis")
        mine, other = cpu(records, name, "tierd"), cpu(records, name, "redis")
        rows.append((name, f"{ours.value / 1000:,.0f} K/s", f"{theirs.value / 1000:,.0f} K/s", f"{ratios[name].value:.2f} ×",
            f"{mine:.2f} to {other:.2f}", f"{other / mine:.2f} ×", "noisy" if ratios[name].noisy else ""))
    page.table(("Test", "tierd", "redis-server", "ratio", "CPU a request, µs", "CPU, Redis to tierd", ""), rows)
    tests = [name for name, _, _ in TESTS]
    worst = min(tests, key=lambda name: ratios[name].value)
    under = [name for name in tests if ratios[name].value < 1.5]
    ids = [one for name in tests for one in ratios[name].ids]
    page.claim("each of the 19 tests", "≥ 1.5 × redis-server",
        f"{19 - len(under)} of 19" + (f"; below: {', '.join(f'{n} {ratios[n].value:.2f}' for n in under)}" if under else ""), not under, ids,
        why="Where a command costs least, 60 % of a request's time is the kernel's TCP, the same for both servers.")
    page.claim("the slowest of them", "≥ 1.2 ×", f"{worst} {ratios[worst].value:.2f} ×", ratios[worst].value >= 1.2, ratios[worst].ids,
        why="The kernel's TCP, as above, and what it costs differs from minute to minute here.", noisy=ratios[worst].noisy)
    for name in names[-3:]:
        page.claim(name, "≥ 1 × redis-server", f"{ratios[name].value:.2f} ×", ratios[name].value >= 1, ratios[name].ids,
            why="A tie: the kernel's TCP takes most of a request's time.", noisy=ratios[name].noisy)
    for pipeline in (1, 16):
        ours = records.figure(f"GET for the generators, pipeline {pipeline}", "tierd", "generator_us")
        theirs = records.figure(f"redis-benchmark, pipeline {pipeline}", "tierd", "generator_us")
        page.claim(f"tierload's own CPU a GET, {'no pipeline' if pipeline == 1 else f'pipeline of {pipeline}'}", "less than redis-benchmark's",
            f"{ours.value:.2f} µs to {theirs.value:.2f}", ours.value < theirs.value, ours.ids + theirs.ids,
            why="tierload counts every latency in a histogram and compares every value.")
