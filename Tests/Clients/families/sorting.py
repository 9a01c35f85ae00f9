"""SORT: its patterns, limits and stores. The hash table's order of a set or sorted set decides nothing here:
where elements may be equal and no limit cuts between them, lists alone are sorted."""
LISTED = ["3", "1", "2", "10", "-5", "1.5", "0", "100", "7", "20"]


def commands(g):
    r = g.r
    # Keys nobody else touches: Redis turns a sorted set it sorts into a skip list, and the encoding shows.
    list_key = lambda: r.choice(["sort-list", "sort-list", "sort-list", "sort-target"])
    zset_key = lambda: "sort-zset"
    # A skip list already.
    zset = lambda: ["ZADD", zset_key(), "5", "77", "1", "w" * 70, *sum(([str(r.randrange(9)), e()] for _ in range(3)), [])]
    e = lambda: r.choice(LISTED) if r.random() < 0.9 else r.choice(["a", "b", "abc", "", "x" * 50])
    by = lambda: r.choice(["w_*", "h_*->w", "h_*->", "w_*x", "*", "h_*->missing"])
    nosort = lambda: ["BY", r.choice(["nosort", "x", "", "#"])]
    gets = lambda: sum((["GET", r.choice(["#", "w_*", "h_*->w", "h_*->name", "none", "v_*", "*->"])]
        for _ in range(r.choice([0, 0, 1, 2, 3]))), [])
    limit = lambda: r.choice([[], [], ["LIMIT", r.choice(["0", "1", "2", "-3", "50"]), r.choice(["0", "1", "3", "-1", "10"])]])
    order = lambda: r.choice([[], [], ["ASC"], ["DESC"], ["desc"]])
    alpha = lambda: r.choice([[], ["ALPHA"]])
    bad = lambda: r.choice([["BAD"], ["LIMIT", "x", "1"], ["LIMIT", "1"], ["BY"], ["GET"], ["STORE"]]) if r.random() < 0.05 else []
    name = lambda: r.choice(["SORT", "SORT", "SORT_RO", "sort"])
    store = lambda: ["STORE", r.choice([list_key(), "sort-target", g.key()])]

    def shuffled(*parts):
        parts = [p for p in parts if p]
        r.shuffle(parts)
        return sum(parts, [])

    filling = [
        lambda: ["RPUSH", "sort-list", *g.some(e, 5)], lambda: ["RPUSH", "sort-list", *g.some(lambda: str(r.randrange(-99, 99)), 30)],
        lambda: ["LTRIM", "sort-list", "0", "60"], zset, zset, lambda: ["DEL", "sort-list"],
        lambda: ["SADD", "sort-set", *g.some(e, 5)], lambda: ["SADD", "sort-set", *g.some(lambda: str(r.randrange(99)), 9)],
        lambda: ["DEL", "sort-set"], lambda: ["MSET", *sum((["w_" + n, str(r.randrange(30))] for n in r.sample(LISTED, 3)), [])],
        lambda: ["SET", "w_" + e(), r.choice(["abc", "1.5", "-3", "1e400", "", " 7", "nan", "zz", "12x"])],
        lambda: ["HSET", "h_" + e(), "w", str(r.randrange(50)), "name", g.value()], lambda: ["DEL", "w_" + e(), "h_" + e()],
        lambda: ["LREM", "sort-list", "0", r.choice(["a", "b", "abc", ""])], lambda: ["SREM", "sort-set", "a", "b", "abc", "", "x" * 50],
    ]
    # With a total order any source will do: by number, then by text.
    any_key = lambda: r.choice([list_key(), "sort-set", zset_key(), "sort-target", "h_1", "w_1"])
    sorts = [
        lambda: [name(), any_key(), *shuffled(limit(), order(), bad(), gets())],
        lambda: [name(), any_key(), "ALPHA", *shuffled(limit(), order(), bad(), gets())],
        lambda: [name(), any_key(), *shuffled(["BY", by()], limit(), order(), bad(), gets())],
        lambda: [name(), any_key(), *shuffled(["BY", by()], limit(), order(), gets())],
        lambda: ["SORT", any_key(), *shuffled(["BY", by()], limit(), order(), gets(), store())],
        lambda: ["SORT", any_key(), *shuffled(alpha(), limit(), order(), gets(), store())],
        lambda: [name(), list_key(), "ALPHA", *shuffled(["BY", by()], limit(), order(), bad(), gets())],
        lambda: [name(), r.choice([list_key(), zset_key()]), *shuffled(nosort(), alpha(), limit(), order(), gets())],
        lambda: ["SORT", r.choice([list_key(), zset_key(), "sort-set"]), *shuffled(nosort(), limit(), order(), gets(), store())],
        lambda: ["SORT", list_key(), "BY", "nosort", *shuffled(["BY", by()], order())] if r.random() < 0.1 else ["LLEN", "sort-target"],
        lambda: ["EVAL", "return redis.call('SORT', KEYS[1], 'BY', ARGV[1], 'GET', '#', 'GET', ARGV[2])", "1",
            list_key(), by(), r.choice(["w_*", "h_*->name", "#"])],
    ]
    # Redis 7.0 takes an error of an earlier number, in whatever command, for one of SORT's: ZADD forgets it.
    return filling * 2 + [lambda sort=sort: [["ZADD", "errno", "1", "x"], sort()] for sort in sorts]
