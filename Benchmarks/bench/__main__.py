"""usage: tools/bench [options] [scenario …]

Measures tierd beside its rivals, side by side on this machine, and writes Benchmarks/report/: report.html (one page with
plots), RESULTS.md, machine.json and raw/ (every run with its command line). Without scenarios all of them run.

  --quick          smaller data and fewer repeats: under 10 minutes in place of under an hour
  --report-only    makes the page anew from the raw files
  --output DIR     writes there in place of Benchmarks/report
  --trace FILE     a trace for the hit ratio (CSV, may be .gz); default: ../shared/traces, if it is there
  --list           the scenarios

TIERD_BENCH_DIR is where servers keep their files (default /var/tmp/tierd-bench): it should be on the SSD.
"""
import argparse
import datetime
import glob
import json
import os
import shutil
import sys
import time
import traceback

from . import machine, report, scenarios, servers
from .session import Bench

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def arguments():
    parser = argparse.ArgumentParser(prog="tools/bench", usage=__doc__.removeprefix("usage: "), add_help=False)
    parser.add_argument("scenarios", nargs="*")
    for flag in ("--quick", "--report-only", "--list", "--help", "-h"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--output", default=f"{ROOT}/Benchmarks/report")
    parser.add_argument("--trace", default=next(iter(glob.glob(f"{ROOT}/../shared/traces/*.csv.gz")), None))
    given = parser.parse_args()
    if given.help or given.h:
        print(__doc__)
        sys.exit(0)
    known = {scenario.NAME: scenario for scenario in scenarios.ALL}
    if given.list:
        for name, scenario in known.items():
            print(f"{name:12} {scenario.TITLE}")
        sys.exit(0)
    if unknown := [name for name in given.scenarios if name not in known]:
        sys.exit(f"tools/bench: no scenario {unknown[0]}; there are: {' '.join(known)}")
    given.chosen = [known[name] for name in given.scenarios] or list(scenarios.ALL)
    return given


def measure(bench, chosen):
    # The build's files are still on their way to the disk.
    if not machine.comes_to_rest(60):
        bench.problem("the machine did not come to rest before the run: something else worked on it")
    for scenario in chosen:
        bench.scenario = scenario.NAME
        bench.say(f"── {scenario.TITLE}")
        try:
            scenario.measure(bench)
        except Exception as error:  # One scenario that fails must not take the others with it.
            traceback.print_exc()
            bench.problem(f"{type(error).__name__}: {error}")
        bench.stop_since(0)
        bench.save()


def save_facts(path, facts, again):
    """Keeps the facts of the run; scenarios measured alone after a whole run are named in those of that run."""
    if again and os.path.exists(path):
        with open(path) as file:
            facts = json.load(file)
        facts["again"] = sorted({*facts["again"], *again})
    with open(path, "w") as file:
        json.dump(facts, file, indent=2)


def main():
    given = arguments()
    os.makedirs(given.output, exist_ok=True)
    if not given.report_only:
        if not given.scenarios:
            shutil.rmtree(f"{given.output}/raw", ignore_errors=True)
        bench = Bench(ROOT, given.output, given.quick, given.trace)
        for kind in servers.IN_RAM:
            if servers.listens(kind.port):
                sys.exit(f"tools/bench: someone listens on port {kind.port}; it is needed for {kind.program}")
        facts = machine.facts(ROOT, bench.directory)
        began = time.time()
        try:
            measure(bench, given.chosen)
        finally:
            bench.witness.stop()
            shutil.rmtree(bench.directory, ignore_errors=True)
            facts.update(date=datetime.date.today().isoformat(), quick=given.quick, minutes=round((time.time() - began) / 60, 1), again=[])
            save_facts(f"{given.output}/machine.json", facts, [scenario.NAME for scenario in given.chosen] if given.scenarios else [])
    problems = report.build(given.output, Bench.NOISE)
    for problem in problems:
        print(f"! {report.tell(problem)}")
    print(f"{given.output}/report.html")


main()
