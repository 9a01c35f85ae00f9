import json
import os
import subprocess

from .. import page as pages

NAME = "loops"
TITLE = "Event loops"
QUESTION = "What does each further core add? In process, one tenth SETs, so that no load generator takes part of the cores."


def measure(bench):
    cores = os.cpu_count() or 2
    counts = [n for n in (2, 4, 8, 16, 32) if n <= cores]
    for count in counts:
        command = [f"{bench.tools}/loops", "--loops", str(count), "--repeats", str(bench.pick(3, 9)), "--seconds", "1"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            bench.problem(f"loops: {done.stderr.strip()}")
            continue
        result = json.loads(done.stdout)
        bench.record("loops", "tierd", result, " ".join(["loops", *command[1:]]), loops=count)
        bench.say(f"{f'{count} loops to one':44} {'tierd':10} {result['ratio']} ×")


def present(records, page):
    runs = records.of("loops")
    if not runs:
        page.note("One core: nothing to compare.")
        return
    points = [(1, runs[0]["result"]["one"])] + [(run["loops"], run["result"]["many"]) for run in runs]
    plotted, axis = pages.figure(width=5, height=3)
    axis.plot([p[0] for p in points], [p[1] / 1e6 for p in points], marker="o", color=pages.color("tierd"), label="tierd")
    axis.plot([p[0] for p in points], [points[0][1] * p[0] / 1e6 for p in points], ":", color="#999", label="n times one loop")
    axis.set_xticks([p[0] for p in points])
    axis.set_ylim(bottom=0)
    axis.set_xlabel("event loops, one a core")
    axis.set_ylabel("million requests a second")
    axis.legend()
    page.plot(plotted, "1 M keys of 500 bytes, pipelines of 16, no network.")
    two = next(run for run in runs if run["loops"] == 2)
    page.claim("two loops to one", "≥ 1.7 ×", f"{two['result']['ratio']:.2f} ×", two["result"]["ratio"] >= 1.7, [two["id"]],
        why="The two cores of this machine may be two threads of one.")
