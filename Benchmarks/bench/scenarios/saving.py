import os
import threading
import time

from .. import page as pages
from .. import servers
from ..records import paused

NAME = "saving"
TITLE = "BGSAVE beside writes"
QUESTION = ("50,000 SETs and 2000 GETs a second, from their intended starts, while an RDB file of everything is written. redis-server forks; "
    "tierd walks, and more than half of its values are on the SSD.")


def measure(bench):
    keys, seconds, rounds = bench.pick((300_000, 3, 1), (1_000_000, 6, 3))
    for number in range(rounds):
        # Neither is tied to a core: what redis-server forks may have the other one.
        for start in (lambda: servers.Tierd(bench, "--maxmemory", f"{bench.pick(96, 256)}mb", core=None),
                lambda: servers.Redis(bench, core=None)):
            with bench.tolerating():
                one(bench, start(), keys, seconds, number)


def one(bench, server, keys, seconds, number):
    bench.fill(server, keys)
    time.sleep(bench.pick(0.5, 2))
    pair(bench, server, keys, seconds, "without", number)
    rss, peak, took = server.rss(), Peak(server), []
    peak.start()
    saving = threading.Thread(target=lambda: took.append(saved(server.client())))
    saving.start()
    pair(bench, server, keys, bench.pick(2, 6), "during BGSAVE", number)
    saving.join()
    peak.ends = True
    peak.join()
    bench.record("RAM", server, {"before_mib": rss >> 20, "peak_mib": peak.bytes >> 20, "seconds": round(took[0], 2)},
        "resident set size every 20 ms, and what a forked child has of its own", repeat=number)
    server.stop()


def pair(bench, server, keys, seconds, when, number):
    """SETs and GETs together. Each has keys of its own choice, or the GETs would follow the SETs and all be hot."""
    loads = {"SET": ["-m", "SET key:{key} {value}", "--rate", 50_000, "-P", 16, "-c", 20],
        "GET": ["-m", "GET key:{key}", "--rate", 2000, "-c", 10]}
    seed = 4 * number + (0 if when == "without" else 2)
    running = {op: bench.start_load(server, *options, "-k", keys, "--seconds", seconds, "--seed", seed + at + 1)
        for at, (op, options) in enumerate(loads.items())}
    for op, process in running.items():
        bench.wait(f"{op} {when}", server, process, repeat=number)


def saved(client):
    began = time.time()
    client.bgsave()
    while client.info("persistence")["rdb_bgsave_in_progress"]:
        time.sleep(0.02)
    return time.time() - began


class Peak(threading.Thread):
    """The most RAM a server takes, with what a forked child has of its own."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.bytes, self.ends = server, 0, False

    def run(self):
        while not self.ends:
            total = self.server.rss()
            for child in os.popen(f"pgrep -P {self.server.pid}").read().split():
                try:
                    with open(f"/proc/{child}/smaps_rollup") as file:
                        total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_Dirty"))
                except OSError:
                    pass
            self.bytes = max(self.bytes, total)
            time.sleep(0.02)


def present(records, page):
    names = records.servers("RAM")
    plotted, (left, right) = pages.figure(1, 2)
    for at, name in enumerate(names):
        shift = (at - 0.5) * 0.4 if len(names) > 1 else 0
        values = [p99(records, op, when, name).value / 1000 for op in ("SET", "GET") for when in ("without", "during BGSAVE")]
        left.bar([i + shift for i in range(4)], values, 0.38, color=pages.color(name), label=pages.label(name))
        ram = [records.figure("RAM", name, what).value for what in ("before_mib", "peak_mib")]
        right.bar([i + shift for i in range(2)], ram, 0.38, color=pages.color(name))
    left.set_yscale("log")
    left.set_xticks(range(4), ["SET\nwithout", "SET\nduring", "GET\nwithout", "GET\nduring"])
    left.set_ylabel("p99, ms (log scale)")
    left.set_yticks([0.3, 1, 3, 10, 30, 100, 300, 1000], ["0.3", "1", "3", "10", "30", "100", "300", "1000"])
    left.legend()
    right.set_xticks(range(2), ["before", "most during"])
    right.set_ylabel("RAM, MiB")
    for axis in (left, right):
        axis.grid(axis="x", visible=False)
    page.plot(plotted, "p99 from the intended start, and RAM, without and during BGSAVE. Lower is better.")
    for op in ("SET", "GET"):
        without, during = (p99(records, op, when, "tierd") for when in ("without", "during BGSAVE"))
        ratio = during.over(without)
        other = ""
        if "redis" in names:
            before, beside = (p99(records, op, when, "redis") for when in ("without", "during BGSAVE"))
            other = f"; redis-server {beside.over(before).value:.1f} ×, {beside.value / 1000:.1f} ms"
        page.claim(f"p99 of {op} during BGSAVE", "≤ 2 × without", f"{ratio.value:.2f} × ({during.value / 1000:.1f} ms to "
            f"{without.value / 1000:.1f}){other}", ratio.value <= 2, ratio.ids, noisy=ratio.noisy,
            why="Saving takes what the core has left, in slices between turns, and reads the values that are on the SSD beside the GETs. "
            + paused(*records.of(f"{op} during BGSAVE", "tierd")))
    growth = records.figure("RAM", "tierd", "peak_mib").over(records.figure("RAM", "tierd", "before_mib"))
    page.claim("RAM during BGSAVE", "≤ 1.05 × before", f"{growth.value:.3f} ×", growth.value <= 1.05, growth.ids,
        why="The file's blocks, and values copied before they change.")


def p99(records, op, when, server):
    return records.figure(f"{op} {when}", server, "latency_us.p99")
