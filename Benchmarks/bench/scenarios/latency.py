from .. import page as pages
from .. import servers

NAME = "latency"
TITLE = "Latency, hot and cold"
QUESTION = ("GETs of 500 bytes at a fixed rate that no server is pressed by, latency from the intended start of each. What does a "
    "value cost that is on the SSD? AWS states 300 µs more on average for ElastiCache's data tiering.")
RATE = 4000


def measure(bench):
    keys, seconds = bench.pick(400_000, 2_000_000), bench.pick(5, 20)
    options = ["-k", keys, "--rate", RATE, "-c", 16, "--arrivals", "poisson", "--seconds", seconds]
    with bench.tolerating():
        server = servers.Redis(bench)
        bench.fill(server, keys)
        bench.load("hot", server, *options)
        server.stop()
    with bench.tolerating():
        server = servers.Tierd(bench)
        bench.fill(server, keys)
        bench.load("hot", server, *options)
        bench.demote_all(server, keys)
        before = server.info()
        bench.load("cold", server, *options)
        after = server.info()
        bench.record("reads of the SSD while cold", server, {
            "cold_reads": after["tier_cold_reads_total"] - before["tier_cold_reads_total"],
            "ram_hits": after["tier_ram_hits_total"] - before["tier_ram_hits_total"]}, "INFO tier, before and after")
        server.stop()
    if bench.available([servers.Extstore]):
        with bench.tolerating():
            # Little RAM, so that what is asked for is on the SSD.
            megabytes = bench.pick(80, 320)
            server = servers.Extstore(bench, megabytes, core="0")
            bench.fill(server, keys, "--rate", bench.pick(40_000, 60_000), pipeline=1)
            hot = ["-k", 2000, *options[2:]]
            bench.load("warm-up", server, "-k", 2000, "-r", 20_000, record=False)
            bench.load("hot", server, *hot)
            before = server.stats()
            bench.load("cold", server, *options)
            after = server.stats()
            bench.record("reads of the SSD while cold", server, {
                "cold_reads": int(after["get_extstore"]) - int(before["get_extstore"]),
                "ram_hits": int(after["get_hits"]) - int(before["get_hits"]) - int(after["get_extstore"]) + int(before["get_extstore"])},
                "stats, before and after")
            server.stop()


def present(records, page):
    names = [name for name in ("tierd", "extstore", "redis") if records.has("hot", name)]
    plotted, axes = pages.figure(1, len(names), width=9.6, height=3.9, sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names):
        for what, style in (("hot", ":"), ("cold", "-")):
            if not records.has(what, name):
                continue
            curve = [(100 - p, us) for p, us in records.result(what, name)["result"]["curve"] if p < 99.995]
            axis.plot([1 / (rest / 100) for rest, _ in curve], [us for _, us in curve], style, color=pages.color(name), label=what)
        hot = records.result("hot", name)["result"]["latency_us"]["mean"]
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
                at = records.result(what, name)["result"]["latency_us"]
                rows.append((pages.label(name), what, *(f"{at[key]:,.0f}" for key in ("mean", "p50", "p99", "p999", "max"))))
    page.table(("Server", "values", "mean µs", "p50", "p99", "p99.9", "longest"), rows)
    hot, cold = (records.figure(what, "tierd", "latency_us.mean") for what in ("hot", "cold"))
    page.claim("a cold GET costs more than a hot one, on average", "≤ 300 µs (ElastiCache)", f"{cold.value - hot.value:.0f} µs",
        cold.value - hot.value <= 300, hot.ids + cold.ids, why="The disk of this machine is slower than that.",
        headline=f"+{cold.value - hot.value:.0f} µs for a value on the SSD (ElastiCache says +300)")
    if records.has("cold", "extstore"):
        theirs = records.figure("cold", "extstore", "latency_us.p99")
        ours = records.figure("cold", "tierd", "latency_us.p99")
        page.claim("p99 of cold GETs", "lower than extstore's", f"{ours.value:,.0f} µs to {theirs.value:,.0f}", ours.value < theirs.value,
            ours.ids + theirs.ids)
    for name in names:
        if records.has("reads of the SSD while cold", name):
            read = records.result("reads of the SSD while cold", name)["result"]
            share = read["cold_reads"] / max(1, read["cold_reads"] + read["ram_hits"])
            page.note(f"{pages.label(name)}: {share:.0%} of the 'cold' reads went to the SSD; the others had come back into RAM before.")
