import time

from .. import page as pages
from .. import servers
from ..records import paused

NAME = "pauses"
TITLE = "Hot reads while something heavy goes on"
QUESTION = ("GETs of hot keys, 2000 a second, latency from the intended start. Do they notice when five times the RAM is stored beside "
    "them, or when a collection of a million elements is demoted and promoted?")
KINDS = {
    "sorted set": ("ZADD zset {int:1000000000} member:{key}", ["zset"], ["ZSCORE", "zset", "member:000000000007"]),
    "hash": ("HSET hash field:{key} value:{int:1000000}", ["hash"], ["HGET", "hash", "field:000000000007"]),
    "set": ("SADD set member:{key}", ["set"], ["SISMEMBER", "set", "member:000000000007"]),
    "list": ("RPUSH list element:{key}", ["list"], ["LINDEX", "list", "500"]),
    "stream": ("XADD stream * field value:{key}", ["stream"], ["XLEN", "stream"]),
}


def measure(bench):
    keys, megabytes = bench.pick((1_000_000, 100), (5_000_000, 512))
    # Both generators share a core: the one that measures is woken at once, or it would measure the scheduler.
    urgent = ("chrt", "-f", "1", "taskset", "-c", bench.load_core)
    limit = ["--maxmemory", f"{megabytes}mb"]
    starts = (lambda: servers.Tierd(bench, *limit, "--tier-max-bytes", "8gb"),
        lambda: servers.Redis(bench, *limit, "--maxmemory-policy", "allkeys-lru"))
    for number in range(bench.pick(1, 3)):
        for start in starts:
            with bench.tolerating():
                ingest(bench, start(), keys, urgent, number)
    with bench.tolerating():
        large(bench, urgent)


def ingest(bench, server, keys, urgent, number):
    """Hot GETs alone, and beside a client that stores as fast as it can."""
    bench.fill(server, 20_000)
    seconds = bench.pick(3, 6)
    hot = ["-c", 10, "-k", 20_000, "--rate", 2000, "--seconds", seconds, "--seed", number + 1]
    bench.load("hot GETs, alone", server, *hot, prefix=urgent, repeat=number)
    storing = bench.start_load(server, "-m", "SET key:{key} {value}", "--distribution", "once", "-k", keys, "-P", 16, "--seconds",
        seconds + 1, prefix=("taskset", "-c", bench.load_core))
    bench.load("hot GETs, beside storing", server, *hot, prefix=urgent, repeat=number)
    bench.wait("storing", server, storing, repeat=number)
    server.stop()


def large(bench, urgent):
    """A collection of a million elements leaves RAM and comes back."""
    server = servers.Tierd(bench, "--maxmemory", "2gb")
    client, elements = server.client(), bench.pick(200_000, 1_000_000)
    client.set("hot", "x" * 100)
    for kind, (mix, names, read) in KINDS.items():
        bench.load(f"elements of a {kind}", server, "-m", mix, "--distribution", "once", "-k", elements, "-r", elements, "-P", 16,
            record=False)
    probe = ["-m", "GET hot", "--no-verify", "-c", 16, "--rate", 2000]
    bench.load("hot GET, nothing going on", server, *probe, "--seconds", 2, prefix=urgent)
    for kind, (mix, names, read) in KINDS.items():
        for what, action in (("demoted", ["TIER", "DEMOTE", *names]), ("promoted", read)):
            running = bench.start_load(server, *probe, "--seconds", 1.5, prefix=urgent)
            time.sleep(0.3)
            began = time.time()
            client.execute_command(*action)
            took = time.time() - began
            bench.wait(f"hot GET while a {kind} is {what}", server, running, elements=elements, took_ms=round(took * 1000))
    server.stop()


def present(records, page):
    plotted, (left, right) = pages.figure(1, 2, width=9.6)
    plot_curves(records, left)
    moving = plot_longest(records, right)
    page.plot(plotted, "Left: 2000 hot GETs a second. Right: the longest while one large collection moves (dotted: wanted). Lower is better.")
    alone, beside = (records.figure(what, "tierd", "latency_us.p99") for what in ("hot GETs, alone", "hot GETs, beside storing"))
    ratio, other = beside.over(alone), ""
    if records.has("hot GETs, beside storing", "redis"):
        theirs = [records.figure(what, "redis", "latency_us.p99") for what in ("hot GETs, beside storing", "hot GETs, alone")]
        other = f"; redis-server, which evicts, {theirs[0].over(theirs[1]).value:.1f} ×, {theirs[0].value:,.0f} µs"
    page.claim("hot GETs beside storing: p99", "≤ 3 × alone", f"{ratio.value:.1f} × ({beside.value:,.0f} µs to {alone.value:,.0f}){other}",
        ratio.value <= 3, ratio.ids, noisy=ratio.noisy,
        why="The storing client keeps 800 SETs in flight and the server's core full: a GET waits behind those that came before it.")
    longest = records.figure("hot GETs, beside storing", "tierd", "latency_us.max")
    page.claim("… longest", "≤ 20 ms", ", ".join(f"{us / 1000:.1f}" for us in longest.values) + " ms", longest.value <= 20_000, longest.ids,
        why=paused(*records.of("hot GETs, beside storing", "tierd")))
    worst = max(record["result"]["latency_us"]["max"] / 1000 for record in moving)
    quiet = records.figure("hot GET, nothing going on", "tierd", "latency_us.max").value / 1000
    page.claim("longest hot GET while a large collection moves", "≤ 10 ms", f"{worst:.1f} ms (nothing going on: {quiet:.1f})", worst <= 10,
        [record["id"] for record in moving], why=paused(*moving))


def plot_curves(records, axis):
    for server in records.servers("hot GETs, beside storing"):
        for what, name, style in (("hot GETs, alone", "alone", ":"), ("hot GETs, beside storing", "beside storing", "-")):
            curve = [(1 / (1 - p / 100), us) for p, us in records.result(what, server)["result"]["curve"] if p < 99.995]
            axis.plot([x for x, _ in curve], [us for _, us in curve], style, color=pages.color(server),
                label=f"{pages.label(server)}, {name}")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks([1, 10, 100, 1000, 10_000], ["0", "90", "99", "99.9", "99.99"])
    axis.set_yticks([30, 100, 300, 1000, 3000, 10_000], ["30 µs", "100 µs", "300 µs", "1 ms", "3 ms", "10 ms"])
    axis.set_xlabel("percentile")
    axis.set_ylabel("latency (log scale)")
    axis.set_title("hot GETs")
    axis.legend()


def plot_longest(records, axis):
    """The records that are shown."""
    kinds, shown = list(KINDS), []
    for what, shade, shift in (("demoted", "#0b7a75", -0.2), ("promoted", "#76b5b0", 0.2)):
        found = [records.result(f"hot GET while a {kind} is {what}", "tierd") for kind in kinds]
        values = [record["result"]["latency_us"]["max"] / 1000 for record in found]
        axis.bar([i + shift for i in range(len(kinds))], values, 0.38, color=shade, label=f"while it is {what}")
        shown += found
    axis.axhline(10, color="#333", linewidth=1, linestyle=":")
    axis.set_xticks(range(len(kinds)), [kind.replace(" ", "\n") for kind in kinds])
    axis.set_ylabel("longest hot GET, ms")
    axis.set_title(f"a collection of {shown[0]['elements']:,} elements")
    axis.legend()
    axis.grid(axis="x", visible=False)
    return shown
