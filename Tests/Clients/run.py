"""Real clients against a real tierd: redis-py, redis-cli, raw sockets, and redis-server beside it.

Method: starts tierd (1, 2 and 8 loops; plain, cold and tiny) and redis-server 7.0 on Unix sockets
in a temporary directory, and asks both the same. Every wait is for a reply or a counter.
"""
import array, fcntl, os, random, select, shutil, signal, socket, subprocess, sys, tempfile, termios, threading
import time, traceback
import redis

HERE = os.path.dirname(os.path.abspath(__file__))
# Another build than the release: one with a sanitizer (tools/nightly).
BUILD = os.environ.get("TIERD_BUILD", os.path.join(HERE, "../../.build/release"))
TIERD = os.path.join(BUILD, "tierd")
TIERCTL = os.path.join(BUILD, "tierctl")
DIRECTORY = tempfile.mkdtemp(prefix="tierd-", dir=os.environ.get("TIERD_TEST_DIR", "/var/tmp"))
passed, failed = 0, 0
servers = []


class Server:
    """A server process on a Unix socket, ready once it answers."""

    def __init__(self, name, command, environment={}, port=0, data=None):
        """`data`: its `dir`, if that is not where its socket and its log are."""
        servers.append(self)
        self.process = None
        self.directory = os.path.join(DIRECTORY, name)
        os.makedirs(self.directory, exist_ok=True)
        self.path = os.path.join(self.directory, "s")
        self.log = open(os.path.join(self.directory, "log"), "wb")
        self.process = subprocess.Popen(
            command + ["--port", str(port), "--unixsocket", self.path, "--dir", data or self.directory],
            stdout=self.log, stderr=self.log, env={
                **os.environ, "SWIFT_BACKTRACE": os.environ.get("SWIFT_BACKTRACE", "enable=no"), **environment})
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{name} ended: " + open(self.log.name).read())
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(self.path)
                    break
            except OSError:
                os.sched_yield()

    def client(self, **options):
        return redis.Redis(unix_socket_path=self.path, socket_timeout=60, **options)

    def raw(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(60)
        s.connect(self.path)
        return s

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self):
        """Exit status of a server that was told to end."""
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def tierd(name, *options, environment={}, port=0, dump=None, ready=False):
    """A tierd; `dump`: with a copy of this file as its dump.rdb; `ready`: once it has loaded what it has."""
    command = [TIERD, "--tier-max-bytes", "1gb", *options]
    if not dump and not ready:
        return Server(name, command, environment, port)
    if dump:
        os.makedirs(os.path.join(DIRECTORY, name))
        shutil.copy(dump, os.path.join(DIRECTORY, name, "dump.rdb"))
    return LoadedServer(name, command)


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def wait_until(condition, what):
    """Asks until the answer is yes; after a minute it never will be."""
    deadline = time.monotonic() + 60
    while not condition():
        check(time.monotonic() < deadline, f"never: {what}")


def read_all(s):
    data = b""
    try:
        while chunk := s.recv(65536):
            data += chunk
    except (ConnectionResetError, BrokenPipeError):
        pass
    return data


def peak(server, clear=False):
    """The most RAM a server has taken since it was cleared, in MiB."""
    if clear:
        with open(f"/proc/{server.process.pid}/clear_refs", "w") as file:
            file.write("5")
    with open(f"/proc/{server.process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) >> 10


# Bad input ----------------------------------------------------------------------------------------

def malformed_requests():
    """Each malformed request gets its error and its connection closed; the server goes on."""
    server = tierd("malformed", "--io-threads", "1")
    table = [
        (b"*5000000000\r\n", b"-ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n$-7\r\n", b"-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$99999999999\r\n", b"-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n:5\r\n", b"-ERR Protocol error: expected '$', got ':'"),
        (b"\"unbalanced\r\n", b"-ERR Protocol error: unbalanced quotes"),
        (b"x" * 70000, b"-ERR Protocol error: too big inline request"),
        (b"*" + b"1" * 70000, b"-ERR Protocol error: too big mbulk count string"),
    ]
    for request, wanted in table:
        with server.raw() as s:
            s.sendall(request)
            got = read_all(s)
            check(got.startswith(wanted), f"{request[:30]!r}: {got[:80]!r}")
    with server.raw() as s:
        for byte in b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nab\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n":
            s.sendall(bytes([byte]))
        got = b""
        while len(got) < 13:
            got += s.recv(100)
        check(got == b"+OK\r\n$2\r\nab\r\n", got)
    garbage = os.urandom(1 << 20)
    with server.raw() as s:
        try:
            for _ in range(64):
                s.sendall(garbage)
        except OSError:
            pass
    check(server.client().get("k") == b"ab", "served after garbage")
    server.stop()


def too_many_clients():
    server = tierd("maxclients", "--maxclients", "3", "--io-threads", "1")
    first = []
    while len(first) < 3:  # the probe that waited for the server may still be closing
        s = server.raw()
        try:
            s.sendall(b"PING\r\n")
            if s.recv(100) == b"+PONG\r\n":
                first.append(s)
        except OSError:
            s.close()
    with server.raw() as s:
        check(read_all(s) == b"-ERR max number of clients reached\r\n", "refused")
    first[0].close()
    while True:
        with server.raw() as s:
            try:
                s.sendall(b"PING\r\n")
                if s.recv(100) == b"+PONG\r\n":
                    break
            except OSError:
                continue
    server.stop()


def out_of_descriptors():
    """Without a descriptor for a new client the server waits, says so once, and serves the others.

    Method: CPU time is taken around a PING that CLIENT PAUSE holds up for a second.
    """
    server = Server("descriptors", [
        "prlimit", "--nofile=30:30", TIERD, "--tier-max-bytes", "1gb", "--io-threads", "1"])
    pid = server.process.pid
    client = server.client()
    client.ping()
    sockets = [server.raw() for _ in range(40)]
    for s in sockets:
        s.sendall(b"PING\r\n")
    for s in sockets[:3]:
        check(s.recv(100) == b"+PONG\r\n", "served")
    client.execute_command("CLIENT", "PAUSE", "200")
    client.ping()

    def cpu_ticks():
        return sum(int(word) for word in open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[11:13])

    before = cpu_ticks()
    client.execute_command("CLIENT", "PAUSE", "1000")
    check(client.ping(), "others are served")
    used = (cpu_ticks() - before) / os.sysconf("SC_CLK_TCK")
    check(used < 0.3, f"{used} seconds of CPU time in one second of waiting")
    for s in sockets:
        s.close()
    check(server.client().ping(), "served again")
    check(open(server.log.name).read().count("accepting connections failed") == 1, "said once")
    check(server.stop() == 0, "exit status")


def client_that_never_reads():
    """Its replies wait in bounded memory; others are served; nothing is lost when it does read."""
    server = tierd("neverreads", "--io-threads", "1", "--maxmemory", "256mb")
    value = os.urandom(100_000)
    server.client().set("big", value)
    with server.raw() as s:
        count = 2000
        s.sendall(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n" * count)
        other = server.client()
        check(other.ping() and other.set("x", 1), "others are served")
        held = int(other.client_list()[0]["tot-mem"])
        check(held < 8 << 20, f"one slow client holds {held} bytes")
        want = len(value) + len(b"$100000\r\n\r\n")
        got = 0
        while got < want * count:
            got += len(s.recv(1 << 20))
        check(got == want * count, "every reply arrives")
    server.stop()


def reply_larger_than_a_send():
    """One reply of 1.2 GB, more than one send takes: every byte arrives, others are served."""
    server = tierd("largereply", "--io-threads", "1")
    size = 400_000_000
    check(server.client().setrange("big", size - 1, "x") == size, "SETRANGE")
    value = len(b"$%d\r\n\r\n" % size) + size
    with server.raw() as s:
        s.sendall(b"MGET big big big\r\n")
        got, tail = 0, b""
        while got < 4 + 3 * value:
            chunk = s.recv(1 << 20)
            check(chunk, f"closed after {got} bytes")
            got += len(chunk)
            tail = (tail + chunk)[-100:]
        check(got == 4 + 3 * value and tail.endswith(b"\0x\r\n"), f"{got} bytes, {tail[-10:]!r}")
        s.sendall(b"PING\r\n")
        check(s.recv(100) == b"+PONG\r\n", "the next reply")
    check(server.client().ping(), "served")
    check(server.stop() == 0, "exit status")


def output_limits():
    """client-output-buffer-limit: over the hard limit closed at once, over the soft one after its time."""
    server = tierd("outputlimits", "--io-threads", "1")
    client = server.client()
    client.set("small", b"x" * (2 << 20))
    client.set("large", b"x" * (12 << 20))
    closed = lambda: open(server.log.name).read().count("closed: client-output-buffer-limit")
    check(client.config_set("client-output-buffer-limit", "normal 8mb 0 0"), "hard")
    check(client.get("small") == b"x" * (2 << 20), "within the hard limit")
    with server.raw() as s:
        s.sendall(b"GET large\r\n")
        check(len(read_all(s)) < 12 << 20, "closed before its reply was whole")
    check(closed() == 1, "hard: one line")
    check(client.config_set("client-output-buffer-limit", "normal 0 1mb 2"), "soft")
    with server.raw() as s, server.raw() as slow:
        slow.sendall(b"CLIENT SETNAME slow\r\n")
        slow.recv(100)
        began = time.monotonic()
        slow.sendall(b"GET large\r\n")

        def slow_is_gone():
            # Reads all there is: over the limit now and then, but never for long.
            s.sendall(b"GET large\r\n")
            left = len(b"$12582912\r\n\r\n") + (12 << 20)
            while left:
                chunk = s.recv(1 << 20)
                check(chunk, "a client that reads was closed")
                left -= len(chunk)
            return all(c["name"] != "slow" for c in client.client_list())

        wait_until(slow_is_gone, "the slow client is closed")
        check(time.monotonic() - began >= 2, "the soft limit's time")
        check(len(read_all(slow)) < 12 << 20, "closed")
        s.sendall(b"PING\r\n")
        check(s.recv(100) == b"+PONG\r\n", "a client that reads stays")
    check(closed() == 2, "soft: one line")
    server.stop()


def pause():
    """CLIENT PAUSE holds up clients of all loops until UNPAUSE or its time; WRITE only writers."""
    server = tierd("pause", "--io-threads", "4")
    admin = server.client()
    check(admin.execute_command("CLIENT", "PAUSE", "100000", "WRITE"), "PAUSE")
    waiting = [server.raw() for _ in range(8)]
    gone = server.raw()
    for i, s in enumerate(waiting + [gone]):
        s.sendall(b"GET x\r\nSET k%d v\r\nGET k%d\r\n" % (i, i))
        check(s.recv(5) == b"$-1\r\n", "reads go on")
    wait_until(lambda: sum(int(c["qbuf"]) > 0 for c in admin.client_list()) == 9, "all writes have come in")
    check(not select.select(waiting, [], [], 0)[0] and admin.dbsize() == 0, "writes wait")
    gone.close()
    wait_until(lambda: len(admin.client_list()) == 9, "one has left")
    check(admin.execute_command("CLIENT", "UNPAUSE"), "UNPAUSE")
    for s in waiting:
        got = b""
        while len(got) < 12:
            got += s.recv(100)
        check(got == b"+OK\r\n$1\r\nv\r\n", got)
    check(admin.dbsize() == 8, "who has left does not write")
    began = time.monotonic()
    check(admin.execute_command("CLIENT", "PAUSE", "300"), "PAUSE")
    for s in waiting:
        s.sendall(b"GET k0\r\n")
    for s in waiting:
        check(s.recv(100) == b"$1\r\nv\r\n" and time.monotonic() - began >= 0.3, "the pause has ended")
    check(server.stop() == 0, "exit status")


def conditional_writes():
    """SET IFEQ (Valkey 8.1) and DELIFEQ (Valkey 9.0) change a key only if it holds the value given."""
    server = tierd("conditional", "--io-threads", "1")
    client = server.client(decode_responses=True)
    client.set_response_callback("SET", lambda reply, **_: reply)
    ask = client.execute_command
    refused = [["k", "v", "IFEQ"], ["k", "v", "IFEQ", "x", "NX"], ["k", "v", "XX", "IFEQ", "x"]]
    for words in refused:
        try:
            check(False, f"{words}: {ask('SET', *words)}")
        except redis.ResponseError as error:
            check(str(error) == "syntax error", error)
    check(ask("SET", "k", "v", "IFEQ", "x") is None and ask("EXISTS", "k") == 0, "absent")
    for cold in (False, True):
        ask("SET", "k", "old")
        if cold:
            ask("TIER", "DEMOTE", "k")
        check(ask("SET", "k", "new", "IFEQ", "other") is None and ask("GET", "k") == "old", "another value")
        check(ask("SET", "k", "new", "IFEQ", "other", "GET") == "old" and ask("GET", "k") == "old", "GET")
        if cold:
            ask("TIER", "DEMOTE", "k")
        check(ask("SET", "k", "new", "ifeq", "old", "EX", "1000") == "OK" and ask("GET", "k") == "new", "equal")
        check(ask("TTL", "k") > 900 and ask("SET", "k", "x", "IFEQ", "new", "GET") == "new", "with GET")
        check(ask("DELIFEQ", "k", "y") == 0 and ask("GET", "k") == "x", "DELIFEQ of another value")
        if cold:
            ask("TIER", "DEMOTE", "k")
        check(ask("DELIFEQ", "k", "x") == 1 and ask("DELIFEQ", "k", "x") == 0, "DELIFEQ")
    server.stop()


def command_tables():
    """Every row says the same as Redis's: tools/check-commands; docs/commands.md is current."""
    for tool in (["check-commands"], ["list-commands", "--check"]):
        done = subprocess.run(
            [sys.executable, os.path.join(HERE, "../../tools", tool[0]), *tool[1:]], capture_output=True, text=True)
        check(done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:])


def maxmemory_lowered():
    """CONFIG SET maxmemory below what is in use: the resident set follows, and nothing is lost."""
    server = tierd("lowered", "--io-threads", "2", "--maxmemory", "256mb")
    client = server.client()
    for i in range(150):
        client.set(f"k{i}", random.Random(i).randbytes(1 << 20))
    check(client.info("memory")["used_memory_rss"] > 150 << 20, "in RAM")
    client.config_set("maxmemory", "64mb")
    most = 1.05 * (64 << 20) + (8 << 20)
    wait_until(lambda: client.info("memory")["used_memory_rss"] <= most, "RSS follows maxmemory")
    for i in range(150):
        check(client.get(f"k{i}") == random.Random(i).randbytes(1 << 20), f"k{i}")
    check(server.stop() == 0, "exit status")


def disconnect_while_reading():
    """A client goes away while its cold reads are on their way; the server and the keys stay well."""
    server = tierd("disconnect", "--io-threads", "2")
    client = server.client()
    keys = [f"k{i}" for i in range(500)]
    for key in keys:
        client.set(key, key * 100)
    for _ in range(20):
        client.execute_command("TIER", "DEMOTE", *keys)
        with server.raw() as s:
            s.sendall(b"".join(b"GET %s\r\n" % key.encode() for key in keys))
    check(client.mget(keys) == [(key * 100).encode() for key in keys], "values")
    check(client.info("tier")["tier_crc_errors_total"] == 0, "no checksum error")
    server.stop()


def disconnect_while_sending():
    """A client ends while its reply is on its way: what it still asked for is not run.

    Method: the end comes when the server has taken the requests and copies a large value, so that
    it is seen together with the shortfall of the send.
    """
    server = tierd("ended", "--io-threads", "1")
    client = server.client()
    client.set("big", b"x" * (64 << 20))
    for i in range(10):
        with server.raw() as s:
            s.sendall(b"GET big\r\nINCR n\r\n")
            unread = array.array("i", [1])
            while unread[0]:
                fcntl.ioctl(s, termios.TIOCOUTQ, unread)
            s.shutdown(socket.SHUT_WR)
            read_all(s)
    check(client.get("n") is None, "nobody has read the reply before INCR")
    check(client.ping() and server.stop() == 0, "exit status")


def refused(arguments, wanted, name, prepare=None):
    directory = os.path.join(DIRECTORY, name)
    os.makedirs(directory)
    if prepare:
        prepare(directory)
    done = subprocess.run([TIERD, "--port", "0", "--unixsocket", directory + "/s", "--dir", directory, *arguments],
        capture_output=True, text=True, timeout=60)
    check(done.returncode == 1, f"{name}: exit status {done.returncode}")
    check(wanted in done.stderr and done.stderr.count("\n") == 1, f"{name}: {done.stderr!r}")


def start_is_refused():
    """Every reason not to start is one line, and exit status 1."""
    def foreign(directory):
        with open(directory + "/tier.log", "wb") as f:
            f.write(b"someone's data" * 1000)
    refused([], "not a tier file", "foreign", foreign)
    check(open(DIRECTORY + "/foreign/tier.log", "rb").read(14) == b"someone's data", "left as it was")
    refused(["--tier-max-bytes", "1mb"], "tier-max-bytes is too small", "small")
    refused(["--nonsense", "1"], "nonsense", "unknown")
    refused(["--maxmemory", "lots"], "maxmemory", "badvalue")
    refused(["--databases", "16385"], "between 1 and 16384", "databases")
    refused(["--tier-path", "/nowhere/tier.log"], "No such file", "nowhere")
    refused(["--tier-path", "/proc/tier.log"], "/proc/tier.log", "readonly")
    server = tierd("locked", "--io-threads", "1")
    refused(["--tier-path", server.directory + "/tier.log"], "another server", "second")
    server.stop()


def allocations():
    """GET and SET of values in RAM allocate nothing; a GET of a demoted one its value."""
    shim, counter = os.path.join(DIRECTORY, "malloc_count.so"), os.path.join(DIRECTORY, "malloc_count")
    subprocess.run(["clang", "-O2", "-shared", "-fPIC", "-o", shim, os.path.join(HERE, "malloc_count.c")], check=True)
    open(counter, "wb").write(bytes(8))
    count = lambda: int.from_bytes(open(counter, "rb").read(), "little")
    server = tierd("allocations", "--io-threads", "1", environment={"LD_PRELOAD": shim, "MALLOC_COUNT": counter})
    client, keys = server.client(), [f"k{i}" for i in range(1000)]
    raw = server.raw()
    check(count() > 0, "the shim counts")

    def ask(command, *words, reply):
        """1000 requests, 50 at a time, and all their replies."""
        requests = [f"{command} {key} {' '.join(words)}".split() for key in keys]
        for at in range(0, 1000, 50):
            raw.sendall(b"".join(encode(words) for words in requests[at:at + 50]))
            left = 50 * len(reply)
            while left:
                left -= len(raw.recv(left))

    value = "x" * 500
    rows = [("SET", (value,), b"+OK\r\n"), ("GET", (), b"$500\r\n" + value.encode() + b"\r\n")]
    for command, words, reply in rows:
        for _ in range(3):
            ask(command, *words, reply=reply)
        before = count()
        for _ in range(20):
            ask(command, *words, reply=reply)
        spent = (count() - before) / 20_000
        check(spent < 0.02, f"{command}: {spent} allocations a request")
    for _ in range(2):
        client.execute_command("TIER", "DEMOTE", *keys)
        before = count()
        ask("GET", reply=rows[1][2])
    spent = (count() - before) / 1000
    check(spent < 1.2, f"GET of a demoted value: {spent} allocations a request")
    server.stop()


def flipped_bit():
    """A damaged record is an error and a counter, never a wrong value; the rest is served."""
    server = tierd("flipped", "--io-threads", "1")
    client = server.client()
    for i in range(50):
        client.set(f"k{i}", f"value {i} " * 50)
    client.execute_command("TIER", "DEMOTE", *[f"k{i}" for i in range(50)])
    path = server.directory + "/tier.log"
    with open(path, "r+b") as f:
        data = f.read(8 << 20)
        at = data.index(b"value 7 ")
        f.seek(at + 3)
        f.write(bytes([data[at + 3] ^ 4]))
        f.flush()
        os.fsync(f.fileno())
    subprocess.run(["sync", path])
    errors = 0
    for i in range(50):
        try:
            check(client.get(f"k{i}") == (f"value {i} " * 50).encode(), f"k{i}")
        except redis.ResponseError as error:
            check("IOERR" in str(error) and i == 7, f"k{i}: {error}")
            errors += 1
    check(errors == 1, "exactly the damaged one fails")
    check(client.info("tier")["tier_crc_errors_total"] >= 1, "counted")
    done = subprocess.run([TIERCTL, "backup", "-s", server.path], capture_output=True, text=True)
    check(done.returncode == 2 and "WARNING: 1 keys are not in it" in done.stderr and "49 keys" in done.stdout, done)
    facts = client.info("persistence")
    check(facts["backup_last_status"] == "ok" and facts["backup_last_unreadable_keys"] == 1, facts)
    check(client.save() and client.info("persistence")["rdb_last_bgsave_unreadable_keys"] == 1, "the same for SAVE")
    check("dump.rdb: 1 keys are not in it" in open(server.log.name).read(), "told in the log")
    check(client.set("k7", "new") and client.get("k7") == b"new", "overwriting heals")
    check(client.save() and client.info("persistence")["rdb_last_bgsave_unreadable_keys"] == 0, "and is saved")
    server.stop()


def retired_segments():
    """Segments that have emptied are kept for the append-only file's base, and told."""
    server = tierd("retired", "--io-threads", "1", "--appendonly", "yes", "--tier-segment-bytes", "64kb")
    client = server.client()
    for _ in range(2):
        for i in range(100):
            client.set(f"k{i}", os.urandom(8000))
        client.execute_command("TIER", "DEMOTE", *[f"k{i}" for i in range(100)])
    wait_until(lambda: client.info("tier")["tier_segments_retired"] > 0, "retired segments")
    shown = subprocess.run([TIERCTL, "stats", "-s", server.path], capture_output=True, text=True)
    check("kept for the append-only file's base: " in shown.stdout, shown)
    server.stop()


def memory_is_bounded():
    """Growth that the words of a request do not show is refused or waited for as any other."""
    server = Server("bounded", [TIERD, "--tier-max-bytes", "64mb", "--io-threads", "1", "--maxmemory", "96mb"])
    client = server.client()
    def refuses(*words):
        try:
            client.execute_command(*words)
        except redis.exceptions.OutOfMemoryError:
            return True
        return False
    check(refuses("SETRANGE", "big", 400_000_000, "x"), "SETRANGE beyond maxmemory")
    client.set("source", os.urandom(20_000_000))
    copied = sum(not refuses("COPY", "source", f"copy{i}") for i in range(20))
    check(1 <= copied < 20, f"{copied} copies of 20 MB in 96 MB of RAM and 64 MB of SSD")
    rss = int(client.info("memory")["used_memory_rss"])
    check(rss <= 1.05 * (96 << 20), f"RSS {rss}")
    server.stop()


def compaction_ends():
    """TIER COMPACT goes once through what is there, also when records leave blocks open."""
    server = tierd("compact", "--io-threads", "2")
    client = server.client()
    for i in range(300):
        client.set(f"k{i}", os.urandom(300_000))
    client.execute_command("TIER", "DEMOTE", *[f"k{i}" for i in range(300)])
    for i in range(0, 300, 3):
        client.delete(f"k{i}")
    client.execute_command("TIER", "COMPACT")
    written = -1
    while True:
        now = client.info("tier")["tier_bytes_written_total"]
        check(now < 400_000_000, f"{now} bytes written for 90 MB")
        client.get("k1")
        if now == written and client.info("tier")["tier_compactions_total"] > 0:
            break
        written = now
    check(client.strlen("k1") == 300_000 and len(client.get("k200")) == 300_000, "values")
    server.stop()


def last_database():
    """With as many databases as there may be, values of the last one go to the SSD and come back."""
    server = tierd("lastdatabase", "--io-threads", "1", "--databases", "16384")
    client = server.client(db=16383)
    check(client.set("k", "v" * 1000), "SET")
    client.execute_command("TIER", "DEMOTE", "k")
    check(client.execute_command("TIER", "RESIDENCY", "k")[0] == b"demoted", "demoted")
    check(client.get("k") == b"v" * 1000 and server.client(db=1).get("k") is None, "GET")
    check(client.info("memory")["used_memory_rss"] < 128 << 20, "tables of empty databases are small")
    server.stop()


def more_segments_than_a_log_has():
    """A tier file for a million segments: log, file and tierctl agree how many there are."""
    server = tierd("segments", "--io-threads", "1", "--tier-max-bytes", "64gb", "--tier-segment-bytes", "64kb")
    client = server.client()
    keys = [f"k{i}" for i in range(1000)]
    for key in keys:
        client.set(key, key * 100)
    check(client.execute_command("TIER", "DEMOTE", *keys) == 1000, "demoted")
    check(server.stop() == 0, "exit status")
    done = subprocess.run([TIERCTL, "verify", server.directory + "/tier.log"], capture_output=True, text=True)
    check("1,000 records" in done.stdout and "all sound" in done.stdout, done.stdout + done.stderr)
    check("524287 segments" in open(server.log.name).read(), "the log says so")


def full_disk():
    """No room for demotion: noeviction answers OOM and keeps everything; allkeys-lru evicts."""
    options = ["--io-threads", "1", "--maxmemory", "64mb", "--tier-segment-bytes", "1mb"]
    server = Server("full", [TIERD, "--tier-max-bytes", "32mb", *options])
    client = server.client()
    stored, refusals = [], 0
    for i in range(400):
        try:
            client.set(f"k{i}", random.Random(i).randbytes(300_000))
            stored.append(i)
        except redis.exceptions.OutOfMemoryError:
            refusals += 1
    check(refusals > 0 and len(stored) > 150, f"{len(stored)} stored, {refusals} refused")
    for i in stored:
        check(client.get(f"k{i}") == random.Random(i).randbytes(300_000), f"k{i} lost")
    check(client.config_set("maxmemory-policy", "allkeys-lru"), "policy")
    for i in range(400, 700):
        client.set(f"k{i}", random.Random(i).randbytes(300_000))
    check(client.info("stats")["evicted_keys"] > 0, "evicted")
    check(client.get("k699") == random.Random(699).randbytes(300_000), "newest is there")
    server.stop()


# As users run it ----------------------------------------------------------------------------------

def redis_py_tour():
    """redis-py in RESP2 and RESP3, two loops, small RAM, most values cold."""
    server = tierd("tour", "--io-threads", "2", "--maxmemory", "32mb")
    for protocol in (2, 3):
        client = server.client(protocol=protocol)
        client.flushall()
        for i in range(20000):
            client.set(f"k{i}", f"{i}:" + "x" * 2000) if i % 100 == 0 else None
        pipe = client.pipeline(transaction=False)
        for i in range(40000):
            pipe.set(f"k{i}", f"{i}:" + str(i) * 300)
        check(all(pipe.execute()), "pipeline of SET")
        pipe = client.pipeline(transaction=False)
        for i in range(40000):
            pipe.get(f"k{i}")
        for i, value in enumerate(pipe.execute()):
            check(value == (f"{i}:" + str(i) * 300).encode(), f"k{i}")
        check(client.dbsize() == 40000, "dbsize")
        check(sum(1 for _ in client.scan_iter(count=500)) == 40000, "scan")
        info = client.info()
        check(info["tier_items_demoted"] > 0, "something is cold")
        check(info["used_memory_rss"] <= 1.05 * (32 << 20) + (8 << 20), f"RSS {info['used_memory_rss']}")
        check(client.config_get("maxmemory")["maxmemory"] == str(32 << 20), "config get")
        client.client_setname("tour")
        check(any(c["name"] == "tour" for c in client.client_list()), "client list")
        check(client.expire("k1", 100) and 98 <= client.ttl("k1") <= 100, "ttl")
        check(client.incr("n") == 1 and client.incrbyfloat("f", 0.5) == 0.5, "counters")
        check(client.execute_command("TIER", "RESIDENCY", "k1", "nope")[1] == b"absent", "residency")
    check(server.stop() == 0, "exit status")
    done = subprocess.run([TIERCTL, "verify", server.directory + "/tier.log"], capture_output=True, text=True)
    check(done.returncode == 0 and "all sound" in done.stdout, done.stdout + done.stderr)


def redis_cli_and_tierctl():
    server = tierd("cli", "--requirepass", "secret", "--io-threads", "1")
    def cli(*words):
        return subprocess.run(["redis-cli", "-s", server.path, *words], capture_output=True, text=True,
            env={**os.environ, "REDISCLI_AUTH": "secret"}).stdout.strip()
    check(cli("set", "a", "1") == "OK" and cli("incr", "a") == "2", "redis-cli")
    check("tier_items_resident:1" in cli("info", "tier"), "info")
    def ctl(*words, auth="secret"):
        return subprocess.run([TIERCTL, *words], capture_output=True, text=True,
            env={**os.environ, "REDISCLI_AUTH": auth})
    shown = ctl("stats", "-s", server.path)
    check(shown.returncode == 0 and "in RAM" in shown.stdout, shown.stderr)
    check('"tier_items_resident": 1' in ctl("stats", "-s", server.path, "--json").stdout, "json")
    check(ctl("stats", "-s", server.path, auth="wrong").returncode == 1, "wrong password")
    server.stop()


def many_loops():
    """8 loops and 16 clients on the same keys: every increment counts, whatever is cold."""
    server = tierd("loops", "--io-threads", "8", "--maxmemory", "64mb")
    clients = [server.client() for _ in range(16)]
    for round in range(40):
        for number, client in enumerate(clients):
            pipe = client.pipeline(transaction=False)
            for i in range(50):
                pipe.incr(f"n{i}")
                pipe.append(f"s{i}", "x" * 20)
                pipe.set(f"p{number}:{round}:{i}", "y" * 3000)
            pipe.execute()
        keys = [f"n{i}" for i in range(50)] + [f"s{i}" for i in range(50)]
        clients[0].execute_command("TIER", "DEMOTE", *keys)
    for i in range(50):
        check(clients[1].get(f"n{i}") == b"640", f"n{i}")
        check(clients[2].strlen(f"s{i}") == 640 * 20, f"s{i}")
    check(len(clients[3].keys("p*")) == 16 * 40 * 50, "keys")
    check(clients[4].flushall() and clients[5].dbsize() == 0, "flush")
    server.stop()


def stop_while_stopping_the_world():
    """SIGTERM while clients on all loops stop the world: the server ends, and the file is sound.

    Method: a loop that has ended must not be waited for by one that wants to run alone.
    """
    for name, number in (("sigterm", signal.SIGTERM), ("shutdown", None)):
        server = tierd(f"stop-{name}", "--io-threads", "4")
        asked = threading.Semaphore(0)

        def hammer():
            with server.raw() as s:
                try:
                    while True:
                        s.sendall(b"SET k v\r\nDBSIZE\r\n" * 20)
                        if not s.recv(1 << 16):
                            return
                        asked.release()
                except OSError:
                    return

        threads = [threading.Thread(target=hammer) for _ in range(12)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            asked.acquire()
        if number is None:
            server.raw().sendall(b"SHUTDOWN NOSAVE\r\n")
            check(server.wait() == 0, "exit status")
        else:
            check(server.stop() == 0, "exit status")
        for thread in threads:
            thread.join()


def transactions():
    """EXEC is one step and WATCH sees every change, with one loop and with four."""
    for loops in (1, 4):
        server = tierd(f"transactions-{loops}", "--io-threads", str(loops), "--maxmemory", "64mb")
        for seed in (1, 2):
            transfers(server, seed)
            write_skew(server, seed)
            everything_at_once(server, seed)
            queues(server, seed)
        server.stop()


def pubsub():
    """Messages, invalidations and limits, with one loop and with three."""
    for loops in (1, 3):
        server = tierd(f"pubsub-{loops}", "--io-threads", str(loops))
        publications(server)
        invalidations(server)
        published_once(server)
        subscriber_that_never_reads(server)
        server.stop()


def scripts_without_end():
    """BUSY, SCRIPT KILL, FUNCTION KILL, SHUTDOWN NOSAVE and SIGTERM, with one loop and with four."""
    def start(name, loops, threshold):
        return tierd(name, "--io-threads", str(loops), "--busy-reply-threshold", threshold)

    for loops in (1, 4):
        server = start(f"busy-{loops}", loops, "5000")
        endless(server, loops)
        in_a_transaction(server)
        for seed in (1, 2):
            crossing(server, seed)
        written(server)
        signal_ends(start, loops)


# Beside redis-server ------------------------------------------------------------------------------

from differential import differential, encode  # noqa: E402
from busy import crossing, endless, in_a_transaction, signal_ends, written  # noqa: E402
from conversations import conversation, waiting  # noqa: E402
import append_only, checkpoint, failing_disk, frameworks, own_pushes, payloads, persistence, redis_py_suite as suite, verification  # noqa: E402
from pubsub import invalidations, publications, published_once, subscriber_that_never_reads  # noqa: E402
from transactions import everything_at_once, queues, transfers, write_skew  # noqa: E402


def much_at_once():
    """One request over three times as much cold data as there is RAM, whose keys it does not name: read bit by bit
    within maxmemory; a script that writes so much is refused."""
    server = tierd("much", "--maxmemory", "32mb", "--io-threads", "1", "--enable-debug-command", "yes")
    client, r, count = server.client(), random.Random(3), 350
    for i in range(count):
        pipe = client.pipeline(False)
        for f in range(4):
            pipe.hset(f"o{i}", mapping={f"{f}.{n}": r.randbytes(700) for n in range(50)})
        pipe.hset(f"o{i}", mapping={"w": i * 7919 % count, "t": f"{i}:"}).set(f"s{i}", r.randbytes(100_000)).execute()
    client.rpush("l", *range(count))
    order = [f"{i}:".encode() for i in sorted(range(count), key=lambda i: i * 7919 % count)]
    sort = {"by": "o*->w", "get": "o*->t"}
    reads = "local n = 0 for i = 0, %d do n = n + #redis.call('%s', '%s' .. i, ARGV[1], ARGV[2]) end return n"
    peak(server, clear=True)
    check(client.sort("l", **sort) == order, "SORT")
    check(client.pipeline().sort("l", **sort).execute() == [order], "SORT in EXEC")
    check(client.eval("return redis.call('sort', 'l', 'by', 'o*->w', 'get', 'o*->t')", 0) == order, "in a script")
    check(client.eval(reads % (count - 1, "hmget", "o"), 0, "w", "t") == 2 * count, "hashes a script has not declared")
    check(client.eval(reads % (count - 1, "getrange", "s"), 0, 5, 9) == 5 * count, "strings")
    check(client.eval("return redis.call('hget', KEYS[1], 'w')", 40, *["o3"] * 40) is not None, "the same key")
    try:
        client.eval(f"for i = 0, {count - 1} do redis.call('append', 's' .. i, 'x') end", 0)
        check(False, "not refused")
    except redis.RedisError as error:
        check("command not allowed when used memory > 'maxmemory'" in str(error), str(error))
    check(peak(server) <= 32 * 1.08, f"{peak(server)} MiB")
    client.zadd("z", {"one": 1})
    for words in (["SRANDMEMBER", "set"], ["HRANDFIELD", "o1"], ["ZRANDMEMBER", "z"]):
        client.sadd("set", "x" * 1000)
        for repeated in (-2**63 + 1, -20_000):
            try:
                got = client.execute_command(*words, repeated)
                check(repeated == -20_000 and words[1] != "set" and len(got) == 20_000, f"{words} {repeated}")
            except redis.RedisError as error:
                check("command not allowed" in str(error) and (repeated != -20_000 or words[1] == "set"), str(error))
    check(client.execute_command("DEBUG", "POPULATE", 3, "some", 6) == b"OK" and client.get("some:2") == b"value:", "POPULATE")
    try:
        check(client.execute_command("DEBUG", "POPULATE", 10**12) is None, "not refused")
    except redis.RedisError as error:
        check("command not allowed" in str(error), str(error))
    server.stop()


def values_read_aside():
    """SORT's patterns and scripts' undeclared keys, cold, small and large, while others write: each reply is
    that of one moment, RAM stays bounded and nothing hangs."""
    server = tierd("aside", "--maxmemory", "32mb", "--io-threads", "3")
    client, r = server.client(), random.Random(7)
    count, row = 600, lambda i, size: {"w": i * 7919 % count, "t": f"{i}:" + r.randbytes(size // 2).hex()}
    for i in range(count):
        client.hset(f"o{i}", mapping=row(i, 90_000 if i % 3 else 20_000))
        for n in range(150 if i % 50 == 0 else 0):
            client.hset(f"o{i}", f"f{n}", r.randbytes(700))
    client.rpush("l", *range(count))
    order, errors = sorted(range(count), key=lambda i: i * 7919 % count), []

    def sorts(which):
        mine, r = server.client(), random.Random(which)
        script = "return redis.call('sort', 'l', 'by', 'o*->w', 'get', '#', 'get', 'o*->t', 'limit', ARGV[1], 10)"
        try:
            for _ in range(3):
                a = r.randrange(count - 10)
                whole = {"by": "o*->w", "get": ["#", "o*->t"], "start": a, "num": 10}
                for got in (mine.sort("l", **whole), mine.pipeline().sort("l", **whole).execute()[0],
                        mine.eval(script, 0, a)):
                    check([int(i) for i in got[::2]] == order[a:a + 10], f"order at {a}")
                    check(all(t.startswith(b"%d:" % i) for i, t in zip(order[a:a + 10], got[1::2])), "fields")
                mine.sort("l", by="o*->w", start=a, num=10, store=f"s{which}")
                check([int(i) for i in mine.lrange(f"s{which}", 0, -1)] == order[a:a + 10], "stored")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    def writes(which, done):
        mine, r = server.client(), random.Random(which)
        try:
            while not done.is_set():
                i = r.randrange(count)
                mine.pipeline().hset(f"o{i}", mapping=row(i, 20_000)).hget(f"o{r.randrange(count)}", "w").execute()
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    done = threading.Event()
    sorting = [threading.Thread(target=sorts, args=(k,)) for k in range(3)]
    writing = [threading.Thread(target=writes, args=(k, done)) for k in range(3)]
    for thread in sorting + writing:
        thread.start()
    for thread in sorting:
        thread.join()
    done.set()
    for thread in writing:
        thread.join()
    check(not errors, errors[:3])
    info = server.client().info()
    check(info["tier_cold_reads_total"] > count and info["tier_crc_errors_total"] == 0, "cold reads, all sound")
    check(server.stop() == 0, "exit status")


def redis_py_suite():
    suite.redis_py_suite(lambda name, port: tierd(
        name, "--io-threads", "2", "--enable-debug-command", "yes", port=port))


def rq_jobs():
    frameworks.rq_jobs(tierd)


def celery_tasks():
    frameworks.celery_tasks(tierd)


def flask_cache():
    frameworks.flask_cache(tierd)


def redis_server(name, *options, dump=None):
    """redis-server, `dump`: with a copy of this file to begin with."""
    if dump:
        os.makedirs(os.path.join(DIRECTORY, name))
        shutil.copy(dump, os.path.join(DIRECTORY, name, "dump.rdb"))
        return LoadedServer(name, ["redis-server", "--save", "", "--enable-debug-command", "yes"])
    return Server(name, ["redis-server", "--save", "", "--enable-debug-command", "yes", *options])


class LoadedServer(Server):
    """A server in a directory that is there already, ready once it has loaded what it found."""

    def __init__(self, name, command, **options):
        super().__init__(name, command, **options)
        client = self.client()

        def has_loaded():
            if self.process.poll() is not None:
                raise RuntimeError(f"{name} ended: " + open(self.log.name).read()[-1000:])
            try:
                return client.info("persistence")["loading"] == 0
            except (redis.BusyLoadingError, redis.ConnectionError):
                return False
        wait_until(has_loaded, f"{name} has loaded")


def bgsave(loops, memory):
    persistence.bgsave_beside_writes(tierd, redis_server, check, wait_until, loops, memory)


def load(memory):
    persistence.loads_what_redis_saved(tierd, redis_server, check, wait_until, memory)


def damaged_dumps():
    def start(name, dump):
        directory = os.path.join(DIRECTORY, name)
        os.makedirs(directory)
        with open(os.path.join(directory, "dump.rdb"), "wb") as f:
            f.write(dump)
        done = subprocess.run([TIERD, "--tier-max-bytes", "1gb", "--port", "0", "--unixsocket", directory + "/s", "--dir", directory],
            capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr
    persistence.files_that_are_not_sound(tierd, start, check)


def loading():
    persistence.clients_are_told_of_loading(tierd, redis_server, check, wait_until)


def loading_log():
    persistence.told_while_the_log_is_read(tierd, check, wait_until)


def last_save():
    persistence.last_save(tierd, check, wait_until)


def again(server, *options):
    """A tierd in the directory of one that has ended, once it has loaded what is there."""
    return LoadedServer(os.path.basename(server.directory), [TIERD, "--tier-max-bytes", "1gb", *options])


def start_in(directory, *options):
    """Starts a tierd that may refuse to: how to end it, its log, and a client, or None if it has ended."""
    command = [TIERD, "--tier-max-bytes", "1gb", "--port", "0", "--unixsocket", directory + "/s", "--dir", directory]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    client = redis.Redis(unix_socket_path=directory + "/s", socket_timeout=60)

    def is_settled():
        try:
            return process.poll() is not None or client.info("persistence")["loading"] == 0
        except redis.RedisError:
            return False

    def end():
        process.kill()
        process.communicate()
    wait_until(is_settled, f"{directory} has started or not")
    if process.poll() is not None:
        return end, process.communicate()[0], None
    return end, "", client


def is_there_again(server, *options):
    """What a test has left in a server with an append-only file is there after a kill."""
    append_only.survives(server, lambda old: again(old, "--enable-debug-command", "yes", "--appendonly", "yes", *options),
        check, wait_until).stop()


def aof(loops, memory, policy):
    append_only.everything(tierd, again, check, wait_until, loops, memory, policy)


def aof_effects():
    append_only.effects(tierd, again, check, wait_until)


def aof_switched():
    append_only.switched(tierd, again, check, wait_until)


def aof_policy_refused():
    append_only.policy_refused(tierd, check, wait_until)


def aof_write_fails():
    append_only.write_fails(tierd, again, check, wait_until)


def aof_rewritten_by_itself():
    append_only.rewritten_by_itself(tierd, check, wait_until)


def aof_of_redis():
    append_only.of_redis(tierd, redis_server, again, check, wait_until)


def aof_torn_and_damaged():
    append_only.torn_and_damaged(tierd, again, start_in, check, wait_until)


def kill_cycles(policy, cycles, seed):
    append_only.kill_cycles(tierd, again, check, wait_until, policy, cycles, seed)


def save():
    persistence.save_and_its_facts(tierd, check, wait_until)


def continued(name, *options, fresh=False, prepare=None, clock_past=None):
    """A tierd in a directory of this name, with what was left there; ready once it has loaded it."""
    directory = os.path.join(DIRECTORY, name)
    if fresh:
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        if prepare:
            prepare(directory)
    if clock_past:
        # What was set to expire within 300 ms has expired when it is half a second old.
        ended = os.stat(directory + "/tier.checkpoint").st_mtime
        wait_until(lambda: time.time() > ended + 0.5, "the clock")
    try:
        return LoadedServer(name, [TIERD, *options])
    except redis.ConnectionError:  # it ended while it was loading
        servers[-1].wait()
        raise RuntimeError(open(servers[-1].log.name).read())


def checkpoints(loops, memory):
    checkpoint.everything_comes_back(continued, check, loops, memory)


def checkpoint_expired():
    checkpoint.expired_meanwhile(continued, check)


def checkpoint_nosave():
    checkpoint.nosave(continued, check)


def checkpoint_databases():
    checkpoint.fewer_databases(continued, check)


def checkpoint_damaged():
    checkpoint.damaged_checkpoints(continued, check)


def checkpoint_upgraded():
    checkpoint.upgraded(continued, check)


def checkpoint_written_before():
    checkpoint.written_before(continued, check)


def verify():
    verification.every_part_damaged(tierd, TIERCTL, check, wait_until)


def backup():
    verification.taken_beside_writes(tierd, redis_server, TIERCTL, check, wait_until)


def restore():
    verification.restored(tierd, again, TIERCTL, check)


def backup_schedule():
    verification.by_itself(tierd, again, check, wait_until)


def crash(loops):
    checkpoint.crash(continued, check, wait_until, loops)


def on_disk(name, disk, *options, is_there=True):
    """A tierd once it has loaded what is there, which ends with the disk; `is_there`: its `dir` is on it."""
    try:
        return LoadedServer(name, [TIERD, "--tier-max-bytes", "1gb", *options], data=disk.path if is_there else None)
    except redis.ConnectionError:  # it ended while it was loading
        raise RuntimeError(open(servers[-1].log.name).read())
    finally:
        disk.servers.append(servers[-1])


def disk(what, *arguments, device=failing_disk.LoopDevice, **options):
    with failing_disk.Disk(f"{DIRECTORY}/{'-'.join([what, *arguments])}", device, **options) as found:
        getattr(failing_disk, what)(found, on_disk, check, wait_until, *arguments)


def full_tier():
    # With room again there is enough for the tier file to grow and for a checkpoint of all that is in RAM.
    disk("full_tier", megabytes=256)


def mapped_disk(what, *arguments):
    """The same with device-mapper, where the kernel has it."""
    disk(what, *arguments, device=failing_disk.MappedDevice)


def run(test, *arguments):
    global passed, failed
    name = test.__name__ + "".join(f" {os.path.basename(a.directory) if isinstance(a, Server) else a}" for a in arguments
        if isinstance(a, (str, int)) or isinstance(a, Server) and test is is_there_again)
    began = time.monotonic()
    try:
        test(*arguments)
        passed += 1
        print(f"ok      {name}  {time.monotonic() - began:.0f} s", flush=True)
    except failing_disk.Unavailable as why:
        print(f"skipped {name}: {why}", flush=True)
    except Exception as error:  # noqa: BLE001
        failed += 1
        print(f"FAILED  {name}: {error}", flush=True)
        if "-v" in sys.argv:
            traceback.print_exc()


#: About half of the time of all rows: tools/test runs the halves beside each other.
SECOND_HALF = {"differential", "old_payloads", "conversation", "waiting", "redis_py_suite", "rq_jobs", "celery_tasks", "flask_cache",
    "kill_cycles", "checkpoint"}

if __name__ == "__main__":
    tests = [malformed_requests, too_many_clients, out_of_descriptors, client_that_never_reads,
        reply_larger_than_a_send, output_limits, pause, conditional_writes, command_tables, maxmemory_lowered, disconnect_while_reading,
        disconnect_while_sending, start_is_refused, allocations, flipped_bit, retired_segments, last_database,
        more_segments_than_a_log_has, memory_is_bounded, compaction_ends, full_disk, redis_py_tour,
        redis_cli_and_tierctl, many_loops,
        stop_while_stopping_the_world, transactions, pubsub, scripts_without_end, values_read_aside, much_at_once, aof_effects, aof_switched, aof_policy_refused, aof_write_fails,
        aof_rewritten_by_itself, aof_of_redis, aof_torn_and_damaged, save, damaged_dumps, loading, loading_log, last_save, checkpoint_expired,
        checkpoint_nosave, checkpoint_databases, checkpoint_damaged, checkpoint_upgraded, checkpoint_written_before, verify, backup, restore, backup_schedule, redis_py_suite, rq_jobs,
        celery_tasks, flask_cache]
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")]

    def chosen(name):
        if "--first-half" in sys.argv or "--second-half" in sys.argv:
            return (name in SECOND_HALF) == ("--second-half" in sys.argv)
        return not wanted or name in wanted

    for test in tests:
        if chosen(test.__name__):
            run(test)
    if chosen("bgsave"):
        for loops in (1, 3):
            for memory in ("1gb", "40mb"):
                run(bgsave, loops, memory)
    if chosen("aof"):
        for loops, memory, policy in ((1, "1gb", "everysec"), (3, "40mb", "always"), (3, "1gb", "no")):
            run(aof, loops, memory, policy)
    if chosen("kill_cycles"):
        # Ten cycles; tools/nightly has more.
        cycles = int(os.environ.get("TIERD_KILL_CYCLES", "5"))
        for policy in ("always", "everysec"):
            run(kill_cycles, policy, cycles, random.randrange(1 << 32))
    if chosen("disk"):
        for policy in ("always", "everysec"):
            for what in ("full", "errors", "removed", "power_lost"):
                run(disk, what, policy)
            run(mapped_disk, "errors", policy)
        run(full_tier)
        for what in ("cold_reads", "wrong_blocks"):
            run(disk, what)
    if chosen("checkpoint"):
        for loops in (1, 3):
            for memory in ("1gb", "40mb"):
                run(checkpoints, loops, memory)
        for loops in (1, 3):
            run(crash, loops)
    if chosen("load"):
        for memory in ("1gb", "32mb"):
            run(load, memory)
    if chosen("differential"):
        real = Server("redis", ["redis-server", "--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--enable-module-command", "yes"])
        for mode, options in (("plain", []), ("cold", []), ("tiny", [
                "--maxmemory", "24mb", "--tier-segment-bytes", "64kb"])):
            for loops in (1, 4):
                server = tierd(f"diff-{mode}-{loops}", "--io-threads", str(loops), "--enable-debug-command", "yes", "--enable-module-command", "yes", "--appendonly", "yes", *options)
                for seed in (1, 2):
                    run(differential, server, real, mode, loops, seed)
                run(is_there_again, server, *options)
        real.stop()
    if chosen("old_payloads"):
        real = Server("redis-payloads", ["redis-server", "--save", "", "--appendonly", "no"])
        server = tierd("payloads", "--io-threads", "1")
        for seed in (1, 2):
            run(payloads.old_payloads, server, real, seed)
        run(payloads.expiring_fields, server)
        server.stop()
        real.stop()
    if chosen("conversation") or chosen("waiting"):
        real = Server("redis-talk", ["redis-server", "--save", "", "--appendonly", "no"])
        for loops in (1, 3):
            server = tierd(f"talk-{loops}", "--io-threads", str(loops), "--enable-debug-command", "yes", "--appendonly", "yes")
            for seed in (1, 2, 3):
                for talk in (conversation, waiting):
                    if chosen(talk.__name__):
                        run(talk, server, real, seed)
            if not wanted or "conversation" in wanted:
                run(own_pushes.own_pushes, server, real)
            run(is_there_again, server)
        real.stop()
    for server in servers:  # those of tests that failed
        if server.process and server.process.poll() is None:
            server.process.kill()
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
