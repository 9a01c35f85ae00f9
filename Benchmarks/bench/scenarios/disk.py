import os

from .. import machine
from .. import page as pages
from .. import servers

NAME = "disk"
TITLE = "Cold reads beside what the disk can do"
QUESTION = ("Every value is on the SSD. How much of the disk's random reads does a server of one core reach, and what does it add to a "
    "read? fio reads the same file, on the same core, in turn.")
LOADS = ((64, 1), (16, 8), (16, 16))


def measure(bench):
    keys, rounds, seconds = bench.pick((500_000, 1, 3), (2_000_000, 3, 6))
    if not bench.available([machine.Fio]):
        return
    for number in range(rounds):
        with bench.tolerating():
            server = servers.Tierd(bench)
            bench.fill(server, keys)
            one = ["-c", 1, "-k", keys, "-r"]
            bench.load("hot, 1 connection", server, *one, bench.pick(40_000, 100_000), repeat=number)
            bench.demote_all(server, keys)
            fio(bench, server, 1, seconds, number)
            bench.load("cold, 1 connection", server, *one, bench.pick(20_000, 60_000), repeat=number)
            for clients, pipeline in LOADS:
                bench.demote_all(server, keys)
                fio(bench, server, 64, seconds, number, after=f"{clients} connections, pipeline {pipeline}")
                bench.load(f"cold, {clients} connections, pipeline {pipeline}", server, "-c", clients, "-P", pipeline, "-k", keys, "-r",
                    bench.pick(150_000, 400_000), repeat=number)
            server.stop()


def fio(bench, server, depth, seconds, number, after=""):
    size = os.stat(server.tier_file).st_blocks * 512
    command, result = machine.fio(server.tier_file, depth, "0", seconds, size)
    bench.record(f"fio, depth {depth}", "fio", result, command, repeat=number, before=after)
    bench.say(f"{f'fio, depth {depth}':44} {'fio':10} {result['rps']:>9.0f}/s  p99 {result['latency_us']['p99']:>8.0f} µs")


def present(records, page):
    if not records.has("fio, depth 1"):
        page.note("fio is not on this machine: not measured.")
        return
    hot, cold, alone = (records.figure(what, server, "latency_us.p50") for what, server in (
        ("hot, 1 connection", "tierd"), ("cold, 1 connection", "tierd"), ("fio, depth 1", "fio")))
    added = [c - h - f for h, c, f in zip(hot.values, cold.values, alone.values)]
    plotted, (left, right) = pages.figure(1, 2, width=9.6)
    left.barh([0, 0, 0], [hot.value, alone.value, max(0, cold.value - hot.value - alone.value)], left=[0, hot.value, hot.value + alone.value],
        color=["#76b5b0", pages.color("fio"), pages.color("tierd")], height=0.5)
    for start, width, text in ((0, hot.value, "hot GET"), (hot.value, alone.value, "fio's read"),
            (hot.value + alone.value, max(0, cold.value - hot.value - alone.value), "added")):
        left.annotate(f"{text}\n{width:.0f} µs", (start + width / 2, 0.3), ha="center", va="bottom", fontsize=9)
    left.set_ylim(-0.6, 1)
    left.set_yticks([])
    left.set_xlabel("µs")
    left.set_title(f"a cold GET, one connection: {cold.value:.0f} µs (p50)")
    labels, shares = [], []
    for clients, pipeline in LOADS:
        what = f"cold, {clients} connections, pipeline {pipeline}"
        ours, theirs = records.figure(what, "tierd"), records.figure("fio, depth 64", "fio", before=what[6:])
        labels.append(f"{clients} × {pipeline}")
        shares.append(ours.over(theirs))
    right.bar(range(len(labels)), [100 * share.value for share in shares], color=pages.color("tierd"), width=0.6)
    for place, share in enumerate(shares):
        right.annotate(f"{share.value:.0%}", (place, 100 * share.value), ha="center", va="bottom")
    right.axhline(75, color="#333", linewidth=1, linestyle=":")
    right.set_xticks(range(len(labels)), labels)
    right.set_xlabel("connections × pipeline")
    right.set_ylabel("cold GETs a second,\n% of fio's reads at depth 64")
    right.grid(axis="x", visible=False)
    page.plot(plotted, "Left: where the time of one cold GET goes. Right: share of the disk's random reads (dotted: wanted).")
    page.claim("a cold GET beyond a hot one and fio's read, p50", "≤ 30 µs", ", ".join(f"{one:.0f}" for one in added) + " µs",
        sorted(added)[len(added) // 2] <= 30, hot.ids + cold.ids + alone.ids,
        why="tierd's core sleeps twice in a cold GET, and how fast a virtual core wakes differs from hour to hour.")
    best = max(range(len(shares)), key=lambda at: shares[at].value)
    ours = records.figure(f"cold, {LOADS[best][0]} connections, pipeline {LOADS[best][1]}", "tierd")
    page.claim("cold GETs to fio's reads at depth 64, one core each", "≥ 75 %", f"{shares[best].value:.0%} ({ours.value / 1000:.0f} K/s, "
        f"{labels[best]})", shares[best].value >= 0.75, shares[best].ids, noisy=shares[best].noisy, why="The core is full.",
        headline=f"{shares[best].value:.0%} of the disk's random reads, with one core")
    ratios = []
    for clients, pipeline in LOADS:
        what = f"cold, {clients} connections, pipeline {pipeline}"
        ratios.append(records.figure(what, "tierd", "latency_us.p99").over(records.figure("fio, depth 64", "fio", "latency_us.p99",
            before=what[6:])))
    page.claim("… p99 to fio's", "≤ 2 ×", ", ".join(f"{ratio.value:.1f} × at {name}" for ratio, name in zip(ratios, labels)),
        ratios[best].value <= 2, [one for ratio in ratios for one in ratio.ids],
        why="A pipeline is answered in order: a request waits for the slowest read before it, where fio counts each read alone. Without a "
            "pipeline the kernel's TCP fills the core at a lower rate.")
