"""Servers that are measured: how each is started, looked at and stopped."""
import os
import shutil
import signal
import socket
import subprocess
import time


class ServerFailed(Exception):
    """A server did not start, or ended while it was measured."""


class Server:
    """One server process of this run. `port` is fixed for each kind, so that commands in the report can be repeated."""

    port = 0
    #: The program looked for in PATH.
    program = ""
    #: What its load generator's --format is.
    format = "resp"

    def __init__(self, bench, name, command, directory, core="0", memory_limit=None, keep=False):
        self.name, self.command, self.directory, self.core = name, command, directory, core
        self.process = None
        bench.started.append(self)
        self.log = f"{directory}.log"
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory, exist_ok=True)
        self.limit = MemoryLimit(memory_limit) if memory_limit else None
        self.start()

    def start(self):
        if listens(self.port):
            raise ServerFailed(f"{self.name}: someone listens on port {self.port} already")
        pin = ["taskset", "-c", self.core] if self.core else []
        enter = self.limit.enter() if self.limit else []
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(enter + pin + self.command, stdout=log, stderr=log, cwd=self.directory)
        while not listens(self.port):
            if self.process.poll() is not None:
                raise ServerFailed(self.death())
            time.sleep(0.005)

    @property
    def pid(self):
        return self.process.pid

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def death(self):
        """How it ended, in one line."""
        with open(self.log, "rb") as log:
            lines = log.read().decode(errors="replace").strip().splitlines()
        return f"{self.name} ended with status {self.process.poll()}: {lines[-1][-160:] if lines else 'it said nothing'}"

    def rss(self):
        return int(open(f"/proc/{self.pid}/statm").read().split()[1]) * 4096

    def cpu(self):
        """CPU seconds used, of all threads there are."""
        return sum(int(open(f"/proc/{self.pid}/task/{thread}/schedstat").read().split()[0])
            for thread in os.listdir(f"/proc/{self.pid}/task")) / 1e9

    def client(self):
        import redis
        return redis.Redis(port=self.port, socket_timeout=300)

    def stop(self, kill=True):
        if self.alive:
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            self.process.wait(300)
        # The kernel closes the sockets of an io_uring a moment after its process is gone.
        while listens(self.port):
            time.sleep(0.01)
        if kill:
            shutil.rmtree(self.directory, ignore_errors=True)


class Tierd(Server):
    port, program = 7391, "tierd"

    def __init__(self, bench, *options, core="0", loops=1, keep=False):
        directory = f"{bench.directory}/tierd"
        super().__init__(bench, "tierd", [bench.tierd, "--port", "7391", "--dir", directory, "--io-threads", str(loops), *options],
            directory, core, keep=keep)

    @property
    def tier_file(self):
        return f"{self.directory}/tier.log"

    def info(self):
        return self.client().info("tier")


class Redis(Server):
    port, program = 7392, "redis-server"

    def __init__(self, bench, *options, core="0", keep=False):
        directory = f"{bench.directory}/redis"
        super().__init__(bench, "redis", [self.program, "--port", "7392", "--dir", directory, "--save", "", "--appendonly", "no",
            *options], directory, core, keep=keep)


class Valkey(Server):
    port, program = 7394, "valkey-server"

    def __init__(self, bench, *options, core="0"):
        directory = f"{bench.directory}/valkey"
        super().__init__(bench, "valkey", [self.program, "--port", "7394", "--dir", directory, "--save", "", "--appendonly", "no",
            *options], directory, core)


class KeyDB(Server):
    port, program = 7395, "keydb-server"

    def __init__(self, bench, core="0"):
        directory = f"{bench.directory}/keydb"
        super().__init__(bench, "keydb", [self.program, "--port", "7395", "--dir", directory, "--save", "", "--appendonly", "no",
            "--server-threads", "1"], directory, core)


class Dragonfly(Server):
    port, program = 7396, "dragonfly"

    def __init__(self, bench, core="0"):
        directory = f"{bench.directory}/dragonfly"
        super().__init__(bench, "dragonfly", [self.program, "--port", "7396", "--dir", directory, "--dbfilename", "",
            "--proactor_threads", "1"], directory, core)


class Garnet(Server):
    port, program = 7397, "GarnetServer"

    def __init__(self, bench, core="0"):
        directory = f"{bench.directory}/garnet"
        super().__init__(bench, "garnet", [self.program, "--port", "7397", "--memory", "4g"], directory, core)


class Kvrocks(Server):
    port, program = 7398, "kvrocks"

    def __init__(self, bench, core="0"):
        directory = f"{bench.directory}/kvrocks"
        super().__init__(bench, "kvrocks", [self.program, "--port", "7398", "--dir", directory, "--workers", "1"], directory, core)


class Extstore(Server):
    """memcached with extstore. Its reads go through the page cache, so a cgroup limits that and its RAM together."""
    port, program, format = 7393, "memcached", "memcached"

    def __init__(self, bench, megabytes, core=None):
        directory = f"{bench.directory}/extstore"
        super().__init__(bench, "extstore", [self.program, "-u", "root", "-p", "7393", "-m", str(megabytes), "-t", "2", "-c", "1024",
            "-o", f"ext_path={directory}/file:8G,ext_threads=32,ext_recache_rate=2,slab_automove_window=3"],
            directory, core, memory_limit=(megabytes + 128) << 20)

    def stats(self):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.sendall(b"stats\r\n")
        text = b""
        while not text.endswith(b"END\r\n"):
            text += s.recv(65536)
        s.close()
        return {words[1].decode(): words[2].decode() for words in (line.split() for line in text.splitlines()) if len(words) == 3}


class MemoryLimit:
    """A cgroup that counts a process's RAM and page cache."""

    def __init__(self, limit):
        self.group = None
        for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
            group = f"{root}/tierd-bench"
            try:
                os.makedirs(group, exist_ok=True)
                with open(f"{group}/{name}", "w") as file:
                    file.write(str(limit))
                self.group = group
                return
            except OSError:
                continue

    def enter(self):
        if not self.group:
            return []
        return ["sh", "-c", f"echo $$ > {self.group}/cgroup.procs && exec \"$@\"", "sh"]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    except OSError:
        return False


#: Servers that keep everything in RAM, or can: those of the throughput scenario.
IN_RAM = (Redis, Tierd, Valkey, KeyDB, Dragonfly, Garnet, Kvrocks)


def found(kind, bench):
    return kind is Tierd or shutil.which(kind.program) is not None
