"""Sorted sets."""
from families import LEX_KEYS

MEMBERS = ["a", "b", "c", "d", "1", "2", "-1", "", "x" * 70, "01", "hello", "y" * 3000, "ab", "abc"]
SCORES = ["0", "1", "2", "-1", "1.5", "3.1", "0.1", "1e10", "inf", "-inf", "+inf", "nan", "abc", "", "1e400", "-0",
    "9007199254740993", "1e-320", "0x10", " 1", "123456789012345678"]
BOUNDS = ["0", "1", "(1", "-inf", "+inf", "(0.1", "5", "(-1", "abc", "nan", "", "(", "10", "inf"]
TEXTS = ["-", "+", "[a", "(a", "[b", "(c", "[", "(", "a", "", "[hello", "(m100", "[m300"]

maybe = lambda reply, words: sorted(reply) if isinstance(reply, list) and words[2:3] == ["1000"] else (
    len(reply) if isinstance(reply, list) else reply is None)


def scanned(reply, words):
    items = reply[1]
    return [reply[0], sorted((items[i], items[i + 1]) for i in range(0, len(items), 2))] if reply[0] == b"0" else reply


NORMAL = {"ZRANDMEMBER": maybe, "ZSCAN": scanned}


def commands(g):
    r, n = g.r, g.number
    k = lambda: g.key("zset")
    either = lambda: g.key(r.choice(["zset", "zset", "set"]))
    m = lambda: r.choice(MEMBERS) if r.random() < 0.5 else f"m{r.randrange(40)}"
    many = lambda: f"m{r.randrange(500)}"
    s = lambda: r.choice(SCORES[:10] if r.random() < 0.9 else SCORES)
    i = lambda: r.choice(["0", "1", "-1", "2", "-2", "5", "-5", "30", "-30", "100", "abc"])
    b = lambda: r.choice(BOUNDS[:6] if r.random() < 0.8 else BOUNDS)
    t = lambda: r.choice(TEXTS[:6] if r.random() < 0.8 else TEXTS)
    limit = lambda: r.choice([[], [], ["LIMIT", i(), i()], ["LIMIT", "0"]])
    with_scores = lambda: r.choice([[], ["WITHSCORES"], ["withscores"], ["BAD"]] if r.random() < 0.2 else [[], ["WITHSCORES"]])
    option = lambda: r.choice(["NX", "XX", "GT", "LT", "CH", "INCR", "ch"])
    weights = lambda: r.choice([[], [], ["WEIGHTS", s(), s()], ["AGGREGATE", r.choice(["SUM", "MIN", "MAX", "BAD"])],
        ["WEIGHTS", "2", "0.5", "AGGREGATE", "MAX"], ["WEIGHTS", "1"], ["WITHSCORES"]])
    count = lambda: r.choice(["2", "2", "2", "1", "0", "x", "5", "-1"])
    lex = lambda: r.choice(LEX_KEYS)
    adding = [lambda: ["ZADD", lex(), *sum((["7", r.choice([m, many])()] for _ in range(r.randint(1, 40))), [])]] + [lambda: ["ZADD", k(), *sum(([s(), m()] for _ in range(r.randint(1, 5))), [])]] * 5
    return adding + [
        lambda: ["ZADD", k(), *sum(([str(r.randrange(100)), many()] for _ in range(60)), [])],
        lambda: ["ZADD", k(), *g.some(option, 2), s(), m()], lambda: ["ZADD", k(), option(), s(), m(), s(), m()],
        lambda: ["ZADD", k(), s(), m(), s()], lambda: ["ZINCRBY", k(), s(), m()], lambda: ["ZREM", k(), *g.some(m)],
        lambda: ["ZREM", k(), *g.some(many, 60)], lambda: ["ZCARD", k()], lambda: ["ZSCORE", k(), m()],
        lambda: ["ZMSCORE", k(), *g.some(m)], lambda: [r.choice(["ZRANK", "ZREVRANK"]), k(), r.choice([m, many])()],
        lambda: [r.choice(["ZRANGE", "ZREVRANGE"]), k(), i(), i(), *with_scores()],
        lambda: ["ZRANGE", k(), "0", "-1", "WITHSCORES"], lambda: ["ZRANGE", k(), i(), i(), "REV", *with_scores()],
        lambda: [r.choice(["ZRANGEBYSCORE", "ZREVRANGEBYSCORE"]), k(), b(), b(), *with_scores(), *limit()],
        lambda: [r.choice(["ZRANGEBYLEX", "ZREVRANGEBYLEX"]), lex(), t(), t(), *limit()],
        lambda: ["ZRANGE", k(), b(), b(), "BYSCORE", *r.choice([[], ["REV"]]), *limit(), *with_scores()],
        lambda: ["ZRANGE", lex(), t(), t(), "BYLEX", *r.choice([[], ["REV"]]), *limit(), *with_scores()],
        lambda: ["ZRANGE", k(), i(), i(), *limit()],
        lambda: ["ZRANGESTORE", k(), lex(), t(), t(), "BYLEX"],
        lambda: ["ZRANGESTORE", k(), k(), *r.choice([[i(), i()], [b(), b(), "BYSCORE"],
            [i(), i(), "REV"], [b(), b(), "BYSCORE", "REV", "LIMIT", "1", "3"], [i(), i(), "WITHSCORES"]])],
        lambda: ["ZCOUNT", k(), b(), b()], lambda: ["ZLEXCOUNT", lex(), t(), t()], lambda: ["ZREM", lex(), *g.some(many, 30)],
        lambda: ["ZREMRANGEBYRANK", k(), i(), i()] if r.random() < 0.3 else ["ZREMRANGEBYRANK", k(), "3", "5"],
        lambda: ["ZREMRANGEBYSCORE", k(), b(), b()] if r.random() < 0.2 else ["ZCARD", k()],
        lambda: ["ZREMRANGEBYLEX", lex(), t(), t()] if r.random() < 0.2 else ["ZCARD", k()],
        lambda: [r.choice(["ZPOPMIN", "ZPOPMAX"]), k(), *r.choice([[], ["0"], ["2"], ["-1"], ["x"], ["5"]])],
        lambda: ["ZMPOP", count(), k(), k(), r.choice(["MIN", "MAX", "min", "BAD"]),
            *r.choice([[], ["COUNT", r.choice(["1", "3", "0", "x"])], ["BAD"]])],
        lambda: [r.choice(["BZPOPMIN", "BZPOPMAX"]), "zset0", r.choice(["-1", "abc"])],
        lambda: [r.choice(["ZUNION", "ZINTER", "ZDIFF"]), count(), either(), either(), *weights(), *with_scores()],
        lambda: [r.choice(["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"]), k(), count(), either(), either(), *weights()],
        lambda: ["ZINTERCARD", count(), either(), either(), *r.choice([[], ["LIMIT", i()], ["BAD"]])],
        lambda: ["ZRANDMEMBER", k()], lambda: ["ZRANDMEMBER", k(), "1000", *r.choice([[], ["WITHSCORES"]])],
        lambda: ["ZRANDMEMBER", k(), r.choice(["0", "2", "-3", "x"]), *with_scores()],
        lambda: ["ZSCAN", k(), "0", "COUNT", "100000"],
        lambda: ["ZSCAN", k(), r.choice(["x", "0"]), *r.choice([["COUNT", "0"], ["BAD", "1"], ["MATCH"]])],
        lambda: ["OBJECT", "ENCODING", k()],
    ]
