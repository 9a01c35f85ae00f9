"""The same random commands to tierd and to redis-server 7.0; replies and final state compared.

Method: seeded streams from a table of argument generators, few keys so that they collide, edge
values included. In cold mode every key is demoted after each command. Raw RESP2 bytes are
compared, so that error texts count.
"""
import random

KEYS = ["a", "b", "c", "d", "{t}1", "", "k" * 300]
FAR = 33_000_000_000  # seconds: expiries that do not come
VALUES = ["", "0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808", " 1", "01", "1.5",
    "-0", "3.0e3", "abc", "ABCDEF", "x" * 44, "x" * 45, "hello world" * 100, "\r\n", "\x00\xff", "nan",
    "inf", "1e400", "y" * 20000]
NUMBERS = ["0", "1", "-1", "2", "5", "100", "-100", "9223372036854775807", "-9223372036854775808",
    "abc", "", "1.5", " 1", "536870911", "536870912"]


def command(r):
    k = lambda: r.choice(KEYS)
    v = lambda: r.choice(VALUES)
    n = lambda: r.choice(NUMBERS)
    far = lambda: str(FAR + r.randrange(1000))
    # Relative times that are valid would expire at slightly different moments: absolute ones stand for them.
    bad = lambda: r.choice(["-1", "0", "abc", "", "1.5", " 1", "9223372036854775807", "-100"])
    time = lambda: r.choice([["EX", bad()], ["EX", "9223372036854775"], ["PX", bad()], ["EXAT", n()], ["PXAT", n()], ["ex", bad()]])
    when = lambda: r.choice([time(), ["EXAT", far()], ["PXAT", far() + "000"], ["KEEPTTL"],
        ["NX"], ["XX"], ["GET"], ["XX", "GET"], ["NX", "GET"], ["KEEPTTL", "EX", "0"], ["EX", "0", "KEEPTTL"], ["nonsense"], ["EX"]])
    table = [
        lambda: ["GET", k()], lambda: ["GET", k()], lambda: ["SET", k(), v()], lambda: ["SET", k(), v()],
        lambda: ["SET", k(), v(), *when()], lambda: ["SET", k(), v(), *when(), *when()],
        lambda: ["SETNX", k(), v()], lambda: ["SETEX", k(), bad(), v()], lambda: ["PSETEX", k(), bad(), v()],
        lambda: ["GETSET", k(), v()], lambda: ["GETDEL", k()],
        lambda: ["GETEX", k(), *r.choice([[], ["PERSIST"], ["EXAT", far()], time(), ["X"], ["EX"]])],
        lambda: ["MSET", k(), v(), k(), v()], lambda: ["MSET", k(), v(), k()], lambda: ["MSETNX", k(), v(), k(), v()],
        lambda: ["MGET", k(), k(), k()], lambda: ["APPEND", k(), v()], lambda: ["STRLEN", k()],
        lambda: ["SETRANGE", k(), n(), r.choice(["", "zz", "q" * 100])], lambda: ["GETRANGE", k(), n(), n()],
        lambda: ["SUBSTR", k(), n(), n()], lambda: ["INCR", k()], lambda: ["DECR", k()],
        lambda: ["INCRBY", k(), n()], lambda: ["DECRBY", k(), n()],
        lambda: ["INCRBYFLOAT", k(), r.choice(["0.1", "-3.25", "1e10", "nan", "inf", "abc", "", "5.0e3"])],
        lambda: ["LCS", k(), k(), *r.choice([[], ["LEN"], ["IDX"], ["IDX", "WITHMATCHLEN"],
            ["IDX", "MINMATCHLEN", "2"], ["LEN", "IDX"], ["BAD"]])],
        lambda: ["DEL", k(), k()], lambda: ["UNLINK", k()], lambda: ["EXISTS", k(), k(), k()],
        lambda: ["TOUCH", k(), k()], lambda: ["TYPE", k()], lambda: ["RENAME", k(), k()],
        lambda: ["RENAMENX", k(), k()],
        lambda: ["COPY", k(), k(), *r.choice([[], ["REPLACE"], ["DB", "1"], ["DB", "99"], ["DB", "x"],
            ["DB", "1", "REPLACE"], ["DB"], ["BAD"]])],
        lambda: ["MOVE", k(), r.choice(["0", "1", "2", "99", "-1", "x"])],
        lambda: ["EXPIREAT", k(), r.choice([far(), "1", "-5", "abc", "9223372036854775807"]),
            *r.choice([[], ["NX"], ["XX"], ["GT"], ["LT"], ["NX", "XX"], ["GT", "LT"], ["BAD"]])],
        lambda: ["PEXPIREAT", k(), r.choice([far() + "000", "1"]), *r.choice([[], ["NX"], ["XX"], ["GT"], ["LT"]])],
        lambda: ["EXPIRE", k(), r.choice(["-1", "0", "abc", "9223372036854775807", "9223372036854775"])],
        lambda: ["PEXPIRE", k(), r.choice(["-1", "0", "abc", "9223372036854775807"])],
        lambda: ["PERSIST", k()], lambda: ["EXPIRETIME", k()], lambda: ["PEXPIRETIME", k()],
        lambda: ["OBJECT", "ENCODING", k()], lambda: ["OBJECT", "REFCOUNT", k() + "absent"],
        lambda: ["OBJECT", "FREQ", k()], lambda: ["OBJECT", "NOSUCH", k()],
        lambda: ["SELECT", r.choice(["0", "1", "2", "16", "-1", "x"])],
        lambda: ["SWAPDB", r.choice(["0", "1", "x"]), r.choice(["1", "2", "99"])],
        lambda: r.choice([["FLUSHDB"], ["FLUSHDB", "BAD"], ["FLUSHALL", "ASYNC"]]) if r.random() < 0.1 else ["PING"],
        lambda: ["PING", v()], lambda: ["ECHO", v()], lambda: ["NOSUCHCOMMAND", v()], lambda: ["GET"],
        lambda: ["SCAN", "x"], lambda: ["SCAN", "0", "COUNT", r.choice(["0", "x"])],
        lambda: ["WAIT", "0", "0"], lambda: ["CLIENT", "GETNAME"], lambda: ["CLIENT", "NOSUCH"],
        lambda: ["CONFIG", "SET", "maxmemory-samples", r.choice(["5", "abc"])],
        lambda: ["RANDOMKEY", "extra"], lambda: ["AUTH", "x"],
    ]
    return r.choice(table)()


def encode(words):
    raw = [w.encode("latin-1") for w in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in raw)


class Wire:
    """A connection that returns whole replies as bytes."""

    def __init__(self, s):
        self.s, self.buffer = s, b""

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line + b"\r\n"

    def more(self):
        chunk = self.s.recv(1 << 20)
        if not chunk:
            raise AssertionError("the server closed the connection")
        self.buffer += chunk

    def reply(self):
        line = self.line()
        if line[:1] == b"$" and line[1:2] != b"-":
            size = int(line[1:]) + 2
            while len(self.buffer) < size:
                self.more()
            body, self.buffer = self.buffer[:size], self.buffer[size:]
            return line + body
        if line[:1] == b"*" and line[1:2] != b"-":
            return line + b"".join(self.reply() for _ in range(int(line[1:])))
        return line

    def ask(self, words):
        self.s.sendall(encode(words))
        return self.reply()


def state(wire):
    """Every database's keys with value, expiry and encoding, and their number once all were looked at
    (until then a server may count keys whose time has come)."""
    found = {}
    for database in range(3):
        wire.ask(["SELECT", str(database)])
        for key in KEYS:
            value = wire.ask(["GET", key])
            found[database, key] = (value, wire.ask(["PEXPIRETIME", key]), wire.ask(["OBJECT", "ENCODING", key]))
        found[database] = wire.ask(["DBSIZE"])
    return found


def differential(server, real, mode, loops, seed, count=4000):
    r = random.Random(seed)
    ours, theirs = Wire(server.raw()), Wire(real.raw())
    demoter = Wire(server.raw())
    for wire in (ours, theirs):
        wire.ask(["FLUSHALL"])
    for i in range(count):
        words = command(r)
        a, b = ours.ask(words), theirs.ask(words)
        if a != b:
            raise AssertionError(f"command {i} {[w[:60] for w in words]}: {a[:200]!r}, redis {b[:200]!r}")
        if mode == "cold":
            for database in range(3):
                demoter.ask(["SELECT", str(database)])
                demoter.ask(["TIER", "DEMOTE", *KEYS])
    a, b = state(ours), state(theirs)
    for place in a:
        if a[place] != b[place]:
            raise AssertionError(f"final state at {place}: {a[place]}, redis {b[place]}")
