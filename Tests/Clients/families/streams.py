"""Streams. IDs are given: those of the clock would differ."""

IDS = ["1-1", "1-2", "2-1", "5-5", "7", "10-0", "0-1", "0-0", "18446744073709551615-18446744073709551615", "abc", "1-a",
    "-", "+", "$", ">", "(1-1", "(5", "", "3-*", "1-*"]


def fields(reply):
    """A reply of names and values, nested, without what tells the time or how the index is built."""
    if not isinstance(reply, list):
        return reply
    out, i = [], 0
    while i < len(reply):
        if reply[i] in (b"radix-tree-keys", b"radix-tree-nodes", b"seen-time", b"idle"):
            i += 2
            continue
        out.append(fields(reply[i]))
        i += 1
    return out


def untimed(reply, words):
    """XINFO … FULL and XPENDING: a pending entry's times are left out."""
    def walk(item):
        if not isinstance(item, list):
            return item
        if len(item) == 4 and isinstance(item[2], tuple) and isinstance(item[3], tuple):
            return [item[0], item[1], item[3]]
        if len(item) == 3 and isinstance(item[1], tuple) and isinstance(item[2], tuple):
            return [item[0], item[2]]
        return [walk(i) for i in item]
    return walk(fields(reply))


NORMAL = {"XINFO": untimed, "XPENDING": untimed}


def commands(g):
    r, n = g.r, g.number
    k = lambda: g.key("stream")
    good = lambda: f"{r.randrange(40)}-{r.randrange(3)}"
    i = lambda: good() if r.random() < 0.8 else r.choice(IDS)
    last = {"n": 0}

    def later():
        last["n"] += 1
        return f"{last['n']}-{r.choice(['1', '1', '5', '*'])}"

    pairs = lambda: sum(([r.choice(["f", "g", "1"]), r.choice(["v", "1", "-5", "x" * 30, "", "123456789012"])]
        for _ in range(r.randint(1, 3))), [])
    same = lambda: ["f", str(r.randrange(1000)), "g", "value"]
    group = lambda: r.choice(["G", "G", "H", "none"])
    who = lambda: r.choice(["alice", "bob", "carol"])
    count = lambda: r.choice([[], ["COUNT", r.choice(["1", "3", "0", "-1", "x"])]])
    trim = lambda: r.choice([["MAXLEN", r.choice(["5", "=", "0", "-1", "x", "100"])], ["MAXLEN", "~", "10"], ["MAXLEN", "=", "20"],
        ["MINID", i()], ["MINID", "~", i()], ["MAXLEN", "~", "5", "LIMIT", "10"], ["MAXLEN", "5", "LIMIT", "10"], ["LIMIT", "3"],
        ["MAXLEN", "1", "MINID", "1"]])
    adding = [lambda: ["XADD", k(), later(), *r.choice([pairs, same, same])()]] * 8
    return adding + [
        lambda: ["XADD", k(), i(), *pairs()], lambda: ["XADD", k(), "NOMKSTREAM", later(), *same()],
        lambda: ["XADD", k(), *trim(), later(), *same()], lambda: ["XADD", k(), later(), "f"], lambda: ["XADD", k(), later(), "f", "v", "g"],
        lambda: ["XTRIM", k(), *trim()] if r.random() < 0.3 else ["XLEN", k()], lambda: ["XDEL", k(), *g.some(i)], lambda: ["XLEN", k()],
        lambda: ["XRANGE", k(), r.choice(["-", i()]), r.choice(["+", i()]), *count()],
        lambda: ["XREVRANGE", k(), r.choice(["+", i()]), r.choice(["-", i()]), *count()],
        lambda: ["XREAD", *count(), "STREAMS", k(), k(), i(), i()], lambda: ["XREAD", "STREAMS", k(), r.choice(["0", "$", ">"])],
        lambda: ["XREAD", "COUNT", "2", "STREAMS", k(), k(), i()], lambda: ["XREAD", "BLOCK", r.choice(["x", "-1"]), "STREAMS", k(), "0"],
        lambda: ["XREAD", "NOACK", "STREAMS", k(), "0"], lambda: ["XREAD", "GROUP", "G", "c", "STREAMS", k(), "0"],
        lambda: ["XGROUP", "CREATE", k(), group(), r.choice(["0", "$", i()]), *r.choice([[], ["MKSTREAM"], ["ENTRIESREAD", n()], ["BAD"]])],
        lambda: ["XGROUP", "SETID", k(), group(), r.choice(["0", "$", i()]), *r.choice([[], ["ENTRIESREAD", n()]])],
        lambda: ["XGROUP", "DESTROY", k(), group()] if r.random() < 0.2 else ["XINFO", "GROUPS", k()],
        lambda: ["XGROUP", "CREATECONSUMER", k(), group(), who()],
        lambda: ["XGROUP", "DELCONSUMER", k(), group(), who()] if r.random() < 0.3 else ["XINFO", "GROUPS", k()],
        lambda: ["XGROUP", "NOSUCH", k()],
        lambda: ["XREADGROUP", "GROUP", group(), who(), *count(), *r.choice([[], [], ["NOACK"]]), "STREAMS", k(), r.choice([">", ">", ">", "0", i()])],
        lambda: ["XREADGROUP", "GROUP", group(), who(), "STREAMS", k(), k(), ">", ">"], lambda: ["XREADGROUP", "STREAMS", k(), "0", "x", "y", "z"],
        lambda: ["XACK", k(), group(), *g.some(i, 4)], lambda: ["XPENDING", k(), group()],
        lambda: ["XPENDING", k(), group(), r.choice(["-", i()]), r.choice(["+", i()]), r.choice(["10", "1", "-1", "x"]), *r.choice([[], [who()]])],
        lambda: ["XPENDING", k(), group(), "IDLE", r.choice(["0", "100000", "x"]), "-", "+", "10", *r.choice([[], [who()]])],
        lambda: ["XPENDING", k(), group(), "-"],
        lambda: ["XCLAIM", k(), group(), who(), r.choice(["0", "0", "1000000", "x"]), *g.some(i),
            *r.choice([[], ["JUSTID"], ["FORCE"], ["FORCE", "JUSTID"], ["RETRYCOUNT", "7"], ["IDLE", "5"], ["TIME", "1"], ["LASTID", i()], ["BAD"]])],
        lambda: ["XAUTOCLAIM", k(), group(), who(), r.choice(["0", "0", "1000000", "x"]), r.choice(["-", "0", i()]),
            *r.choice([[], ["COUNT", r.choice(["1", "2", "0", "x"])], ["JUSTID"], ["BAD"]])],
        lambda: ["XINFO", "STREAM", k()], lambda: ["XINFO", "STREAM", k(), "FULL", *r.choice([[], ["COUNT", r.choice(["0", "2", "-1", "x"])], ["BAD", "1"]])],
        lambda: ["XINFO", "GROUPS", k()], lambda: ["XINFO", "CONSUMERS", k(), group()],
        lambda: ["XSETID", k(), i(), *r.choice([[], ["ENTRIESADDED", r.choice(["100", "1", "-1"]), "MAXDELETEDID", i()], ["ENTRIESADDED", "5"], ["BAD", "x"]])],
    ]
