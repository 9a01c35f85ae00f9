from .. import page as pages
from .. import servers

NAME = "memory"
TITLE = "RAM an item takes"
QUESTION = "What do key, index and bookkeeping cost, in RAM and when the value is on the SSD? And small collections?"
SIZES = (100, 500)
#: What, the commands, length of {value}.
KINDS = (
    ("1 M strings of 10 bytes", "SET key:{key} {value}", 10),
    ("1 M hashes of 10 fields", "HSET key:{key} " + " ".join(f"field{i} {{value}}" for i in range(10)), 10),
    ("1 M sets of 10 integers", "SADD key:{key} " + " ".join(["{int:1073741824}"] * 10), 10),
    ("1 M lists of 10", "RPUSH key:{key} " + " ".join(["{value}"] * 10), 10),
    ("a sorted set of 1 M", "ZADD zset {int:1073741824} member:{key}", 10),
    ("a stream of 1 M", "XADD stream * field {value} other {int:1000000}", 10),
)


def measure(bench):
    keys = 1_000_000
    for start in bench.available((servers.Redis, servers.Tierd, servers.Valkey)):
        for size in SIZES:
            with bench.tolerating():
                item(bench, start, keys, size)
    if not bench.quick:
        item(bench, servers.Tierd, 4_000_000, 500, what="4 M values of 500 bytes")
    for what, mix, size in KINDS:
        for start in (servers.Redis, servers.Tierd):
            with bench.tolerating():
                server = start(bench)
                before = server.rss()
                bench.load(what, server, "-m", mix, "--distribution", "once", "-k", keys, "-r", keys, "-P", 16, "-d", size,
                    record=False)
                bench.record(what, server, {"mb": round((server.rss() - before) / 1e6, 1), "items": keys}, "tierload -m " + repr(mix))
                server.stop()


def item(bench, start, keys, size, what=None):
    server = start(bench)
    before = server.rss()
    bench.fill(server, keys, "-d", size)
    facts = {"resident": round((server.rss() - before) / keys - size - 16, 1), "keys": keys}
    if server.name == "tierd":
        bench.demote_all(server, keys)
        facts["demoted"] = round((server.rss() - before) / keys - 16, 1)
        facts["still_resident"] = server.info()["tier_items_resident"]
    bench.record(what or f"values of {size} bytes", server, facts, f"tierload, {keys} SETs; resident set size before and after")
    bench.say(f"{what or f'values of {size} bytes':44} {server.name:10} {facts}")
    server.stop()


def present(records, page):
    names = records.servers("values of 500 bytes")
    plotted, (left, right) = pages.figure(1, 2, width=9.6, gridspec_kw={"width_ratios": [2, 3]})
    bars = []
    for name in names:
        bars.append((pages.label(name), records.result("values of 500 bytes", name)["result"]["resident"], pages.color(name)))
    bars.append(("tierd,\ndemoted", records.result("values of 500 bytes", "tierd")["result"]["demoted"], "#76b5b0"))
    left.bar(range(len(bars)), [value for _, value, _ in bars], color=[shade for _, _, shade in bars])
    for place, (_, value, _) in enumerate(bars):
        left.annotate(f"{value:.0f}", (place, value), ha="center", va="bottom")
    left.set_xticks(range(len(bars)), [name for name, _, _ in bars], fontsize=9)
    left.set_ylabel("bytes a key beyond key and value")
    left.set_title("a key with a value of 500 bytes")
    left.grid(axis="x", visible=False)
    kinds = [what for what, _, _ in KINDS]
    ratios = [records.figure(what, "tierd", "mb").over(records.figure(what, "redis", "mb")) for what in kinds]
    right.barh(range(len(kinds)), [ratio.value for ratio in reversed(ratios)], color=pages.color("tierd"), height=0.65)
    right.axvline(1, color=pages.color("redis"), linewidth=2)
    right.axvline(0.85, color="#333", linewidth=1, linestyle=":")
    for place, ratio in enumerate(reversed(ratios)):
        right.annotate(f"{ratio.value:.2f}", (ratio.value, place), va="center", xytext=(-30, 0), textcoords="offset points", color="white")
    right.set_yticks(range(len(kinds)), [short(kind) for kind in reversed(kinds)], fontsize=9)
    right.set_xlabel("RAM to redis-server's (line: the same, dotted: wanted)")
    right.set_title("data sets of small things")
    right.grid(axis="y", visible=False)
    page.plot(plotted, "Resident memory after storing, less that of the empty server. Lower is better.")
    # The smallest data set that is told of decides; a larger one spreads what does not grow with the keys.
    one = records.result("4 M values of 500 bytes", "tierd") if records.has("4 M values of 500 bytes") else records.result(
        "values of 500 bytes", "tierd")
    told = f"at {one['result']['keys'] / 1e6:g} M keys"
    theirs = records.result("values of 500 bytes", "redis")
    page.claim("RAM a key in RAM, beyond key and value", "≤ 48 B", f"{one['result']['resident']:.1f} B {told} "
        f"(redis-server {theirs['result']['resident']:.0f})", one["result"]["resident"] <= 48, [one["id"], theirs["id"]],
        why="With few keys, buffers that do not grow with them weigh more.")
    page.claim("RAM a demoted key, beyond the key", "≤ 40 B", f"{one['result']['demoted']:.1f} B {told}", one["result"]["demoted"] <= 40,
        [one["id"]], why="With few keys, buffers that do not grow with them weigh more.",
        headline=f"{one['result']['demoted']:.0f} bytes of RAM for a value on the SSD")
    for what, ratio in zip(kinds, ratios):
        ours, redis = records.figure(what, "tierd", "mb"), records.figure(what, "redis", "mb")
        page.claim(f"RAM, {short(what)}", "≤ 0.85 × redis-server", f"{ratio.value:.2f} × ({ours.value:.0f} MB to {redis.value:.0f})",
            ratio.value <= 0.85, ratio.ids, why="What is stored is encoded as compactly in both: only what is around it can be smaller.")


def short(what):
    return what.replace("1 M ", "", 1) if what.startswith("1 M ") else what
