"""Transactions of many clients on several loops, checked against what must hold whatever the order."""
import random
import threading

import redis


def together(work, count):
    """Runs `work(number)` in `count` threads; the first failure is raised."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def transfers(server, seed, workers=6, accounts=8, rounds=150):
    """Money moves between accounts under WATCH; readers never see a sum that is not whole.

    Method: each transfer reads two accounts, then writes both in EXEC, again if EXEC gives nothing.
    The values are 3 KB long, and a demoter sends them to the SSD all the while.
    """
    def pack(n):
        return f"{n}:".encode() + b"x" * 3000

    def unpack(value):
        return int(value.split(b":")[0])

    setup = server.client()
    names = [f"account{i}" for i in range(accounts)]
    setup.mset({name: pack(1000) for name in names})
    retries = [0] * workers

    def work(number):
        r, client = random.Random(f"{seed}:{number}"), server.client()
        if number == 0:
            for _ in range(rounds):
                client.execute_command("TIER", "DEMOTE", *r.sample(names, 3))
            return
        for i in range(rounds):
            if number == 1:
                pipe = client.pipeline(transaction=True)
                for name in names:
                    pipe.get(name)
                values = pipe.execute()
                if sum(map(unpack, values)) != 1000 * accounts:
                    raise AssertionError(f"seed {seed}: sum is {list(map(unpack, values))}")
                continue
            a, b = r.sample(names, 2)
            while True:
                pipe = client.pipeline(transaction=True)
                try:
                    pipe.watch(a, b)
                    x, y = unpack(pipe.get(a)), unpack(pipe.get(b))
                    amount = r.randrange(10)
                    pipe.multi()
                    pipe.set(a, pack(x - amount))
                    pipe.set(b, pack(y + amount))
                    pipe.execute()
                    break
                except redis.WatchError:
                    retries[number] += 1

    together(work, workers)
    total = sum(unpack(v) for v in setup.mget(names))
    if total != 1000 * accounts:
        raise AssertionError(f"seed {seed}: {total} in all accounts")


def write_skew(server, seed, rounds=300):
    """Two clients each watch what the other writes: never do both EXECs run.

    Method: each reads the other's key and sets its own to 1 only if the other's is 0.
    """
    admin = server.client()
    barrier = threading.Barrier(2)
    ran = [0, 0]

    def work(number):
        client, mine, other = server.client(), f"skew{number}", f"skew{1 - number}"
        for i in range(rounds):
            if number == 0:
                admin.mset({"skew0": 0, "skew1": 0})
            barrier.wait(60)
            pipe = client.pipeline(transaction=True)
            try:
                pipe.watch(other)
                free = pipe.get(other) == b"0"
                pipe.multi()
                pipe.set(mine, 1 if free else 0)
                pipe.execute()
                ran[number] += 1
            except redis.WatchError:
                pass
            barrier.wait(60)
            if number == 0 and admin.mget("skew0", "skew1") == [b"1", b"1"]:
                raise AssertionError(f"seed {seed}, round {i}: both ran")

    together(work, 2)


def everything_at_once(server, seed, rounds=60):
    """EXEC with commands over whole databases is one step too.

    Method: one client exchanges databases 0 and 1 twice in EXEC and empties a third between; others
    read a key of database 0, which must always be that of database 0.
    """
    admin = server.client()
    admin.set("name", "zero" * 500)
    server.client(db=1).set("name", "one" * 500)

    def work(number):
        client = server.client()
        for i in range(rounds):
            if number == 0:
                pipe = client.pipeline(transaction=True)
                pipe.execute_command("SWAPDB", 0, 1)
                pipe.get("name")
                pipe.execute_command("SELECT", 2)
                pipe.set("gone", i)
                pipe.execute_command("FLUSHDB")
                pipe.execute_command("SELECT", 0)
                pipe.execute_command("SWAPDB", 0, 1)
                pipe.get("name")
                replies = pipe.execute()
                if replies[1] != b"one" * 500 or replies[7] != b"zero" * 500:
                    raise AssertionError(f"{[str(x)[:20] for x in replies]}")
            elif number == 1:
                client.execute_command("TIER", "DEMOTE", "name")
            elif client.get("name") != b"zero" * 500:
                raise AssertionError("a transaction was seen half-way")

    together(work, 4)


def queues(server, seed, producers=3, consumers=6, each=200):
    """Whatever is pushed is popped once, by whoever waits, also through a list in between; in the end
    nobody waits and nothing is left.

    Method: consumers of three kinds wait for several lists, while a demoter sends the lists to the SSD.
    Elements are 500 bytes, so that there is something to demote.
    """
    names = [f"queue{i}" for i in range(3)]
    got, lock = [], threading.Lock()
    admin = server.client()
    demoting = threading.Event()

    def work(number):
        r, client = random.Random(f"{seed}:{number}"), server.client()
        if number == 0:
            while not demoting.is_set():
                client.execute_command("TIER", "DEMOTE", *names, "middle")
        elif number <= producers:
            for i in range(each):
                value = f"{number}:{i}:".encode() + b"x" * 500
                if r.random() < 0.3:
                    pipe = client.pipeline(transaction=True)
                    pipe.rpush(r.choice(names), value)
                    pipe.incr("pushed")
                    pipe.execute()
                else:
                    client.rpush(r.choice(names), value)
        else:
            while True:
                if number % 3 == 0:
                    taken = client.blpop(r.sample(names, 3) + ["end"], 0)[1]
                elif number % 3 == 1:
                    taken = client.execute_command("BLMOVE", "queue0", "middle", "LEFT", "RIGHT", 0.02)
                    popped = client.blpop(["middle", "end"], 0.02)
                    taken = popped[1] if popped else b"again"
                else:
                    taken = client.brpop([names[2], names[1], "middle", "end"], 0)[1]
                if taken == b"end":
                    return
                if taken != b"again":
                    with lock:
                        got.append(taken)
                        if len(got) == producers * each:
                            demoting.set()
                            for _ in range(consumers):
                                admin.rpush("end", "end")

    together(work, 1 + producers + consumers)
    if len(set(got)) != producers * each or len(got) != producers * each:
        raise AssertionError(f"seed {seed}: {len(got)} popped, {len(set(got))} different")
    if admin.exists(*names, "middle", "end") or admin.info("clients")["blocked_clients"]:
        raise AssertionError(f"seed {seed}: something is left, or somebody waits")
