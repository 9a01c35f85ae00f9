"""The same random conversation of several clients with tierd and with redis-server 7.0: replies, and what
clients are told without asking, compared client by client.

Method: one command at a time, each on one of several connections, in RESP2 and RESP3. Replies are compared
at once. Pushes come from other loops a little later: they are gathered and compared in order at the end,
once as many have come as redis-server sent. Lines of MONITOR are compared without time and address.
"""
import itertools
import random
import re
import time

from differential import encode

PUSHES = (b"message", b"pmessage", b"smessage")


class Talker:
    """A connection that tells replies from pushes."""

    def __init__(self, s):
        self.s, self.buffer, self.pushes, self.lines = s, b"", [], []
        self.monitors = False
        self.version = 2
        self.id = self.ask(["CLIENT", "ID"])[1:]

    def more(self, wait):
        self.s.settimeout(wait)
        try:
            chunk = self.s.recv(1 << 20)
        except (TimeoutError, BlockingIOError):
            return False
        if not chunk:
            raise AssertionError("the server closed the connection")
        self.buffer += chunk
        return True

    def is_push(self, value):
        if not isinstance(value, tuple) or not value[1]:
            return False
        kind, items = value
        if kind == b">":
            return items[0] in PUSHES + (b"invalidate", b"tracking-redir-broken")
        return kind == b"*" and self.version == 2 and items[0] in PUSHES and len(items) in (3, 4)

    def value(self, at=0):
        """A value that is whole, and where it ends; None if it is not whole yet. redis-server 7.0 may write
        a push into the middle of EXEC's array, without counting it: it is taken out."""
        end = self.buffer.find(b"\r\n", at)
        if end < 0:
            return None
        kind, head = self.buffer[at:at + 1], self.buffer[at + 1:end]
        end += 2
        if kind in b"$=" and head != b"-1":
            size = int(head)
            if len(self.buffer) < end + size + 2:
                return None
            return self.buffer[end:end + size], end + size + 2
        if kind in b"*>~%" and head != b"-1":
            items = []
            wanted = int(head) * (2 if kind == b"%" else 1)
            inside = []
            while len(items) < wanted:
                item = self.value(end)
                if item is None:
                    return None
                (inside if at == 0 and self.is_push(item[0]) else items).append(item[0])
                end = item[1]
            self.pushes += inside
            return (kind, items), end
        return kind + head, end

    def take(self):
        """The next reply in the buffer; pushes and lines before it are put aside."""
        while (found := self.value()) is not None:
            value, end = found
            self.buffer = self.buffer[end:]
            if self.is_push(value):
                self.pushes.append(value)
                continue
            if self.monitors and isinstance(value, bytes) and re.match(rb"\+\d+\.\d{6} ", value):
                self.lines.append(re.sub(rb"^\+\d+\.\d{6} \[(\d+) [^]]*\]", rb"[\1]", value))
                continue
            return value
        return None

    def ask(self, words):
        self.s.sendall(encode([str(w) for w in words]))
        return self.reply()

    def reply(self):
        while (value := self.take()) is None:
            if not self.more(60):
                raise AssertionError("no reply")
        return value

    def gather(self, pushes, lines):
        """Reads until as many pushes and lines have come."""
        deadline = time.monotonic() + 60
        while (len(self.pushes) < pushes or len(self.lines) < lines) and time.monotonic() < deadline:
            self.more(0.01)
            reply = self.take()
            if reply is not None:
                raise AssertionError(f"a reply nobody asked for: {reply}")


class Scene:
    """The same clients with both servers."""

    def __init__(self, server, real, count):
        self.admins = [server.client(), real.client()]
        self.talkers = [[Talker(s.raw()) for _ in range(count)] for s in (server, real)]
        self.count = count

    def say(self, number, words):
        """One command on one connection of each server; both replies."""
        replies = []
        for talkers in self.talkers:
            filled = [w.format(ids=IDs(talkers)) if isinstance(w, str) and "{ids" in w else w for w in words]
            replies.append(talkers[number].ask(filled))
        return replies

    def finish(self):
        for a, b in zip(*self.talkers):
            b.gather(0, 0)
        # What redis-server sends is there once it has answered everybody.
        for b in self.talkers[1]:
            while b.more(0.05):
                pass
            if (value := b.take()) is not None:
                raise AssertionError(f"redis answered what nobody asked: {value}")
        for number, (a, b) in enumerate(zip(*self.talkers)):
            a.gather(len(b.pushes), len(b.lines))
            for what, x, y in (("push", ordered(a.pushes), ordered(b.pushes)), ("line", a.lines, b.lines)):
                for i, pair in enumerate(zip(x, y)):
                    if pair[0] != pair[1]:
                        raise AssertionError(f"client {number}, {what} {i}: {pair[0]}, redis {pair[1]}; before: {x[max(0, i - 3):i]}")
                if len(x) != len(y):
                    raise AssertionError(f"client {number}: {len(x)} {what}s, redis {len(y)}: {x[len(y):]} {y[len(x):]}")


def ordered(pushes):
    """A publication comes to those of a client's patterns that match in the order of a hash table."""
    out = list(pushes)
    i = 0
    while i < len(out):
        end = i + 1
        while end < len(out) and out[i][1][0] == b"pmessage" == out[end][1][0] and out[i][1][2:] == out[end][1][2:]:
            end += 1
        out[i:end] = sorted(out[i:end])
        i = end
    return out


class IDs:
    def __init__(self, talkers):
        self.talkers = talkers

    def __getitem__(self, i):
        return self.talkers[int(i)].id.decode()


CHANNELS = {b"c1", b"c2", b"d1", b"__keyspace@0__:k1", b"__keyevent@0__:set", b"__redis__:invalidate"}


def comparable(value):
    """HELLO's facts are not compared, and names that come in the order of a hash table are sorted."""
    if not isinstance(value, tuple):
        return value
    kind, items = value
    if items and items[0] == b"server":
        return "hello", items[5]
    if items and all(item in CHANNELS for item in items if not isinstance(item, tuple)):
        return kind, sorted(map(repr, map(comparable, items)))
    return kind, list(map(comparable, items))


def hellos(value):
    """Versions chosen by HELLO in a reply, or inside EXEC's."""
    if not isinstance(value, tuple) or not value[1]:
        return []
    if value[1][0] == b"server":
        return [int(value[1][5][1:])]
    return [v for item in value[1] for v in hellos(item)]


def words(r, number, count):
    k = lambda: r.choice(["k1", "k2", "p:1", "p:2", "q"])
    c = lambda: r.choice(["c1", "c2", "d1", "__keyspace@0__:k1", "__keyevent@0__:set", "__redis__:invalidate"])
    p = lambda: r.choice(["c*", "*1", "__key*__:*", "[cd]?"])
    v = lambda: r.choice(["1", "x", "hello\r\n", "\x00\xff\"\\"])
    return r.choice([
        lambda: ["SUBSCRIBE", c()], lambda: ["PSUBSCRIBE", p()], lambda: ["SSUBSCRIBE", c()],
        lambda: ["UNSUBSCRIBE", c()], lambda: ["PUNSUBSCRIBE", p()], lambda: ["SUNSUBSCRIBE", c()],
        lambda: ["PUBLISH", c(), v()], lambda: ["PUBLISH", c(), v()], lambda: ["SPUBLISH", c(), v()],
        lambda: ["PUBSUB", "CHANNELS"], lambda: ["PUBSUB", "CHANNELS", p()], lambda: ["PUBSUB", "NUMSUB", c(), c()],
        lambda: ["PUBSUB", "NUMPAT"], lambda: ["PUBSUB", "SHARDNUMSUB", c()], lambda: ["PUBSUB", "SHARDCHANNELS"],
        lambda: ["PING"], lambda: ["PING", v()], lambda: ["RESET"] if r.random() < 0.3 else ["PING"],
        lambda: ["SET", k(), v()], lambda: ["SET", k(), v()], lambda: ["GET", k()], lambda: ["MGET", k(), k()],
        lambda: ["GET", k()], lambda: ["DEL", k(), k()], lambda: ["INCR", k()], lambda: ["APPEND", k(), v()],
        lambda: ["EXPIRE", k(), r.choice(["-1", "10000"])], lambda: ["PERSIST", k()], lambda: ["RENAME", k(), k()],
        lambda: ["COPY", k(), k(), "REPLACE"], lambda: ["MOVE", k(), "1"], lambda: ["GETDEL", k()],
        lambda: ["MSET", k(), v(), k(), v()], lambda: ["SETRANGE", k(), "2", v()], lambda: ["GETEX", k(), "PERSIST"],
        lambda: ["SELECT", r.choice(["0", "0", "1"])], lambda: ["MULTI"], lambda: ["EXEC"], lambda: ["EXEC"],
        lambda: ["DISCARD"], lambda: ["WATCH", k()], lambda: ["UNWATCH"],
        lambda: ["FLUSHALL"] if r.random() < 0.3 else ["FLUSHDB"] if r.random() < 0.3 else ["GET", k()],
        lambda: ["SWAPDB", "0", "1"] if r.random() < 0.3 else ["EXISTS", k()],
        lambda: ["CLIENT", "TRACKING", "ON", *r.choice([[], [], ["OPTIN"], ["OPTOUT"], ["NOLOOP"], ["BCAST"],
            ["BCAST", "PREFIX", "p:"], ["BCAST", "NOLOOP", "PREFIX", "k"], [f"REDIRECT", "{ids[%d]}" % r.randrange(count)]])],
        lambda: ["CLIENT", "TRACKING", "OFF"] if r.random() < 0.5 else ["CLIENT", "TRACKINGINFO"],
        lambda: ["CLIENT", "CACHING", r.choice(["YES", "NO"])], lambda: ["CLIENT", "GETNAME"],
        lambda: ["NOSUCH", v()], lambda: ["GET"], lambda: ["HELLO", r.choice(["2", "3"])] if r.random() < 0.2 else ["PING"],
        lambda: ["MONITOR"] if number == 0 and r.random() < 0.3 else ["TTL", k()],
    ])()


def conversation(server, real, seed, count=1500):
    r = random.Random(seed)
    for s in (server, real):
        admin = s.client()
        admin.flushall()
        admin.config_set("notify-keyspace-events", "KEA")
    scene, said = Scene(server, real, 5), []
    for i in range(count):
        number = r.randrange(scene.count)
        line = words(r, number, scene.count)
        if line[0] == "MONITOR":
            for talkers in scene.talkers:
                talkers[number].monitors = True
        a, b = scene.say(number, line)
        for talkers in scene.talkers:
            for version in hellos(a):
                talkers[number].version = version
            if line[0] == "RESET":
                talkers[number].version = 2
        if comparable(a) != comparable(b):
            mine = [step for step in said if step[0] == number][-8:]
            raise AssertionError(f"seed {seed}, step {i}, client {number} {line}: {a}, redis {b}; before: {mine}")
        said.append((number, line, b))
    scene.finish()


# Clients that wait ---------------------------------------------------------------------------------

def blocked_ids(admin):
    return {client["id"].encode() for client in admin.client_list() if "b" in client["flags"]}


class Waiting(Scene):
    """A scene some of whose clients wait for keys."""

    def __init__(self, server, real, count):
        super().__init__(server, real, count)
        self.blocked, self.transactions = {}, set()

    def queueing(self, number):
        return number in self.transactions

    def note(self, number, words):
        if words[0] == "MULTI":
            self.transactions.add(number)
        if words[0] == "EXEC":
            self.transactions.discard(number)

    def answered(self, number, words):
        """Replies of both servers to what client `number` has sent, or None if both let it wait."""
        replies = []
        for admin, talkers in zip(self.admins, self.talkers):
            talker = talkers[number]
            deadline = time.monotonic() + 60
            reply = None
            while reply is None and time.monotonic() < deadline:
                talker.more(0.002)
                reply = talker.take()
                if reply is None and talker.id[0:] in blocked_ids(admin):
                    talker.more(0.002)  # It may have been answered between the two looks.
                    reply = talker.take()
                    break
            replies.append(reply)
        return replies

    def start(self, number, words):
        for talkers in self.talkers:
            talkers[number].s.sendall(encode(words))
        if "0.01" in words and not self.queueing(number):
            a, b = (talkers[number].reply() for talkers in self.talkers)
        else:
            a, b = self.answered(number, words)
        self.note(number, words)
        if a != b:
            raise AssertionError(f"{a}, redis {b}")
        if b is None:
            self.blocked[number] = words
        return b

    def check_served(self):
        """Whoever redis-server has answered meanwhile got the same from tierd; nobody else got anything."""
        still = blocked_ids(self.admins[1])
        for number in sorted(self.blocked):
            ours, theirs = (talkers[number] for talkers in self.talkers)
            if theirs.id in still:
                continue
            a, b = ours.reply(), theirs.reply()
            if a != b:
                raise AssertionError(f"waiting client {number} {self.blocked[number]}: {a}, redis {b}")
            del self.blocked[number]
        for number in self.blocked:
            ours = self.talkers[0][number]
            ours.more(0.0005)
            if (value := ours.take()) is not None:
                raise AssertionError(f"waiting client {number} {self.blocked[number]}: {value}, redis lets it wait")


# IDs of entries: those of two clocks would differ.
entry = itertools.count(1)


def waiting_words(r, names):
    k = lambda: r.choice(["l1", "l2", "l3"])
    z = lambda: r.choice(["z1", "z2"])
    v = lambda: r.choice(["a", "b", "c"])
    side = lambda: r.choice(["LEFT", "RIGHT"])
    time_out = lambda: r.choice(["0", "0", "0", "0.01"])
    waits = [
        lambda: ["BLPOP", k(), k(), time_out()], lambda: ["BRPOP", k(), time_out()],
        lambda: ["BLMOVE", k(), k(), side(), side(), time_out()], lambda: ["BRPOPLPUSH", k(), k(), time_out()],
        lambda: ["BLMPOP", time_out(), "2", k(), k(), side(), "COUNT", "2"],
        lambda: ["BZPOPMIN", z(), z(), time_out()], lambda: ["BZPOPMAX", z(), time_out()],
        lambda: ["BZMPOP", time_out(), "2", z(), z(), "MIN", "COUNT", "2"],
        lambda: ["XREAD", "BLOCK", "0", "STREAMS", "x1", "x2", "$", "$"],
    ]
    acts = [
        lambda: ["LPUSH", k(), v()], lambda: ["RPUSH", k(), v(), v()], lambda: ["LPOP", k()], lambda: ["DEL", k()],
        lambda: ["SET", k(), v()], lambda: ["RENAME", k(), k()], lambda: ["COPY", k(), k(), "REPLACE"],
        # Not SWAPDB: redis-server serves the keys that become ready at once in the order of a hash table.
        lambda: ["LMOVE", k(), k(), side(), side()], lambda: ["LLEN", k()],
        lambda: ["MOVE", k(), r.choice(["0", "1"])], lambda: ["SELECT", r.choice(["0", "0", "1"])],
        lambda: ["ZADD", z(), "1", v(), "2", v()], lambda: ["ZREM", z(), v()], lambda: ["XADD", "x1", f"{next(entry)}-1", "f", v()],
        lambda: ["LRANGE", k(), "0", "-1"], lambda: ["SORT", k(), "ALPHA", "STORE", k()],
    ]
    chosen = r.choice(waits if r.random() < 0.4 else acts)()
    return chosen if chosen[0] in names else ["LPUSH", k(), v()]


def waiting(server, real, seed, count=600):
    """Blocking commands serve the same clients in the same order as redis-server."""
    r = random.Random(seed)
    for s in (server, real):
        s.client().flushall()
    known = [c.upper() for c in server.client().command()]
    scene = Waiting(server, real, 7)
    for i in range(count):
        free = [n for n in range(scene.count) if n not in scene.blocked]
        if len(free) < 2 or r.random() < 0.02:
            for number in list(scene.blocked):
                word = r.choice(["TIMEOUT", "ERROR"])
                for admin, talkers in zip(scene.admins, scene.talkers):
                    admin.execute_command("CLIENT", "UNBLOCK", talkers[number].id.decode(), word)
            scene.check_served()
            if scene.blocked:
                raise AssertionError(f"seed {seed}: not unblocked: {scene.blocked}")
            continue
        number = r.choice(free)
        lines = [waiting_words(r, known)]
        if r.random() < 0.2:
            lines = [["MULTI"], *[waiting_words(r, known) for _ in range(r.randint(1, 4))], ["EXEC"]]
        try:
            for line in lines:
                scene.start(number, line)
            scene.check_served()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, step {i}, client {number} {lines}: {error}; waiting: {scene.blocked}") from None
