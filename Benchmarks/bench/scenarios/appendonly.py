from .. import page as pages
from .. import servers
from .ram import cpu

NAME = "appendonly"
TITLE = "Append-only file"
QUESTION = "SETs of 100 bytes with every change on the disk: before the reply (always), or once a second (everysec)."
CASES = [(policy, pipeline) for policy in ("always", "everysec") for pipeline in (1, 16)]


def measure(bench):
    for number in range(bench.pick(2, 3)):
        for policy, pipeline in CASES:
            for start in (servers.Redis, servers.Tierd):
                with bench.tolerating():
                    server = start(bench, "--appendonly", "yes", "--appendfsync", policy)
                    bench.load(f"SET, {policy}, pipeline {pipeline}", server, "-m", "SET key:{key} {value}", "-d", 100, "-P", pipeline,
                        "--seconds", bench.pick(1.5, 3), repeat=number)
                    server.stop()


def present(records, page):
    plotted, axis = pages.figure(height=3.2)
    for shift, name in ((-0.2, "tierd"), (0.2, "redis")):
        values = [records.figure(f"SET, {policy}, pipeline {pipeline}", name).value / 1000 for policy, pipeline in CASES]
        axis.bar([i + shift for i in range(len(CASES))], values, 0.38, color=pages.color(name), label=pages.label(name))
        for place, value in enumerate(values):
            axis.annotate(f"{value:,.0f}", (place + shift, value), ha="center", va="bottom", fontsize=9)
    axis.set_xticks(range(len(CASES)), [f"{policy}\n{'no pipeline' if p == 1 else f'pipeline {p}'}" for policy, p in CASES])
    axis.set_ylabel("thousand SETs a second")
    axis.grid(axis="x", visible=False)
    axis.legend()
    page.plot(plotted, "50 connections, one core each. Higher is better.")
    for policy, pipeline in CASES:
        what, wanted = f"SET, {policy}, pipeline {pipeline}", 2.0 if policy == "always" else 1.5
        ours, theirs = records.figure(what, "tierd"), records.figure(what, "redis")
        ratio = ours.over(theirs)
        page.claim(f"{policy}, {'no pipeline' if pipeline == 1 else f'pipeline of {pipeline}'}", f"≥ {wanted:g} × redis-server",
            f"{ratio.value:.2f} × ({ours.value / 1000:,.0f} K/s to {theirs.value / 1000:,.0f} K; CPU {cpu(records, what, 'tierd'):.1f} µs to "
            f"{cpu(records, what, 'redis'):.1f})", ratio.value >= wanted, ratio.ids, noisy=ratio.noisy,
            why="Without a pipeline one receive and one send of the kernel's TCP take most of a request's time in both servers; with always, "
                "the commits' interrupts come on top.")
