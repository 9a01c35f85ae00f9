#!/usr/bin/env python3
"""Measures the engine's table (Benchmarks/RESULTS.md) beside redis-server, memcached and fio.

usage: Benchmarks/engine.py [row …]      rows: ram cold memory ingest pauses extstore amplification loops hitratio

Server on core 0, load on core 1; servers that are compared run side by side in one run. Every
result is a line of JSON on standard output and in Benchmarks/report/engine.jsonl, with its command.
Needs: redis-server, memcached, fio (Debian), redis-py; builds of tierd and of Benchmarks.
"""
import json, os, shutil, signal, socket, statistics, subprocess, sys, threading, time
import redis

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TIERD = f"{ROOT}/.build/release/tierd"
TOOLS = f"{ROOT}/Benchmarks/.build/release"
DIRECTORY = os.environ.get("TIERD_BENCH_DIR", "/var/tmp/tierd-bench")
REPORT = f"{ROOT}/Benchmarks/report/engine.jsonl"
TRACE = os.environ.get("TIERD_BENCH_TRACE", "cloudphysics_io.csv.gz")


def note(row, **facts):
    line = json.dumps({"row": row, **facts})
    print(line, flush=True)
    with open(REPORT, "a") as f:
        f.write(line + "\n")


class Server:
    def __init__(self, name, port, command, core="0", cgroup=None):
        self.name, self.port = name, port
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            sys.exit(f"{name}: someone listens on port {port} already")
        except OSError:
            pass
        enter = ["sh", "-c", f"echo $$ > {cgroup}/cgroup.procs && exec \"$@\"", "sh"] if cgroup else []
        pin = ["taskset", "-c", core] if core else []
        self.command = command
        self.process = subprocess.Popen(enter + pin + command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if self.process.poll() is not None:
                    sys.exit(f"{name} ended at start: {' '.join(command)}")
                time.sleep(0.01)

    @property
    def pid(self):
        return self.process.pid

    def rss(self):
        return int(open(f"/proc/{self.pid}/statm").read().split()[1]) * 4096

    def cpu(self):
        """CPU seconds used, of all threads there are."""
        return sum(int(open(f"/proc/{self.pid}/task/{t}/schedstat").read().split()[0])
            for t in os.listdir(f"/proc/{self.pid}/task")) / 1e9

    def client(self):
        return redis.Redis(port=self.port, socket_timeout=300)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def tierd(*options):
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    os.makedirs(DIRECTORY)
    return Server("tierd", 7391, [TIERD, "--port", "7391", "--dir", DIRECTORY, "--io-threads", "1", *options])


def redis_server():
    return Server("redis", 7392, ["redis-server", "--port", "7392", "--save", "", "--appendonly", "no", "--dir", "/tmp"])


def load_command(server, *options):
    return [f"{TOOLS}/tierload", "-p", str(server.port), "--pid", str(server.pid), *map(str, options)]


def load(server, *options, prefix=("taskset", "-c", "1")):
    command = load_command(server, *options)
    done = subprocess.run([*prefix, *command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    result = json.loads(done.stdout)
    result["command"] = "tierload " + " ".join(command[1:])
    if result["errors"] or result["wrong"]:
        print(f"WRONG: {result}", file=sys.stderr)
    return result


def fill(server, keys=1_000_000, *options):
    return load(server, "--sets", 1, "--distribution", "once", "-k", keys, "-r", keys, "-P", 16, *options)


def ram():
    """GET and SET in RAM, Redis and tierd in turn."""
    servers = [redis_server(), tierd()]
    for server in servers:
        fill(server)
    results = {}
    for _ in range(3):
        for pipeline, requests in ((1, 300_000), (16, 1_500_000), (64, 3_000_000)):
            for sets in (0, 1):
                for server in servers:
                    r = load(server, "-P", pipeline, "--sets", sets, "-r", requests)
                    results.setdefault((pipeline, sets, server.name), []).append(r)
    for (pipeline, sets, name), runs in results.items():
        rates = sorted(r["rps"] for r in runs)
        note("ram", server=name, command=runs[0]["command"], pipeline=pipeline, op="SET" if sets else "GET",
             rps=statistics.median(rates), rps_min=rates[0], rps_max=rates[-1],
             cpu_us=statistics.median(r["cpu_us_per_request"] for r in runs),
             p50_us=statistics.median(r["p50_us"] for r in runs), p99_us=statistics.median(r["p99_us"] for r in runs))
    for server in servers:
        server.stop()


def demote_all(server, keys):
    client = server.client()
    names = [b"key:%012d" % i for i in range(keys)]
    for at in range(0, keys, 2000):
        client.execute_command("TIER", "DEMOTE", *names[at:at + 2000])


def fio(depth, core, seconds=8):
    size = os.stat(f"{DIRECTORY}/tier.log").st_blocks * 512
    command = ["fio", "--name=r", f"--filename={DIRECTORY}/tier.log", "--rw=randread", "--bs=4k", "--direct=1",
        "--ioengine=io_uring", f"--iodepth={depth}", f"--size={size // 4096 * 4096}", "--readonly", "--time_based",
        f"--runtime={seconds}", "--output-format=json"]
    done = subprocess.run(["taskset", "-c", core, *command], capture_output=True, text=True, check=True)
    read = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["read"]
    p = read["clat_ns"]["percentile"]
    return {"iops": read["iops"], "p50_us": p["50.000000"] / 1000, "p99_us": p["99.000000"] / 1000,
        "command": " ".join(command)}


def cold():
    """Every value cold: one connection, and enough to load the disk; fio on the same file beside it."""
    keys = 2_000_000
    for _ in range(3):
        server = tierd()
        fill(server, keys)
        hot = load(server, "-c", 1, "-k", keys, "-r", 100_000)
        demote_all(server, keys)
        fio1 = fio(1, "0")
        one = load(server, "-c", 1, "-k", keys, "-r", 60_000)
        note("cold, 1 connection", command=one["command"], hot_p50_us=hot["p50_us"], cold_p50_us=one["p50_us"],
             cold_p99_us=one["p99_us"], fio_qd1_p50_us=fio1["p50_us"], fio_command=fio1["command"],
             over_fio_us=round(one["p50_us"] - hot["p50_us"] - fio1["p50_us"], 1))
        for clients, pipeline in ((64, 1), (12, 8), (16, 8), (16, 16)):
            demote_all(server, keys)
            fio64 = fio(64, "0")
            many = load(server, "-c", clients, "-P", pipeline, "-k", keys, "-r", 400_000)
            note("cold, many connections", command=many["command"], clients=clients, pipeline=pipeline, rps=many["rps"],
                 p99_us=many["p99_us"], cpu_us=many["cpu_us_per_request"], fio_iops=fio64["iops"],
                 fio_p99_us=fio64["p99_us"], share=round(many["rps"] / fio64["iops"], 3),
                 p99_ratio=round(many["p99_us"] / fio64["p99_us"], 2), fio_command=fio64["command"])
        server.stop()


def memory():
    """RSS a key beyond key and value, resident and demoted."""
    keys = 1_000_000
    server = redis_server()
    before = server.rss()
    fill(server, keys)
    note("memory", server="redis", resident=round((server.rss() - before) / keys - 516, 1))
    server.stop()
    for keys in (1_000_000, 4_000_000):
        memory_of_tierd(keys)


def memory_of_tierd(keys):
    server = tierd()
    before = server.rss()
    fill(server, keys)
    resident = (server.rss() - before) / keys - 516
    demote_all(server, keys)
    note("memory", server="tierd", keys=keys, resident=round(resident, 1), demoted=round((server.rss() - before) / keys - 16, 1))
    server.stop()


class Sampler(threading.Thread):
    """Largest RSS of a server, looked at every 5 ms."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.peak, self.ends = server, 0, False
        self.start()

    def run(self):
        while not self.ends:
            self.peak = max(self.peak, self.server.rss())
            time.sleep(0.005)


FIVE = 5_000_000
SMALL = ("--maxmemory", "512mb", "--tier-max-bytes", "8gb")


def ingest():
    """2.5 GB into 512 MiB; hot GETs meanwhile."""
    server = tierd(*SMALL)
    sampler = Sampler(server)
    filled = fill(server, FIVE)
    back = load(server, "--distribution", "once", "-k", FIVE, "-r", FIVE, "-P", 16)
    sampler.ends = True
    tier = server.client().info("tier")
    note("ingest", command=filled["command"], mb_per_s=round(filled["rps"] * 500 / 1e6, 1), rps=filled["rps"],
         errors=filled["errors"], max_us=filled["max_us"], p99_us=filled["p99_us"], rss_peak=sampler.peak,
         rss_share=round(sampler.peak / (512 << 20), 4), read_back=back["requests"], misses=back["misses"],
         wrong=back["wrong"], read_rps=back["rps"], write_amplification=float(tier["tier_write_amplification"]))
    uniform_and_hot(server, "tierd")
    server.stop()


def pauses():
    """Hot GETs at a fixed rate, alone and while 2.5 GB are stored."""
    server = tierd(*SMALL)
    fill(server, 20_000)
    hot = ("-c", 10, "-k", 20_000, "--rate", 2000, "--seconds", 12)
    # Both generators share a core: the one that measures goes first.
    urgent = ("nice", "-n", "-20", "taskset", "-c", "1")
    alone = load(server, *hot, prefix=urgent)
    ingesting = subprocess.Popen(
        ["nice", "-n", "19", "taskset", "-c", "1", *load_command(
            server, "--sets", 1, "--distribution", "once", "-k", FIVE, "-r", FIVE, "-P", 16)], stdout=subprocess.PIPE)
    during = load(server, *hot, prefix=urgent)
    note("hot GET during ingest", command=during["command"], alone_p99_us=alone["p99_us"],
         alone_max_us=alone["max_us"], during_p50_us=during["p50_us"], during_p99_us=during["p99_us"],
         during_max_us=during["max_us"], ingest_went_on=ingesting.poll() is None)
    ingesting.wait()
    server.stop()


def uniform_and_hot(server, name, *options):
    def ram_hits():
        if name != "tierd":
            return None
        tier = server.client().info("tier")
        return tier["tier_ram_hits_total"], tier["tier_cold_reads_total"]

    warm = load(server, "-k", FIVE, "--seconds", 10, *options)
    uniform = load(server, "-k", FIVE, "--seconds", 15, *options)
    note("uniform GET of 5 M", server=name, command=uniform["command"], warm_rps=warm["rps"], rps=uniform["rps"],
         p50_us=uniform["p50_us"], p99_us=uniform["p99_us"], misses=uniform["misses"],
         cpu_us=uniform["cpu_us_per_request"])
    load(server, "-k", FIVE, "--distribution", "hot:0.9:0.02", "-r", 222_222, *options)
    before = ram_hits()
    hot = load(server, "-k", FIVE, "--distribution", "hot:0.9:0.02", "--seconds", 15, "--seed", 2, *options)
    after = ram_hits()
    ratio = None
    if before:
        hits, cold_reads = after[0] - before[0], after[1] - before[1]
        ratio = round(hits / max(1, hits + cold_reads), 4)
    later = load(server, "-k", FIVE, "--distribution", "hot:0.9:0.02", "--seconds", 15, "--seed", 3, *options)
    note("90 % of GETs to 2 %", server=name, command=hot["command"], rps=hot["rps"], p50_us=hot["p50_us"],
         p99_us=hot["p99_us"], ram_hit_ratio=ratio, warm_rps=later["rps"], warm_p99_us=later["p99_us"],
         misses=later["misses"])


def extstore():
    """memcached with extstore, the same keys and loads, RSS and page cache limited by a cgroup."""
    group = "/sys/fs/cgroup/memory/tierd-bench"
    os.makedirs(group, exist_ok=True)
    with open(f"{group}/memory.limit_in_bytes", "w") as f:
        f.write(str(640 << 20))
    path = f"{DIRECTORY}/extstore"
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    os.makedirs(DIRECTORY)
    options = ["-u", "root", "-p", "7393", "-m", "512", "-t", "2", "-c", "1024",
        "-o", f"ext_path={path}:8G,ext_threads=32,ext_recache_rate=2,slab_automove_window=3"]
    server = Server("memcached", 7393, ["memcached", *options], core=None, cgroup=group)
    filled = load(server, "--memcached", "--sets", 1, "--distribution", "once", "-k", FIVE, "-r", FIVE,
                  "--rate", 40000)
    note("extstore fill", command=filled["command"], server=" ".join(server.command), rps=filled["rps"])
    uniform_and_hot(server, "extstore", "--memcached")
    server.stop()


def amplification():
    """Uniform overwrites until 20 × the live data has been written, SSD 70 % full of live data."""
    keys = 1_400_000
    live = keys * 585  # 564-byte records, seven to a block of 4096
    size = live * 10 // 8 >> 20  # an eighth of the keys is newer in RAM
    server = tierd("--maxmemory", "192mb", "--tier-max-bytes", f"{size}mb")
    fill(server, keys)
    client = server.client()
    before = client.info("tier")
    run = load(server, "--sets", 1, "-k", keys, "-r", keys * 20, "-P", 16)
    tier = client.info("tier")
    written = tier["tier_bytes_written_total"] - before["tier_bytes_written_total"]
    note("write amplification", command=run["command"], live_share=round(tier["tier_ssd_live_bytes"] / (size << 20), 3),
         amplification_total=float(tier["tier_write_amplification"]), device_bytes_per_set_byte=round(
         written / (keys * 20 * 564), 2), rps=run["rps"], p99_us=run["p99_us"], max_us=run["max_us"],
         errors=run["errors"], compactions=tier["tier_compactions_total"])
    check = load(server, "--distribution", "once", "-k", keys, "-r", keys, "-P", 16)
    note("write amplification, read back", misses=check["misses"], wrong=check["wrong"], errors=check["errors"])
    server.stop()


def loops():
    done = subprocess.run([f"{TOOLS}/loops", "--repeats", "9", "--seconds", "1"], capture_output=True, text=True)
    note("loops", command="loops --repeats 9 --seconds 1", **json.loads(done.stdout))


def hitratio():
    command = ["hitratio", "--json", "--accesses", "4000000"]
    if os.path.exists(TRACE):
        command += ["--trace", TRACE]
    done = subprocess.run([f"{TOOLS}/{command[0]}", *command[1:]], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        note("hitratio", command=" ".join(command), **json.loads(line))


if __name__ == "__main__":
    os.makedirs(os.path.dirname(REPORT), exist_ok=True)
    rows = {f.__name__: f for f in (ram, cold, memory, ingest, pauses, extstore, amplification, loops, hitratio)}
    wanted = sys.argv[1:] or list(rows)
    if unknown := [name for name in wanted if name not in rows]:
        sys.exit(f"engine.py: no row {unknown[0]}; rows: {' '.join(rows)}")
    for name in wanted:
        print(f"# {name}", flush=True)
        rows[name]()
    shutil.rmtree(DIRECTORY, ignore_errors=True)
