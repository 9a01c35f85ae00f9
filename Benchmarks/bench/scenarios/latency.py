from .. import page as pages
from .. import servers
from ..records import paused
from .larger import counters_of_extstore, counters_of_tierd

NAME = "latency"
TITLE = "Latency, hot and cold"
QUESTION = ("GETs of 500 bytes at a fixed rate that no server is pressed by, latency from the intended start of each. What does a "
    "value cost that is on the SSD? AWS states 300 µs more on average for ElastiCache's data tiering.")
RATE = 4000


def measure(bench):
    keys, seconds, rounds = bench.pick(400_000, 2_000_000), bench.pick(2, 6), 3
    options = ["--rate", RATE, "-c", 16, "--arrivals", "poisson", "--seconds", seconds]
    with bench.tolerating():
        server = servers.Redis(bench)
        bench.fill(server, keys)
        for number in range(rounds):
            bench.load("hot", server, "-k", keys, *options, repeat=number)
        server.stop()
    with bench.tolerating():
        server = servers.Tierd(bench)
        bench.fill(server, keys)
        for number in range(rounds):
            bench.load("hot", server, "-k", keys, *options, repeat=number)
        for number in range(rounds):
            bench.demote_all(server, keys)
            cold(bench, server, ["-k", keys, *options, "--seed", number + 1], number, counters_of_tierd)
        server.stop()
    if bench.available([servers.Extstore]):
        with bench.tolerating():
            # Little RAM, so that what is asked for is on the SSD.
            server = servers.Extstore(bench, bench.pick(80, 320), core="0")
            bench.fill(server, keys, "--rate", bench.pick(40_000, 60_000), pipeline=1)
            bench.load("warm-up", server, "-k", 2000, "-r", 20_000, record=False)
            for number in range(rounds):
                bench.load("hot", server, "-k", 2000, *options, repeat=number)
            for number in range(rounds):
                cold(bench, server, ["-k", keys, *options, "--seed", number + 1], number, counters_of_extstore)
            server.stop()


def cold(bench, server, options, number, counters):
    """GETs of values on the SSD, and how many of them were."""
    before = counters(server)
    bench.load("cold", server, *options, repeat=number)
    read, ram = (after - was for after, was in zip(counters(server), before))
    bench.record("reads of the SSD while cold", server, {"cold_reads": read, "ram_hits": ram}, "the server's counters, before and after",
        repeat=number)


def present(records, page):
    names = [name for name in ("tierd", "extstore", "redis") if records.has("hot", name)]
    plotted, axes = pages.figure(1, len(names), width=9.6, height=3.9, sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names):
        for what, style in (("hot", ":"), ("cold", "-")):
            if not records.has(what, name):
                continue
            curve = [(100 - p, us) for p, us in middle(records, what, name)["curve"] if p < 99.995]
            axis.plot([1 / (rest / 100) for rest, _ in curve], [us for _, us in curve], style, color=pages.color(name), label=what)
        hot = records.figure("hot", name, "latency_us.mean").value
        if name != "redis":
            axis.axhline(hot + 300, color="#999", linestyle="--", linewidth=1.2, label="its hot mean + 300 µs\n(ElastiCache's average)")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(pages.label(name))
        axis.set_xticks([1, 10, 100, 1000, 10_000], ["0", "90", "99", "99.9", "99.99"])
        axis.set_xlabel("percentile")
        axis.legend(loc="lower right", fontsize=8)
    axes[0][0].set_yticks([30, 100, 300, 1000, 3000, 10_000], ["30 µs", "100 µs", "300 µs", "1 ms", "3 ms", "10 ms"])
    axes[0][0].set_ylabel("latency (log scale)")
    page.plot(plotted, f"Latency of GETs at {RATE} a second. Dotted: values in RAM; solid: values on the SSD. Lower is better.")
    rows = []
    for name in names:
        for what in ("hot", "cold"):
            if records.has(what, name):
                at = middle(records, what, name)["latency_us"]
                rows.append((pages.label(name), what, *(f"{at[key]:,.0f}" for key in ("mean", "p50", "p99", "p999", "max"))))
    page.table(("Server", "values", "mean µs", "p50", "p99", "p99.9", "longest"), rows)
    hot, cold = (records.figure(what, "tierd", "latency_us.mean") for what in ("hot", "cold"))
    page.claim("a cold GET costs more than a hot one, on average", "≤ 300 µs (ElastiCache)", f"{cold.value - hot.value:.0f} µs",
        cold.value - hot.value <= 300, hot.ids + cold.ids, noisy=hot.noisy or cold.noisy, why="The disk. " + paused(*records.of("cold", "tierd")),
        headline=f"+{cold.value - hot.value:.0f} µs for a value on the SSD (ElastiCache says +300)")
    if records.has("cold", "extstore"):
        theirs = records.figure("cold", "extstore", "latency_us.p99")
        ours = records.figure("cold", "tierd", "latency_us.p99")
        page.claim("p99 of cold GETs", "lower than extstore's", f"{ours.value:,.0f} µs to {theirs.value:,.0f}", ours.value < theirs.value,
            ours.ids + theirs.ids, noisy=ours.noisy or theirs.noisy,
            why=f"{share_read(records, 'tierd'):.0%} of tierd's cold reads went to the SSD, {share_read(records, 'extstore'):.0%} of extstore's. "
                + paused(*records.of("cold", "tierd")))
    for name in names:
        if records.has("reads of the SSD while cold", name):
            page.note(f"{pages.label(name)}: {share_read(records, name):.0%} of the 'cold' reads went to the SSD; the others had come back into RAM before.")


def share_read(records, name):
    read = records.result("reads of the SSD while cold", name)["result"]
    return read["cold_reads"] / max(1, read["cold_reads"] + read["ram_hits"])


def middle(records, what, server):
    """The repeat whose mean is the median: percentiles of several runs do not add up."""
    runs = sorted((record["result"] for record in records.of(what, server)), key=lambda result: result["latency_us"]["mean"])
    return runs[len(runs) // 2]
