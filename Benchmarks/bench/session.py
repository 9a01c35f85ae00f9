"""One run of tools/bench: where things are, what was run, what it gave."""
import contextlib
import json
import os
import shutil
import subprocess
import time

from . import servers
from .witness import Witness


class Bench:
    #: Spread of repeats, (most - least) / median, beyond which a figure is marked as noisy.
    NOISE = 0.15

    def __init__(self, root, report, quick, trace):
        self.root, self.report, self.quick, self.trace = root, report, quick, trace
        self.tools = f"{root}/Benchmarks/.build/release"
        self.tierd = f"{self.tools}/tierd"
        self.directory = os.environ.get("TIERD_BENCH_DIR", "/var/tmp/tierd-bench")
        self.records, self.problems, self.scenario = [], [], None
        self.started = []
        self.began = time.time()
        # The load has the last core, the server the first: on two cores neither takes the other's time.
        self.load_core = str(max(1, (os.cpu_count() or 2) - 1))
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        self.witness = Witness(self.directory, ["0", self.load_core])

    def pick(self, quick, full):
        return quick if self.quick else full

    def say(self, text):
        seconds = int(time.time() - self.began)
        print(f"{seconds // 60:3d}:{seconds % 60:02d}  {text}", flush=True)

    def problem(self, text):
        self.problems.append({"scenario": self.scenario, "text": text})
        self.say(f"! {text}")

    # What was run.

    def record(self, what, server, result, command="", **facts):
        """Keeps a result; `server` is a Server, or a name."""
        record = {"id": f"{self.scenario}-{len(self.records) + 1}", "what": what,
            "server": getattr(server, "name", server), "command": command,
            "server_command": " ".join(getattr(server, "command", [])), **facts, "result": result}
        self.records.append(record)
        return result

    def load(self, what, server, *options, prefix=(), record=True, **facts):
        """Runs tierload against a server and keeps what it says."""
        command = self.load_command(server, *options)
        pin = list(prefix) or ["taskset", "-c", self.load_core]
        facts["began"] = time.monotonic()
        done = subprocess.run(pin + command, capture_output=True, text=True)
        return self.finish(what, server, command, done.returncode, done.stdout, done.stderr, record, facts)

    def load_command(self, server, *options):
        return [f"{self.tools}/tierload", "-p", str(server.port), "--pid", str(server.pid), "--format", server.format,
            "--json", *map(str, options)]

    def start_load(self, server, *options, prefix=()):
        """Starts tierload beside others; `wait` ends it."""
        command = self.load_command(server, *options)
        pin = list(prefix) or ["taskset", "-c", self.load_core]
        process = subprocess.Popen(pin + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.bench_command, process.bench_began = command, time.monotonic()
        return process

    def wait(self, what, server, process, record=True, **facts):
        text, errors = process.communicate()
        facts["began"] = process.bench_began
        return self.finish(what, server, process.bench_command, process.returncode, text, errors, record, facts)

    def finish(self, what, server, command, status, text, errors, record, facts):
        pause = self.witness.longest(facts.pop("began"), time.monotonic())
        # A process that has just closed its sockets may need a moment to be gone.
        if status not in (0, 1):
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(2)
            raise servers.ServerFailed(server.death() if not server.alive else f"{server.name}: {errors.strip()[-300:]}")
        result = json.loads(text)
        if result["wrong"] or result["errors"]:
            self.problem(f"{server.name}, {what}: {result['wrong']} wrong values, {result['errors']} errors "
                f"{result['first_error'][:100]}")
        if record:
            shown = "tierload " + " ".join(f'"{word}"' if " " in word else word for word in command[1:])
            self.record(what, server, result, shown, machine_pause_ms=pause, **facts)
            self.say(f"{what:44} {server.name:10} {result['rps']:>9.0f}/s  p99 {result['latency_us']['p99']:>8.0f} µs")
        return result

    def fill(self, server, keys, *options, what="fill", record=False, pipeline=16, **facts):
        return self.load(what, server, "-m", "SET key:{key} {value}", "--distribution", "once", "-k", keys, "-r", keys,
            "-P", pipeline, *options, record=record, **facts)

    def demote_all(self, server, keys):
        """Writes every value to the SSD and frees its RAM."""
        client = server.client()
        for first in range(0, keys, 10_000):
            client.execute_command("TIER", "DEMOTE", *(b"key:%012d" % i for i in range(first, min(keys, first + 10_000))))

    @contextlib.contextmanager
    def tolerating(self):
        """A server that dies is told of; what follows goes on without it, and without those begun beside it."""
        before = len(self.started)
        try:
            yield
        except servers.ServerFailed as failure:
            self.problem(str(failure))
            self.stop_since(before)

    def stop_since(self, before):
        while len(self.started) > before:
            self.started.pop().stop()

    def rounds(self, repeats, running, measure):
        """`measure(server, number)` for each server in turn, again and again; a server that dies is left out."""
        for number in range(repeats):
            for server in list(running):
                if server.alive:
                    with self.tolerating():
                        measure(server, number)
                if not server.alive and server in running:
                    running.remove(server)

    def available(self, kinds):
        """Kinds that are on this machine; the others are told of once."""
        here = []
        for kind in kinds:
            if servers.found(kind, self):
                here.append(kind)
            else:
                text = f"{kind.program} is not in PATH: skipped"
                if all(problem["text"] != text for problem in self.problems):
                    self.problems.append({"scenario": None, "text": text})
        return here

    def save(self):
        """Writes the scenario's records."""
        os.makedirs(f"{self.report}/raw", exist_ok=True)
        with open(f"{self.report}/raw/{self.scenario}.json", "w") as file:
            lines = ",\n".join(json.dumps(record, sort_keys=True) for record in self.records)
            mine = [problem for problem in self.problems if problem["scenario"] in (self.scenario, None)]
            file.write(f'{{"quick": {json.dumps(self.quick)}, "problems": {json.dumps(mine)}, "records": [\n{lines}\n]}}\n')
        self.records = []
