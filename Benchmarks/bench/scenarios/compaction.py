from .. import page as pages
from .. import servers
from ..records import paused

NAME = "compaction"
TITLE = "Overwriting while the SSD is compacted"
QUESTION = ("Uniform SETs over a tier file that is 70 % full of live records, until many times the data has been written. What does "
    "reclaiming the space cost, in writes and in pauses?")


def measure(bench):
    keys, times = bench.pick((400_000, 8), (1_400_000, 20))
    # A record of 564 bytes, seven to a block of 4096; an eighth of the keys is newer in RAM.
    file = max(keys * 585 * 10 // 8 >> 20, 260)
    with bench.tolerating():
        server = servers.Tierd(bench, "--maxmemory", f"{bench.pick(64, 192)}mb", "--tier-max-bytes", f"{file}mb")
        bench.fill(server, keys)
        before = server.info()
        result = bench.load("overwrites", server, "-m", "SET key:{key} {value}", "-k", keys, "-r", keys * times, "-P", 16, "--sample", 250,
            times=times)
        after = server.info()
        written = after["tier_bytes_written_total"] - before["tier_bytes_written_total"]
        bench.record("the tier file", server, {
            "live_share": round(after["tier_ssd_live_bytes"] / (file << 20), 3), "bytes_written": written,
            "written_to_set": round(written / (result["requests"] * 564), 3),
            "compactions": after["tier_compactions_total"] - before["tier_compactions_total"]}, "INFO tier, before and after")
        bench.load("read back", server, "-m", "GET key:{key}", "--distribution", "once", "-k", keys, "-r", keys, "-P", 16)
        server.stop()


def present(records, page):
    run, file, back = (records.result(what, "tierd") for what in ("overwrites", "the tier file", "read back"))
    series, at = run["result"]["series"], run["result"]["latency_us"]
    plotted, (top, bottom) = pages.figure(2, 1, height=4.6, sharex=True)
    top.plot(series["seconds"], [us / 1000 for us in series["longest_us"]], color="#d68910", linewidth=1, label="longest")
    top.plot(series["seconds"], [us / 1000 for us in series["p99_us"]], color=pages.color("tierd"), label="p99")
    top.plot(series["seconds"], [us / 1000 for us in series["p50_us"]], color="#76b5b0", label="p50")
    top.set_yscale("log")
    top.set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
    top.set_ylabel("latency, ms (log scale)")
    top.legend(ncols=3, loc="upper left")
    bottom.plot(series["seconds"], [rate / 1000 for rate in series["requests_per_second"]], color=pages.color("tierd"))
    bottom.set_ylim(bottom=0)
    bottom.set_ylabel("thousand SETs\na second")
    bottom.set_xlabel("seconds")
    page.plot(plotted, f"Each point is a quarter of a second of SETs in pipelines of 16; {file['result']['compactions']:,} segments were "
        f"compacted in this time. The file is {file['result']['live_share']:.0%} full of live records.")
    ratio = file["result"]["written_to_set"]
    page.claim(f"bytes written to the SSD to bytes set, {run['times']} × the data", "≤ 2.5", f"{ratio:.2f}", ratio <= 2.5, [file["id"]])
    page.claim("longest SET", "≤ 50 ms", f"{at['max'] / 1000:.0f} ms (p99 {at['p99'] / 1000:.1f})", at["max"] <= 50_000, [run["id"]],
        why=f"p99.99 is {at['p9999'] / 1000:.0f} ms. {paused(run)}")
    page.claim("values afterwards", "all right", f"{back['result']['missing']} missing, {back['result']['wrong']} wrong",
        not back["result"]["missing"] and not back["result"]["wrong"], [back["id"]])
