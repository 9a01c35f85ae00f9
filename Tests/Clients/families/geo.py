"""Positions on earth: what is found, in which order, and every digit of distances and coordinates."""

CITIES = [("13.361389", "38.115556", "Palermo"), ("15.087269", "37.502669", "Catania"), ("0", "0", "null"),
    ("180", "85.05112878", "corner"), ("-180", "-85.05112878", "other corner"), ("179.9999", "10", "east"),
    ("-179.9999", "10", "west"), ("2.349014", "48.864716", "Paris"), ("-0.118092", "51.509865", "London"),
    ("151.2093", "-33.8688", "Sydney"), ("12", "83", "north"), ("-70", "-70", "south")]
WRONG = [("181", "0"), ("0", "86"), ("nan", "1"), ("abc", "1"), ("1", ""), ("1e3", "inf"), ("-180.1", "-85.06")]


def commands(g):
    r = g.r
    k = lambda: g.key("geo")
    unit = lambda: r.choice(["m", "km", "ft", "mi", "KM", "Mi"] if r.random() < 0.97 else ["x", "meters", ""])

    def place():
        kind = r.random()
        if kind < 0.25:
            return list(r.choice(CITIES))
        name = f"m{r.randrange(60)}" if r.random() < 0.9 else "long" * 20
        if kind < 0.6:  # a city's surroundings
            return [repr(2.35 + r.gauss(0, 0.3)), repr(48.86 + r.gauss(0, 0.2)), name]
        if kind < 0.97:
            return [repr(r.uniform(-180, 180)), repr(r.uniform(-85, 85)), name]
        return [*r.choice(WRONG), name]

    def center():
        return (list(r.choice(CITIES)[:2]) if r.random() < 0.6 else place()[:2])

    member = lambda: r.choice(CITIES)[2] if r.random() < 0.5 else f"m{r.randrange(70)}"
    number = lambda: r.choice(["0", "1", "10", "50", "100.5", "300", "1000", "5000", "20000", "1e9"]
        if r.random() < 0.95 else ["-1", "nan", "abc", "inf", ""])
    limit = lambda: r.choice([[], [], ["COUNT", "1"], ["COUNT", "3"], ["COUNT", "10", "ANY"], ["COUNT", "100"],
        ["COUNT", "2", "any"], ["COUNT", "20"]] if r.random() < 0.95 else [["COUNT", "0"], ["COUNT", "x"], ["ANY"], ["COUNT"]])
    order = lambda: r.choice([[], ["ASC"], ["DESC"], ["asc"]])
    shown = lambda: r.sample(["WITHCOORD", "WITHDIST", "WITHHASH"], r.choice([0, 0, 1, 2, 3]))
    start = lambda: ["FROMMEMBER", member()] if r.random() < 0.5 else ["FROMLONLAT", *center()]
    shape = lambda: ["BYRADIUS", number(), unit()] if r.random() < 0.6 else ["BYBOX", number(), number(), unit()]
    odd = lambda: r.choice([["BAD"], ["STORE", k()], ["STOREDIST"], ["STOREDIST", k()], ["BYRADIUS", "1", "m"],
        ["BYBOX", "1", "1", "m"], ["FROMMEMBER"], ["WITHDIST"]]) if r.random() < 0.08 else []
    store = lambda: r.choice([[], [], ["STORE", k()], ["STOREDIST", k()]])

    def shuffled(*parts):
        parts = [p for p in parts if p]
        r.shuffle(parts)
        return sum(parts, [])

    return [lambda: ["GEOADD", k(), *sum(g.some(place, 8), [])]] * 6 + [
        lambda: ["GEOADD", k(), *g.some(lambda: r.choice(["NX", "XX", "CH", "ch"]), 2), *sum(g.some(place), [])],
        lambda: ["GEOADD", k(), *place(), *r.choice([[], ["x"], ["NX", "CH"]])],
        lambda: ["GEOPOS", k(), *g.some(member)], lambda: ["GEOPOS", k()], lambda: ["GEOHASH", k()],
        lambda: ["GEOHASH", k(), *g.some(member)], lambda: ["ZREM", k(), *g.some(member)],
        lambda: ["GEODIST", k(), member(), member(), *r.choice([[], [unit()]])],
        lambda: ["GEODIST", k(), member(), member(), unit(), "x"] if r.random() < 0.1 else ["ZRANGE", k(), "0", "-1", "WITHSCORES"],
    ] + [
        lambda: ["GEOSEARCH", k(), *shuffled(start(), shape(), limit(), order(), shown(), odd())],
        lambda: ["GEOSEARCHSTORE", k(), k(), *shuffled(start(), shape(), limit(), order(), odd(),
            r.choice([[], ["STOREDIST"]]))] if r.random() < 0.4 else ["GEOSEARCH", k(), *start(), *shape(), "WITHDIST"],
        lambda: ["GEORADIUS", k(), *center(), number(), unit(), *shuffled(limit(), order(), shown(), odd())],
        lambda: ["GEORADIUSBYMEMBER", k(), member(), number(), unit(), *shuffled(limit(), order(), shown(), odd())],
        lambda: ["GEORADIUS", k(), *center(), number(), unit(), *shuffled(limit(), order(), store())]
            if r.random() < 0.4 else ["ZCARD", k()],
        lambda: ["GEORADIUSBYMEMBER", k(), member(), number(), unit(), *shuffled(limit(), order(), store())]
            if r.random() < 0.4 else ["ZCARD", k()],
        lambda: ["GEORADIUS_RO", k(), *center(), number(), unit(), *shuffled(limit(), order(), shown(), odd())],
        lambda: ["GEORADIUSBYMEMBER_RO", k(), member(), number(), unit(), *shuffled(limit(), order(), store())],
    ] * 3
