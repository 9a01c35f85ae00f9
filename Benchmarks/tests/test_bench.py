"""The load generator against a server that lies, and the bench around servers that die.

usage: python -m unittest Benchmarks/tests/test_bench.py        needs Benchmarks/.build/release/tierload
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from bench import records, servers, session, witness  # noqa: E402

TIERLOAD = f"{HERE}/../.build/release/tierload"


class Liar(threading.Thread):
    """A RESP server with a dictionary, that can be told to answer wrongly."""

    def __init__(self, lie=None, stall=0):
        super().__init__(daemon=True)
        self.lie, self.stall, self.values, self.seen = lie, stall, {}, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def __del__(self):
        self.listener.close()

    def serve(self, client):
        with client, client.makefile("rb") as file:
            while line := file.readline():
                words = []
                for _ in range(int(line[1:])):
                    words.append(file.read(int(file.readline()[1:]) + 2)[:-2])
                self.seen.append(words)
                if self.stall:
                    # Stands still once, as a server does that forks.
                    threading.Event().wait(self.stall)
                    self.stall = 0
                reply = self.answer(words)
                if reply is None:
                    return
                client.sendall(reply)

    def answer(self, words):
        if words[0] == b"SET":
            self.values[words[1]] = words[2]
            return b"+OK\r\n"
        if words[0] == b"LRANGE":
            return b"*3\r\n$1\r\na\r\n*2\r\n:7\r\n+x\r\n$-1\r\n"
        value = self.values.get(words[1])
        if self.lie == "closes":
            return None
        if self.lie == "fails":
            return b"-ERR no such luck\r\n"
        if value is None or self.lie == "loses":
            return b"$-1\r\n"
        if self.lie == "corrupts":
            value = value[:-1] + bytes([value[-1] ^ 1])
        return b"$%d\r\n%s\r\n" % (len(value), value)


def tierload(server, *options):
    done = subprocess.run([TIERLOAD, "-p", str(server.port), "--json", "-c", "2", *map(str, options)], capture_output=True, text=True,
        timeout=60)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


FILL = ("-m", "SET key:{key} {value}", "--distribution", "once", "-k", 50, "-r", 50, "-d", "10-900")
READ = ("-k", 50, "-r", 80, "-P", 4, "-d", "10-900")


class Truth(unittest.TestCase):
    """What comes back is compared with what the key says."""

    def read(self, lie):
        server = Liar()
        self.assertEqual(tierload(server, *FILL)[0], 0)
        self.assertEqual(len(server.values), 50)
        self.assertGreater(len({len(value) for value in server.values.values()}), 20)
        server.lie = lie
        return tierload(server, *READ)

    def test_right_values(self):
        status, result, _ = self.read(None)
        self.assertEqual((status, result["requests"], result["missing"], result["wrong"], result["errors"]), (0, 80, 0, 0, 0))

    def test_a_flipped_bit_is_wrong(self):
        status, result, _ = self.read("corrupts")
        self.assertEqual((status, result["wrong"], result["missing"]), (1, 80, 0))

    def test_a_lost_value_is_missing(self):
        _, result, _ = self.read("loses")
        self.assertEqual((result["missing"], result["wrong"]), (80, 0))

    def test_an_error_is_counted_and_told(self):
        status, result, _ = self.read("fails")
        self.assertEqual((status, result["errors"], result["first_error"]), (1, 80, "-ERR no such luck"))

    def test_a_closed_connection_ends_the_run(self):
        status, result, text = self.read("closes")
        self.assertEqual((status, result), (2, None))
        self.assertIn("the server closed a connection", text)

    def test_nested_replies_have_an_end(self):
        status, result, _ = tierload(Liar(), "-m", "LRANGE list 0 -1", "-r", 20, "-P", 5)
        self.assertEqual((status, result["requests"], result["errors"]), (0, 20, 0))

    def test_latency_counts_from_the_intended_start(self):
        """A stall at the head makes all requests late that should have begun meanwhile; a closed loop sees one."""
        closed = tierload(Liar(stall=0.3), "-c", 1, "-r", 100)[1]["latency_us"]
        opened = tierload(Liar(stall=0.3), "-c", 1, "-r", 100, "--rate", 1000)[1]["latency_us"]
        self.assertGreater(opened["p50"], 100_000)
        self.assertLess(closed["p50"], 100_000)

    def test_a_trace_is_replayed(self):
        server = Liar()
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write("time,op,key,size\n5,set,a,30\n6,get,a,30\n7,set,b,70\n9,get,c,10\n")
            file.flush()
            status, result, _ = tierload(server, "-c", 1, "--trace", file.name, "-m", "GET t:{key}; SET t:{key} {value}", "--fill-missing")
        self.assertEqual((status, result["requests"], result["missing"], result["wrong"]), (0, 5, 1, 0))
        self.assertEqual([words[0] for words in server.seen], [b"SET", b"GET", b"SET", b"GET", b"SET"])
        self.assertEqual([len(words[2]) for words in server.seen if words[0] == b"SET"], [30, 70, 10])

    def test_what_makes_no_sense_is_refused(self):
        for options in (["-m", "GET {kee}"], ["--distribution", "zipf"], ["-d", "0"], ["--trace", "/nowhere.csv"], ["--format", "http"]):
            self.assertNotEqual(tierload(Liar(), *options)[0], 0, options)


MORTAL = """
import os, socket
listener = socket.create_server(("127.0.0.1", 7399))
while True:
    client = listener.accept()[0]
    if client.recv(100):
        print("out of luck", flush=True)
        os._exit(7)
"""


class Mortal(servers.Server):
    """Dies of its first request."""
    port = 7399

    def __init__(self, bench):
        super().__init__(bench, "mortal", [sys.executable, "-c", MORTAL], f"{bench.directory}/mortal", core=None)


class Deaths(unittest.TestCase):
    """A server that dies while it is measured is told of, and the others go on."""

    def test_a_death_is_reported(self):
        with tempfile.TemporaryDirectory() as directory:
            os.environ["TIERD_BENCH_DIR"] = f"{directory}/servers"
            bench = session.Bench(os.path.dirname(os.path.dirname(HERE)), directory, True, None)
            self.addCleanup(bench.witness.stop)
            bench.say, bench.scenario = lambda text: None, "deaths"
            other = Liar()
            other.name, other.pid, other.format, other.command, other.alive = "other", 0, "resp", [], True
            dying = Mortal(bench)
            running = [dying, other]
            bench.rounds(3, running, lambda server, number: bench.load("GETs", server, "-r", 10, repeat=number))
            bench.save()
            self.assertEqual(running, [other])
            self.assertEqual([problem["text"] for problem in bench.problems], ["mortal ended with status 7: out of luck"])
            found = records.Records(f"{directory}/raw/deaths.json", session.Bench.NOISE)
            self.assertEqual(len(found.of("GETs", "other")), 3)
            self.assertEqual(found.problems, bench.problems)
            with self.assertRaises(records.Missing):
                found.figure("GETs", "mortal")

    def test_a_missing_rival_is_told_of(self):
        with tempfile.TemporaryDirectory() as directory:
            os.environ["TIERD_BENCH_DIR"] = f"{directory}/servers"
            bench = session.Bench("/nowhere", directory, True, None)
            self.addCleanup(bench.witness.stop)
            nowhere = type("Nowhere", (servers.Server,), {"program": "no-such-server"})
            self.assertEqual(bench.available([nowhere, servers.Tierd]), [servers.Tierd])
            self.assertEqual(bench.problems[0]["text"], "no-such-server is not in PATH: skipped")

    def test_a_pause_of_the_machine_is_told_of(self):
        with tempfile.TemporaryDirectory() as directory:
            watching = witness.Witness(directory, ["0"])
            self.addCleanup(watching.stop)
            while watching.processes[0].poll() is None and not os.path.exists(watching.files[0]):
                pass
            began = time.monotonic()
            # Again, since the first stop may come before it has begun to watch.
            while (longest := watching.longest(began, time.monotonic())) is not None and longest < 250:
                self.assertLess(time.monotonic(), began + 60)
                watching.processes[0].send_signal(signal.SIGSTOP)
                threading.Event().wait(0.3)
                watching.processes[0].send_signal(signal.SIGCONT)
                threading.Event().wait(0.05)
            if longest is None:
                self.skipTest("real-time priority is not allowed here")
            self.assertEqual(watching.longest(began - 20, began - 10), 0)
            watching.processes[0].kill()
            watching.processes[0].wait()
            self.assertIsNone(watching.longest(began, began + 1))
            self.assertIn("250 ms", records.paused({"machine_pause_ms": 3}, {"machine_pause_ms": 250}))
            self.assertIn("not known", records.paused({"machine_pause_ms": None}))
            self.assertIn("did not pause", records.paused({"machine_pause_ms": 0.0}))
            self.assertIn("in 1 of 2 runs", records.disturbed([{"machine_pause_ms": 30}, {"machine_pause_ms": 1}, {"machine_pause_ms": None}, {}]))
            self.assertEqual(records.disturbed([{"machine_pause_ms": 1}, {}]), "")

    def test_many_runs_are_named_in_short(self):
        self.assertEqual(records.short_ids(["a-1", "a-2", "a-3", "a-9"]), "a-1…3, a-9")
        self.assertEqual(records.short_ids([f"a-{n}" for n in range(1, 80, 2)]), "a-1…79 (40 of them)")

    def test_figures_that_spread_are_noisy(self):
        steady, noisy = (records.Figure(values, ["a-1", "a-2", "a-3"], 0.15) for values in ([100, 101, 99], [100, 130, 90]))
        self.assertFalse(steady.noisy)
        self.assertTrue(noisy.noisy)
        self.assertTrue(steady.over(noisy).noisy)


if __name__ == "__main__":
    unittest.main()
