from .. import page as pages
from .. import servers

NAME = "growth"
TITLE = "Commands on large collections"
QUESTION = "How does the time of one command grow with the collection? By INFO commandstats, the server's own clock."
COMMANDS = {"zadd": "ZADD", "zrange": "ZRANGE by rank, 1 element", "zrangebyscore": "ZRANGEBYSCORE, 1 element", "hset": "HSET",
    "sadd": "SADD", "lpush": "LPUSH"}
GROW = "ZADD z {int:1000000000000} m{key}; HSET h f{key} v; SADD s m{key}; LPUSH l e{key}"
PROBE = ("ZADD z {int:1000000000000} m{key}; HSET h f{key} w; SADD s m{key}; LPUSH l e; ZRANGE z {int:%d} {same}; "
    "ZRANGEBYSCORE z {int:1000000000000} +inf LIMIT 0 1")


def measure(bench):
    sizes = bench.pick((100, 1000, 10_000, 100_000), (100, 1000, 10_000, 100_000, 1_000_000))
    for start in (servers.Tierd, servers.Redis):
        with bench.tolerating():
            server = start(bench)
            for size in sizes:
                # One connection and scan order: each key four times, once for each command.
                bench.load("elements", server, "-m", GROW, "--in-turn", "--distribution", "scan", "-k", size, "-r", size * 4, "-P", 64,
                    "-c", 1, record=False)
                client = server.client()
                client.config_resetstat()
                bench.load("probe", server, "-m", PROBE % size, "--in-turn", "-k", size, "-r", bench.pick(60_000, 240_000), "-P", 12, "-c", 4,
                    record=False)
                stats = client.info("commandstats")
                sizes_now = {"zcard": client.zcard("z"), "hlen": client.hlen("h")}
                bench.record("microseconds a call", server, {name: stats[f"cmdstat_{name}"]["usec_per_call"] for name in COMMANDS},
                    f"tierload -m '{PROBE % size}'; INFO commandstats", elements=size, **sizes_now)
                bench.say(f"{f'{size} elements':44} {server.name}")
            server.stop()


def present(records, page):
    plotted, axes = pages.figure(2, 3, width=9.6, height=5, sharex=True)
    worst = []
    for axis, (name, title) in zip(axes.flat, COMMANDS.items()):
        for server in records.servers("microseconds a call"):
            points = [(record["elements"], record["result"][name]) for record in records.of("microseconds a call", server)]
            axis.plot([p[0] for p in points], [p[1] for p in points], marker="o", color=pages.color(server), label=pages.label(server))
            if server == "tierd":
                worst.append((points[-1][1] / max(points[0][1], 0.05), title))
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_title(title, fontsize=10)
    axes[0][0].legend(fontsize=9)
    for axis in axes[1]:
        axis.set_xlabel("elements")
    for row in axes:
        row[0].set_ylabel("µs a call")
    page.plot(plotted, "A flat line is O(1), a straight slope on this scale O(log n).")
    factor, name = max(worst)
    sizes = [record["elements"] for record in records.of("microseconds a call", "tierd")]
    page.claim(f"time of a command at {sizes[-1]:,} elements to that at {sizes[0]:,}", "O(1) or O(log n), as Redis documents",
        f"at most {factor:.1f} × ({name})", factor <= 12, [record["id"] for record in records.of("microseconds a call", "tierd")],
        why="Caches: a million elements do not fit into the processor's.")
