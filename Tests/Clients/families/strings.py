"""Strings."""


def commands(g):
    r, k, v, n, far = g.r, g.key, g.value, g.number, g.far
    # Relative times that are valid would expire at slightly different moments: absolute ones stand for them.
    bad = lambda: r.choice(["-1", "0", "abc", "", "1.5", " 1", "9223372036854775807", "-100"])
    time = lambda: r.choice([["EX", bad()], ["EX", "9223372036854775"], ["PX", bad()], ["EXAT", n()], ["PXAT", n()],
        ["ex", bad()]])
    when = lambda: r.choice([time(), ["EXAT", far()], ["PXAT", far() + "000"], ["KEEPTTL"],
        ["NX"], ["XX"], ["GET"], ["XX", "GET"], ["NX", "GET"], ["KEEPTTL", "EX", "0"], ["EX", "0", "KEEPTTL"], ["nonsense"], ["EX"]])
    return [
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
    ]
