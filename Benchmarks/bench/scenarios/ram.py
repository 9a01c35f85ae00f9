from .. import page as pages
from .. import servers

NAME = "ram"
TITLE = "GET and SET of values in RAM"
QUESTION = ("Keys of 16 bytes, values of 500, 50 connections; each server has one core and one thread, the load the other core. "
    "What does a tiered server cost while everything fits into RAM?")
PIPELINES = (1, 16, 64)


def measure(bench):
    keys, running = bench.pick(300_000, 1_000_000), []
    for kind in bench.available(servers.IN_RAM):
        with bench.tolerating():
            running.append(kind(bench))
            bench.fill(running[-1], keys)

    def one(server, number):
        for pipeline in PIPELINES:
            for op, mix in (("GET", "GET key:{key}"), ("SET", "SET key:{key} {value}")):
                bench.load(f"{op}, pipeline {pipeline}", server, "-m", mix, "-k", keys, "-P", pipeline, "--seconds",
                    bench.pick(0.7, 1.5), repeat=number)

    bench.rounds(bench.pick(3, 5), running, one)
    for server in running:
        server.stop()


def present(records, page):
    names = [name for name in records.servers("GET, pipeline 1")]
    plotted, axes = pages.figure(1, 2, height=3.4)
    for axis, op in zip(axes, ("GET", "SET")):
        for at, name in enumerate(names):
            figures = [records.figure(f"{op}, pipeline {pipeline}", name) for pipeline in PIPELINES]
            width = 0.8 / len(names)
            places = [i + (at - (len(names) - 1) / 2) * width for i in range(len(PIPELINES))]
            values = [figure.value / 1000 for figure in figures]
            axis.bar(places, values, width * 0.92, color=pages.color(name), label=pages.label(name), yerr=[
                [(f.value - f.least) / 1000 for f in figures], [(f.most - f.value) / 1000 for f in figures]],
                error_kw={"elinewidth": 1, "alpha": 0.6})
            for place, value in zip(places, values):
                axis.annotate(f"{value:,.0f}", (place, value), ha="center", va="bottom", fontsize=8, xytext=(0, 4),
                    textcoords="offset points")
        axis.set_xticks(range(len(PIPELINES)), [f"pipeline {p}" if p > 1 else "no pipeline" for p in PIPELINES])
        axis.set_title(op)
        axis.set_ylabel("thousand requests a second")
        axis.grid(axis="x", visible=False)
    axes[0].legend(loc="upper left")
    page.plot(plotted, "Requests a second of one core. Bars: medians; lines: least and most of the repeats. Higher is better.")
    for op in ("GET", "SET"):
        for pipeline, wanted in ((1, 1.0), (16, 2.0), (64, 3.5)):
            what = f"{op}, pipeline {pipeline}"
            ours, theirs = records.figure(what, "tierd"), records.figure(what, "redis")
            ratio = ours.over(theirs)
            page.claim(f"{op}, {'no pipeline' if pipeline == 1 else f'pipeline of {pipeline}'}", f"≥ {wanted:g} × redis-server",
                f"{ratio.value:.2f} × ({ours.value / 1000:,.0f} K/s to {theirs.value / 1000:,.0f} K)", ratio.value >= wanted,
                ratio.ids, noisy=ratio.noisy, why="The kernel's TCP takes most of a request's time in both servers.",
                headline=f"{ratio.value:.1f} × redis-server, GETs in pipelines of 16" if (op, pipeline) == ("GET", 16) else None)
        what = f"{op}, pipeline 1"
        ours, theirs = (cpu(records, what, name) for name in ("tierd", "redis"))
        page.claim(f"{op}, no pipeline: CPU a request", "≤ 0.9 × redis-server", f"{ours / theirs:.2f} × ({ours:.2f} µs to {theirs:.2f})",
            ours <= 0.9 * theirs, records.figure(what, "tierd").ids + records.figure(what, "redis").ids)
    page.note("The generator's own cost: " + ", ".join(
        f"{records.figure(what, 'tierd', 'generator_us').value:.2f} µs of CPU a request ({what})"
        for what in ("GET, pipeline 1", "GET, pipeline 16")) + ".")


def cpu(records, what, server):
    """Median microseconds of CPU time a request of the server."""
    return records.figure(what, server, "server_user_us").value + records.figure(what, server, "server_system_us").value
