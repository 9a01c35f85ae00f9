"""Hashes."""

FIELDS = ["f", "g", "1", "2", "-5", "", "x" * 70, "long field name", "f1", "f2", "f3", "f4", "f5"]
VALUES = ["", "0", "1", "-1", "10", "1.5", "abc", "9223372036854775807", "v" * 65, "w" * 3000, "3.0e3", " 1", "nan"]


def pairs(items):
    return sorted((items[i], items[i + 1]) for i in range(0, len(items), 2))


def scanned(reply, words):
    return [reply[0], pairs(reply[1])] if reply[0] == b"0" else reply


NORMAL = {
    "HGETALL": lambda reply, words: pairs(reply),
    "HKEYS": lambda reply, words: sorted(reply), "HVALS": lambda reply, words: sorted(reply),
    "HSCAN": scanned,
    # Which fields is chance; how many there are is not, nor what is in a whole hash.
    "HRANDFIELD": lambda reply, words: sorted(reply) if isinstance(reply, list) and words[2] == "1000" else
        len(reply) if isinstance(reply, list) else reply is None,
}


def commands(g):
    r, n = g.r, g.number
    k = lambda: g.key("hash")
    f = lambda: r.choice(FIELDS) if r.random() < 0.6 else f"field{r.randrange(40)}"
    many = lambda: f"field{r.randrange(700)}"
    v = lambda: r.choice(VALUES)
    setting = [lambda: [r.choice(["HSET", "HSET", "HMSET"]), k(), *sum(([f(), v()] for _ in range(r.randint(1, 5))), [])]] * 4
    return setting + [
        lambda: ["HSET", k(), *sum(([many(), "v"] for _ in range(40)), [])],
        lambda: ["HSET", k(), f(), v(), f()], lambda: ["HSETNX", k(), f(), v()],
        lambda: ["HGET", k(), f()], lambda: ["HMGET", k(), *g.some(f, 5)], lambda: ["HGETALL", k()],
        lambda: ["HDEL", k(), *g.some(f, 3)], lambda: ["HDEL", k(), *g.some(many, 60)],
        lambda: ["HLEN", k()], lambda: ["HSTRLEN", k(), f()], lambda: ["HEXISTS", k(), f()],
        lambda: ["HKEYS", k()], lambda: ["HVALS", k()], lambda: ["HINCRBY", k(), f(), n()],
        lambda: ["HINCRBYFLOAT", k(), f(), r.choice(["0.1", "-3.25", "1e10", "nan", "inf", "abc", "", "5.0e3"])],
        lambda: ["HRANDFIELD", k(), "1000", *r.choice([[], ["WITHVALUES"]])], lambda: ["HRANDFIELD", k()],
        lambda: ["HRANDFIELD", k(), r.choice(["0", "2", "-3", "x", "-9223372036854775808"]),
            *r.choice([[], ["WITHVALUES"], ["BAD"], ["WITHVALUES", "x"]])],
        lambda: ["HSCAN", k(), "0", "COUNT", "100000"],
        lambda: ["HSCAN", k(), "0", "MATCH", r.choice(["f*", "*1*", "[a-f]*"]), "COUNT", "100000"],
        lambda: ["HSCAN", k(), r.choice(["x", "0"]), *r.choice([["COUNT", "0"], ["COUNT", "x"], ["BAD", "1"], ["MATCH"]])],
        lambda: ["OBJECT", "ENCODING", k()],
    ]
