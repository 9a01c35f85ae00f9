import json
import os
import subprocess

from .. import page as pages

NAME = "hitratio"
TITLE = "Hit ratio of the tiering policy"
QUESTION = ("How many reads find their value in RAM, for a given share of the values that fits? The store itself runs on a disk in memory; "
    "LRU and the optimum (Belady: what is needed last leaves first) see the same requests and hold as many values.")


def measure(bench):
    command = [f"{bench.tools}/hitratio", "--json", "--accesses", str(bench.pick(600_000, 3_000_000)), "--keys",
        str(bench.pick(30_000, 100_000))]
    command += [word for percent in bench.pick((5, 20, 50), (1, 2, 5, 10, 20, 35, 50)) for word in ("--ram", str(percent))]
    if bench.trace:
        command += ["--trace", bench.trace]
    else:
        bench.problem("no trace file: only made traces (give one with --trace)")
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in running.stdout:
        result = json.loads(line)
        name = os.path.basename(result.pop("trace"))
        bench.record(name, "tierd", result, " ".join(["hitratio", *command[1:]]), ram_percent=result["ram_percent"])
        bench.say(f"{name:44} {result['ram_percent']:>3} % in RAM: tierd {result['tierd']:.3f}, LRU {result['lru']:.3f}, "
            f"optimum {result['optimum']:.3f}")
    if running.wait():
        bench.problem("hitratio ended with an error")


def present(records, page):
    traces = []
    for record in records.all:
        if record["what"] not in traces:
            traces.append(record["what"])
    columns = 3
    rows = (len(traces) + columns - 1) // columns
    plotted, axes = pages.figure(rows, columns, width=9.6, height=2.9 * rows, squeeze=False)
    lower = []
    for axis, trace in zip(axes.flat, traces):
        points = [record["result"] for record in records.of(trace)]
        for key, name in (("optimum", "optimum"), ("tierd", "tierd"), ("lru", "LRU")):
            axis.plot([p["ram_percent"] for p in points], [100 * p[key] for p in points], marker=".", color=pages.color(name), label=name,
                linestyle="--" if key == "optimum" else "-")
        lower += [f"{trace} at {p['ram_percent']} %" for p in points if p["tierd"] < p["lru"]]
        axis.set_title(trace.replace("_io.csv.gz", " trace"), fontsize=11)
        axis.set_xlabel("values that fit into RAM, %")
        axis.set_ylabel("found in RAM, %")
        axis.set_ylim(0, 100)
    for axis in list(axes.flat)[len(traces):]:
        axis.set_visible(False)
    axes[0][0].legend(loc="lower right")
    page.plot(plotted, "Higher is better; nothing can be above the optimum.")
    page.claim("hit ratio", "≥ LRU's everywhere", f"{len(records.all) - len(lower)} of {len(records.all)} points"
        + (f"; lower: {', '.join(lower)}" if lower else ""), not lower, [record["id"] for record in records.all],
        why="Where almost nothing fits, the policy's probation has no room to tell use from accident.")
