import time

from .. import page as pages
from .. import servers

NAME = "restart"
TITLE = "Restart"
QUESTION = ("A clean end and a start, until the first GET is answered, with two cores. tierd keeps most values on the SSD "
    "and reads keys alone; redis-server writes an RDB file of everything and loads it.")


def measure(bench):
    keys, megabytes, restarts = bench.pick((500_000, 150, 2), (5_000_000, 860, 3))
    common = ["--maxmemory", f"{megabytes}mb", "--tier-max-bytes", "16gb"]
    starts = {
        "tierd": lambda keep: servers.Tierd(bench, *common, core=None, loops=2, keep=keep),
        "redis": lambda keep: servers.Redis(bench, "--save", "3600 1", core=None, keep=keep),
    }
    for name, start in starts.items():
        with bench.tolerating():
            server = start(False)
            bench.fill(server, keys)
            time.sleep(bench.pick(1, 3))
            for number in range(restarts if name == "tierd" else bench.pick(1, 2)):
                demoted = server.info()["tier_items_demoted"] if name == "tierd" else 0
                began = time.time()
                server.stop(kill=False)
                stopped = time.time()
                server = start(True)
                until_answered(server)
                served = time.time()
                result = {"stop_s": round(stopped - began, 3), "start_s": round(served - stopped, 3), "total_s": round(served - began, 3),
                    "keys": server.client().dbsize(), "demoted": demoted}
                bench.record("restart", server, result, "SIGTERM; start; GET until it is answered", repeat=number, stored=keys)
                bench.say(f"{'restart':44} {name:10} {result}")
            bench.load("read back", server, "-m", "GET key:{key}", "--distribution", "once", "-k", keys, "-r", keys, "-P", 16)
            server.stop()


def until_answered(server):
    import redis
    client = redis.Redis(port=server.port, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    while True:
        try:
            if client.get(b"key:%012d" % 1):
                return
        except (redis.BusyLoadingError, redis.ConnectionError):
            time.sleep(0.002)


def present(records, page):
    ours, theirs = records.of("restart", "tierd"), records.of("restart", "redis")
    rows = [(f"tierd, {'first' if i == 0 else f'{i + 1}.'}", record["result"], pages.color("tierd")) for i, record in enumerate(ours)]
    rows += [(f"redis-server, {i + 1}.", record["result"], pages.color("redis")) for i, record in enumerate(theirs)]
    plotted, axis = pages.figure(height=0.5 * len(rows) + 1.3)
    for place, (name, result, shade) in enumerate(reversed(rows)):
        axis.barh(place, result["stop_s"], color=shade, alpha=0.5, height=0.6)
        axis.barh(place, result["start_s"], left=result["stop_s"], color=shade, height=0.6)
        axis.annotate(f"{result['stop_s']:.2f} s to end, {result['start_s']:.2f} s to serve", (result["total_s"], place), va="center",
            xytext=(5, 0), textcoords="offset points", fontsize=9)
    axis.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)])
    axis.set_xlim(right=max(result["total_s"] for _, result, _ in rows) * 1.45)
    axis.set_xlabel("seconds from SIGTERM (light: until the process has ended) to the first GET answered (dark)")
    axis.grid(axis="y", visible=False)
    page.plot(plotted, f"{ours[0]['stored']:,} values of 500 bytes. Shorter is better.")
    load = min(record["result"]["start_s"] for record in theirs) if theirs else 0
    for i, record in enumerate(ours):
        total = record["result"]["total_s"]
        if theirs:
            page.claim(f"SIGTERM to serving, {'the first time' if i == 0 else f'time {i + 1}'}", "≥ 10 × faster than redis-server's start alone",
                f"{load / total:.1f} × ({total:.2f} s to {load:.2f})", load / total >= 10, [record["id"]] + [r["id"] for r in theirs],
                why=f"{record['result']['stop_s']:.2f} s to write what was in RAM alone and the keys, {record['result']['start_s']:.2f} s to read "
                    "the keys and fill the index's memory.",
                headline=f"restart in {total:.1f} s; redis-server needs {theirs[0]['result']['total_s']:.0f} s" if i == 1 else None)
    first = max(record["result"]["start_s"] for record in ours)
    page.claim("start to the first GET", "≤ 1 s", f"{first:.2f} s at most", first <= 1, [record["id"] for record in ours],
        why="The keys are read on both cores and the index's memory is populated in one go: the disk and the kernel decide.")
    lost = records.result("read back", "tierd")
    page.claim("values afterwards", "all there", f"{lost['result']['missing']} missing, {lost['result']['wrong']} wrong of "
        f"{lost['result']['requests']:,}", not lost["result"]["missing"] and not lost["result"]["wrong"], [lost["id"]])
