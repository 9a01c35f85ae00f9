import time

from .. import page as pages
from .. import servers

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
    with bench.tolerating():
        server = servers.Tierd(bench, "--maxmemory", f"{megabytes}mb", "--tier-max-bytes", "8gb")
        bench.fill(server, 20_000)
        seconds = bench.pick(3, 12)
        hot = ["-c", 10, "-k", 20_000, "--rate", 2000, "--seconds", seconds]
        bench.load("hot GETs, alone", server, *hot, prefix=urgent)
        storing = bench.start_load(server, "-m", "SET key:{key} {value}", "--distribution", "once", "-k", keys, "-P", 16, "--seconds",
            seconds + 1, prefix=("taskset", "-c", bench.load_core))
        bench.load("hot GETs, beside storing", server, *hot, prefix=urgent)
        bench.wait("storing", server, storing)
        server.stop()
    with bench.tolerating():
        large(bench, urgent)


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
    alone, beside = (records.result(what, "tierd") for what in ("hot GETs, alone", "hot GETs, beside storing"))
    plotted, (left, right) = pages.figure(1, 2, width=9.6)
    for record, name, style in ((alone, "alone", ":"), (beside, "beside storing 5 × RAM", "-")):
        curve = [(1 / (1 - p / 100), us) for p, us in record["result"]["curve"] if p < 99.995]
        left.plot([x for x, _ in curve], [us for _, us in curve], style, color=pages.color("tierd"), label=name)
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xticks([1, 10, 100, 1000, 10_000], ["0", "90", "99", "99.9", "99.99"])
    left.set_yticks([30, 100, 300, 1000, 3000, 10_000], ["30 µs", "100 µs", "300 µs", "1 ms", "3 ms", "10 ms"])
    left.set_xlabel("percentile")
    left.set_ylabel("latency (log scale)")
    left.set_title("hot GETs")
    left.legend()
    kinds, worst = list(KINDS), []
    for what, shade, shift in (("demoted", "#0b7a75", -0.2), ("promoted", "#76b5b0", 0.2)):
        values = [records.result(f"hot GET while a {kind} is {what}", "tierd")["result"]["latency_us"]["max"] / 1000 for kind in kinds]
        worst += values
        right.bar([i + shift for i in range(len(kinds))], values, 0.38, color=shade, label=f"while it is {what}")
    right.axhline(10, color="#333", linewidth=1, linestyle=":")
    right.set_xticks(range(len(kinds)), [kind.replace(" ", "\n") for kind in kinds])
    right.set_ylabel("longest hot GET, ms")
    right.set_title(f"a collection of {records.result('hot GET while a hash is demoted', 'tierd')['elements']:,} elements")
    right.legend()
    right.grid(axis="x", visible=False)
    page.plot(plotted, "Left: 2000 hot GETs a second. Right: the longest while one large collection moves (dotted: wanted). Lower is better.")
    p99 = beside["result"]["latency_us"]["p99"] / alone["result"]["latency_us"]["p99"]
    ids = [alone["id"], beside["id"]]
    page.claim("hot GETs beside storing: p99", "≤ 3 × alone", f"{p99:.2f} × ({beside['result']['latency_us']['p99']:.0f} µs to "
        f"{alone['result']['latency_us']['p99']:.0f})", p99 <= 3, ids,
        why="The storing client keeps 800 SETs in flight and the server's core full: a GET waits behind those that came before it.")
    longest = beside["result"]["latency_us"]["max"] / 1000
    page.claim("… longest", "≤ 20 ms", f"{longest:.1f} ms", longest <= 20, ids, why="See the plot.")
    quiet = records.result("hot GET, nothing going on", "tierd")
    page.claim("longest hot GET while a large collection moves", "≤ 10 ms", f"{max(worst):.1f} ms (nothing going on: "
        f"{quiet['result']['latency_us']['max'] / 1000:.1f})", max(worst) <= 10, [r["id"] for kind in kinds for what in (
        "demoted", "promoted") for r in records.of(f"hot GET while a {kind} is {what}")], why="This machine pauses by itself, too.")
