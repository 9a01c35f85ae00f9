"""Keys of any type, connection and server."""
from families import KINDS


def commands(g):
    r, k, v, n, far = g.r, lambda: g.key(r.choice([None] + KINDS)), g.value, g.number, g.far
    return [
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
