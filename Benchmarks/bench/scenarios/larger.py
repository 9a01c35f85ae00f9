"""Five times as much data as RAM: storing it, reading it back, and how throughput falls as more of it is cold."""
import os
import time

from .. import machine
from .. import page as pages
from .. import servers
from ..records import paused

NAME = "larger"
TITLE = "Five times as much data as RAM"
QUESTION = ("Values of 500 bytes, five times as many as fit into the RAM a server may take. Is RAM bounded while they are stored? Are they all there "
    "afterwards? What is left of throughput and latency when a share of the requests is for values on the SSD?")
HOT = (1.0, 0.95, 0.9, 0.75, 0.5, 0.25, 0.0)


def size(bench):
    """Keys and MiB of RAM: data of 500-byte values is five times the RAM."""
    return bench.pick((1_000_000, 100), (5_000_000, 512))


def measure(bench):
    keys, megabytes = size(bench)
    sample = ["--sample", bench.pick(50, 200)]
    with bench.tolerating():
        server = servers.Redis(bench, "--maxmemory", f"{megabytes}mb", "--maxmemory-policy", "allkeys-lru")
        bench.fill(server, keys, *sample, what="store", record=True, limit_mib=megabytes)
        read_back(bench, server, keys)
        server.stop()
    with bench.tolerating():
        server = servers.Tierd(bench, "--maxmemory", f"{megabytes}mb", "--tier-max-bytes", "8gb")
        bench.fill(server, keys, *sample, what="store", record=True, limit_mib=megabytes)
        read_back(bench, server, keys)
        sweep(bench, server, keys, counters_of_tierd)
        if bench.available([machine.Fio]):
            command, result = machine.fio(server.tier_file, 50, "0", bench.pick(2, 4), os.stat(server.tier_file).st_blocks * 512)
            bench.record("reads of 4 KiB, 50 at a time", "fio", result, command)
        server.stop()
    if bench.available([servers.Extstore]):
        with bench.tolerating():
            server = servers.Extstore(bench, megabytes)
            if not server.limit.group:
                bench.problem("no cgroup for memory: extstore's reads may come from the page cache")
            bench.fill(server, keys, *sample, what="store", record=True, limit_mib=megabytes, pipeline=16)
            read_back(bench, server, keys)
            server.stop()
        with bench.tolerating():
            server = servers.Extstore(bench, megabytes)
            bench.fill(server, keys, "--rate", 40_000, what="store at 40,000/s", record=True, limit_mib=megabytes, pipeline=1)
            sweep(bench, server, keys, counters_of_extstore)
            server.stop()


def read_back(bench, server, keys):
    bench.load("read back", server, "-m", "GET key:{key}", "--distribution", "once", "-k", keys, "-r", keys, "-P", 16)


def counters_of_tierd(server):
    info = server.info()
    return info["tier_cold_reads_total"], info["tier_ram_hits_total"]


def counters_of_extstore(server):
    stats = server.stats()
    return int(stats["get_extstore"]), int(stats["get_hits"]) - int(stats["get_extstore"])


def sweep(bench, server, keys, counters):
    """GETs of which a falling share is for 2 % of the keys; what was cold is counted by the server."""
    for hot in HOT:
        options = ["-k", keys, "--distribution", f"hot:{hot}:0.02"]
        bench.load("warm-up", server, *options, "--seconds", bench.pick(2, 8), record=False)
        if hot in (0.0, 0.9):
            bench.load("warm-up", server, *options, "--seconds", bench.pick(4, 8), "--seed", 5, record=False)
        before = counters(server)
        result = bench.load("GET of a mix", server, *options, "--seconds", bench.pick(2, 10), "--seed", 2, hot=hot)
        cold, ram = (after - was for after, was in zip(counters(server), before))
        bench.record("what was cold", server, {"share": round(cold / max(1, cold + ram), 4), "cold_reads": cold, "ram_hits": ram,
            "rps": result["rps"]}, "the server's counters, before and after", hot=hot)
        time.sleep(0.1)


def present(records, page):
    stored = [name for name in ("tierd", "redis", "extstore") if records.has("store", name)]
    plot_store(records, page, stored)
    plot_sweep(records, page)
    ours = records.result("store", "tierd")
    back = records.result("read back", "tierd")
    result, limit = ours["result"], ours["limit_mib"]
    page.claim("values lost", "0", f"{back['result']['missing']} missing, {back['result']['wrong']} wrong of "
        f"{back['result']['requests']:,}; {result['errors']} errors", not (back["result"]["missing"] or back["result"]["wrong"] or
        result["errors"]), [ours["id"], back["id"]], headline="no value lost while 5 × the RAM was stored" if not
        back["result"]["missing"] else None)
    rate = result["rps"] * 500 / 1e6
    page.claim("throughput of storing", "≥ 100 MB/s", f"{rate:.0f} MB/s ({result['rps'] / 1000:,.0f} K SET/s)", rate >= 100, [ours["id"]],
        why="Values are taken as fast as the SSD takes those that leave RAM. " + paused(ours))
    peak = max(result["series"]["resident_mib"])
    page.claim("RSS at most", "≤ 1.05 × maxmemory", f"{peak / limit:.3f} × ({peak:.0f} MiB)", peak <= 1.05 * limit, [ours["id"]],
        headline=f"RAM at most {peak / limit:.2f} × maxmemory")
    compare(records, page)


def plot_store(records, page, stored):
    plotted, (left, right) = pages.figure(1, 2, width=9.6, gridspec_kw={"width_ratios": [2, 1]})
    for name in stored:
        record = records.result("store", name)
        series = record["result"]["series"]
        left.plot(series["seconds"], series["resident_mib"], color=pages.color(name), label=pages.label(name))
        left.axhline(record["limit_mib"], color="#333", linewidth=1, linestyle=":")
    left.set_xlabel("seconds since the first SET")
    left.set_ylabel("resident memory, MiB")
    left.set_ylim(bottom=0)
    left.annotate("limit", (0, record["limit_mib"]), xytext=(2, 3), textcoords="offset points", fontsize=9)
    left.legend(loc="lower right")
    left.set_title("RAM while 5 × RAM is stored, at full speed")
    shares = [records.result("read back", name)["result"] for name in stored]
    values = [100 * (one["missing"] + one["wrong"]) / one["requests"] for one in shares]
    right.bar(range(len(stored)), values, color=[pages.color(name) for name in stored])
    for place, value in enumerate(values):
        right.annotate(f"{value:.1f} %", (place, value), ha="center", va="bottom")
    right.set_xticks(range(len(stored)), [pages.label(name).replace(" ", "\n") for name in stored], fontsize=9)
    right.set_ylabel("values lost, %")
    right.set_ylim(0, 105)
    right.set_title("lost when read back")
    right.grid(axis="x", visible=False)
    page.plot(plotted, "redis-server keeps everything in RAM and evicts (allkeys-lru). extstore counts its RAM "
        "without the program itself, and loses values it cannot write in time; at 40,000 SETs a second it loses fewer (below).")


def plot_sweep(records, page):
    plotted, (left, right) = pages.figure(1, 2)
    for name in ("tierd", "extstore"):
        points = []
        for hot in HOT:
            if records.has("GET of a mix", name, hot=hot):
                result = records.result("GET of a mix", name, hot=hot)["result"]
                share = records.result("what was cold", name, hot=hot)["result"]["share"]
                points.append((share * 100, result["rps"] / 1000, result["latency_us"]["p99"]))
        if points:
            left.plot([p[0] for p in points], [p[1] for p in points], marker="o", color=pages.color(name), label=pages.label(name))
            right.plot([p[0] for p in points], [p[2] for p in points], marker="o", color=pages.color(name), label=pages.label(name))
    for axis, title, unit in ((left, "Throughput", "thousand GETs a second"), (right, "p99", "µs (log scale)")):
        axis.set_title(title)
        axis.set_ylabel(unit)
        axis.set_xlabel("share of GETs that read the SSD, %")
    left.set_ylim(bottom=0)
    right.set_yscale("log")
    right.set_yticks([300, 1000, 3000, 10_000], ["300", "1,000", "3,000", "10,000"])
    left.legend()
    page.plot(plotted, "50 connections without pipeline. tierd has one core, extstore two, and its page cache is limited with its RAM. "
        "The share is counted by each server.")


def compare(records, page):
    """tierd and extstore after both are warm; extstore was filled slowly, so that it lost little."""
    if not records.has("GET of a mix", "extstore", hot=0.9):
        return
    read = records.result("what was cold", "tierd", hot=0.9)
    page.claim("90 % of GETs to 2 % of the keys: found in RAM", "≥ 0.88", f"{1 - read['result']['share']:.3f}",
        read["result"]["share"] <= 0.12, [read["id"]])
    for hot, name, wanted in ((0.9, "90 % of GETs to 2 % of the keys", 1.0), (0.0, "uniform GETs", 1.5)):
        ours, theirs = (records.figure("GET of a mix", server, hot=hot) for server in ("tierd", "extstore"))
        # A GET of a value that was lost costs no read: what counts is values.
        got = records.result("GET of a mix", "extstore", hot=hot)["result"]
        found = theirs.value * (1 - got["missing"] / got["requests"])
        ratio = ours.value / found
        page.claim(name, f"≥ {wanted:g} × extstore", f"{ratio:.2f} × ({ours.value / 1000:.1f} K values/s to {found / 1000:.1f} K)",
            ratio >= wanted, ours.ids + theirs.ids, why=effort(records, hot),
            headline=f"{ratio:.1f} × memcached extstore, uniform reads of 5 × RAM" if hot == 0 else None)
        mine, other = (records.figure("GET of a mix", server, "latency_us.p99", hot=hot) for server in ("tierd", "extstore"))
        page.claim(f"{name}: p99", "lower than extstore's", f"{mine.value:,.0f} µs to {other.value:,.0f}", mine.value < other.value,
            mine.ids + other.ids, why=effort(records, hot))
    if records.has("store at 40,000/s", "extstore"):
        lost = records.result("GET of a mix", "extstore", hot=0.0)["result"]
        page.note(f"Filled at 40,000 SETs a second, extstore lacked {100 * lost['missing'] / lost['requests']:.1f} % of the values that "
            "were asked for uniformly; a GET of a missing value costs it no read.")


def effort(records, hot):
    """In words: what each server had to work with, and used."""
    ours, theirs = (records.result("GET of a mix", name, hot=hot) for name in ("tierd", "extstore"))
    busy = [record["result"]["rps"] * (record["result"]["server_user_us"] + record["result"]["server_system_us"]) / 1e6
        for record in (ours, theirs)]
    told = f"tierd kept {busy[0]:.2f} of its one core busy, extstore {busy[1]:.2f} of two; the rest of the time they waited for the disk"
    if records.has("reads of 4 KiB, 50 at a time"):
        told += f", which gave fio {records.figure('reads of 4 KiB, 50 at a time', 'fio').value / 1000:.0f} K reads a second, 50 at a time"
    return (f"{told}. A virtual disk that ends all reads in flight with one interrupt makes core and disk take turns (ARCHITECTURE 12a). "
        + paused(ours))
