"""The same random commands to tierd and to redis-server 7.0; replies and final state compared.

Method: seeded streams from a table of argument generators, few keys so that they collide, edge
values included. In cold mode every key is demoted after each command. Raw RESP2 bytes are
compared, so that error texts count.
"""
import random

from families import KEYS, Arguments, modules

FAMILIES = modules()
NORMAL = {name: order for family in FAMILIES.values() for name, order in getattr(family, "NORMAL", {}).items()}

SETTINGS = {name: value for family in FAMILIES.values() for name, value in getattr(family, "SETTINGS", {}).items()}


class Stream:
    """A seeded stream of commands: two families make most of it, so that their values grow."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        arguments = Arguments(self.r)
        self.tables = [family.commands(arguments) for family in FAMILIES.values()]
        self.focus, self.pending = [], []

    def next(self, i):
        if self.pending:
            return self.pending.pop(0)
        if i % 400 == 0:
            self.focus = self.r.sample(range(len(self.tables)), 2)
        which = self.r.choice(self.focus) if self.r.random() < 0.8 else self.r.randrange(len(self.tables))
        found = self.r.choice(self.tables[which])()
        first, *self.pending = found if isinstance(found[0], list) else [found]
        return [str(word) for word in first]


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


def normal(words, reply, queued=()):
    """The reply, in an order of its own if the command's is free; EXEC's by what was queued."""
    if words[0].upper() == "EXEC" and reply[:1] == b"*" and reply[:3] != b"*-1":
        items = parse(reply)[0]
        return [NORMAL[q[0].upper()](item, q) if not isinstance(item, tuple) and q[0].upper() in NORMAL else item
            for item, q in zip(items, queued, strict=True)]
    order = NORMAL.get(words[0].upper())
    if not order or reply[:1] in b"-:+":
        return reply
    return order(parse(reply)[0], words)


def parse(data, at=0):
    """A RESP2 reply as nested lists of bytes, and where it ends."""
    end = data.index(b"\r\n", at)
    kind, head, at = data[at:at + 1], data[at + 1:end], end + 2
    if kind == b"$":
        size = int(head)
        return (None, at) if size < 0 else (data[at:at + size], at + size + 2)
    if kind == b"*":
        if int(head) < 0:
            return None, at
        items = []
        for _ in range(int(head)):
            item, at = parse(data, at)
            items.append(item)
        return items, at
    return (kind, head), at


READS = {b"+string\r\n": ["GET"], b"+list\r\n": ["LRANGE", "0", "-1"], b"+hash\r\n": ["HGETALL"],
    b"+set\r\n": ["SMEMBERS"], b"+zset\r\n": ["ZRANGE", "0", "-1", "WITHSCORES"],
    b"+stream\r\n": ["XINFO", "STREAM", "FULL", "COUNT", "0"]}


def contents(wire, key):
    """A key's whole value, whatever its type."""
    kind = wire.ask(["TYPE", key])
    if kind not in READS:
        return kind
    name, *rest = READS[kind]
    words = [name, key, *rest] if name != "XINFO" else [name, rest[0], key, *rest[1:]]
    return kind, normal(words, wire.ask(words))


def state(wire):
    """Every database's keys with value, expiry and encoding, and their number once all were looked at
    (until then a server may count keys whose time has come)."""
    found = {}
    wire.ask(["DISCARD"])
    for database in range(3):
        wire.ask(["SELECT", str(database)])
        for key in KEYS:
            value = contents(wire, key)
            found[database, key] = (value, wire.ask(["PEXPIRETIME", key]), wire.ask(["OBJECT", "ENCODING", key]))
        found[database] = wire.ask(["DBSIZE"])
    return found


def differential(server, real, mode, loops, seed, count=4000):
    stream = Stream(seed)
    ours, theirs = Wire(server.raw()), Wire(real.raw())
    demoter = Wire(server.raw())
    queued = []
    for wire in (ours, theirs):
        wire.ask(["FLUSHALL"])
        wire.ask(["FUNCTION", "FLUSH"])
        wire.ask(["SCRIPT", "FLUSH"])
        for name, value in SETTINGS.items():
            wire.ask(["CONFIG", "SET", name, value])
    for i in range(count):
        words = stream.next(i)
        a, b = ours.ask(words), theirs.ask(words)
        if b == b"+QUEUED\r\n":
            queued.append(words)
        a, b = normal(words, a, queued), normal(words, b, queued)
        last = queued
        if words[0].upper() in ("EXEC", "DISCARD", "MULTI") and b[:1] != b"-":
            queued = []
        if a != b:
            pairs = zip(a, b, last) if words[0].upper() == "EXEC" and isinstance(b, list) else []
            inside = next(((x, y, q) for x, y, q in pairs if x != y), "")
            raise AssertionError(f"command {i} {[w[:60] for w in words]}: {str(inside or a)[:600]}, redis {b[:200]!r}")
        if mode == "cold":
            for database in range(3):
                demoter.ask(["SELECT", str(database)])
                demoter.ask(["TIER", "DEMOTE", *KEYS])
    a, b = ours.ask(["DEBUG", "DIGEST"]), theirs.ask(["DEBUG", "DIGEST"])
    digests_differ = a != b
    a, b = state(ours), state(theirs)
    for place in a:
        if a[place] != b[place]:
            raise AssertionError(f"final state at {place}: {a[place]}, redis {b[place]}")
    if digests_differ:
        raise AssertionError("DEBUG DIGEST differs, and the final states do not")
    exchange(ours, theirs)


def bulk(raw):
    """A bulk reply's bytes, or None."""
    return parse(raw)[0]


def exchange(ours, theirs):
    """Every value goes to the other server as a DUMP payload, and is the same there."""
    for database in range(3):
        for wire in (ours, theirs):
            wire.ask(["SELECT", str(database)])
        for key in KEYS:
            for giver in (ours, theirs):
                payload = bulk(giver.ask(["DUMP", key]))
                if payload is None:
                    continue
                words = ["RESTORE", "exchanged", "0", payload.decode("latin-1"), "REPLACE"]
                facts = [(wire.ask(words), contents(wire, "exchanged"), wire.ask(["OBJECT", "ENCODING", "exchanged"]))
                    for wire in (ours, theirs)]
                if facts[0] != facts[1] or facts[0][1] != contents(giver, key):
                    whose = "tierd's" if giver is ours else "redis's"
                    raise AssertionError(f"{whose} payload of {key}: {str(facts)[:700]}")
