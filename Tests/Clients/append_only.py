"""The append-only file: what was acknowledged is there again, whatever ends the process and in whatever state its files are."""
import os
import random
import re
import resource
import shutil
import signal
import struct
import threading
import time

import redis

from persistence import change_everything, dataset, digest, functions

DEBUG = ("--enable-debug-command", "yes", "--appendonly", "yes")


def directory(server):
    return server.directory + "/appendonlydir"


def manifest(server):
    with open(directory(server) + "/appendonly.aof.manifest") as f:
        return [line.split() for line in f]


def facts(client):
    return client.info("persistence")


def is_written(client):
    """Whether nothing waits in the process any more: a kill loses nothing then."""
    return facts(client)["aof_buffer_length"] == 0


def kill(server):
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(60)


def survives(server, again, check, wait_until, wanted=None):
    """Kills a server whose log is written and starts another in its directory; returns it."""
    client = server.client()
    wanted = wanted or digest(client)
    wait_until(lambda: is_written(client), "everything is written")
    kill(server)
    other = again(server)
    check(digest(other.client()) == wanted, "what is there again is not what there was")
    return other


def everything(tierd, again, check, wait_until, loops, memory, policy):
    """Every type is changed in every way, beside rewriting; killed, and all of it is there; killed again in the middle of a rewrite."""
    options = ["--io-threads", str(loops), "--maxmemory", memory, "--appendfsync", policy, *DEBUG]
    server = tierd(f"aof-{loops}-{memory}-{policy}", *options)
    dataset(server, loops)
    functions(server.client())
    for seed in (1, 2):
        stop = threading.Event()
        writers = [threading.Thread(target=change_everything, args=(server, seed * 10 + n, stop)) for n in range(2)]
        for writer in writers:
            writer.start()
        client = server.client()
        check(client.bgrewriteaof() is True, "begun")
        wait_until(lambda: facts(server.client())["aof_rewrites"] == 1, "the end of the rewrite")
        before = client.info("stats")["total_commands_processed"]
        wait_until(lambda: client.info("stats")["total_commands_processed"] > before + 2000, "more changes")
        stop.set()
        for writer in writers:
            writer.join()
        if seed == 2:
            client.execute_command("BGREWRITEAOF")
        server = survives(server, lambda old: again(old, *options), check, wait_until)
        check(server.client().fcall("f", 0, "here") == b"here", "the function")
    client = server.client()
    wanted = digest(client)
    check(server.stop() == 0, "exit status")
    server = again(server, *options)
    check(digest(server.client()) == wanted, "after SIGTERM")
    server.stop()


def effects(tierd, again, check, wait_until):
    """What depends on chance, on the clock or on who waited is there again as it came out."""
    server = tierd("aof-effects", *DEBUG, "--io-threads", "2")
    client = server.client()
    client.sadd("chance", *range(1000))
    popped = client.spop("chance", 300) + [client.spop("chance")]
    check(len(set(popped)) == 301, "popped")
    client.set("long", 1, ex=1000)
    client.set("gone", 1, px=1)
    client.set("kept", 1, px=300)
    client.persist("kept")
    client.set("late", 1, px=60)
    wait_until(lambda: not client.exists("gone") and not client.exists("late"), "expiry")
    client.set("late", 2)
    client.hset("fields", mapping={"a": 1, "b": 2})
    client.execute_command("HPEXPIRE", "fields", 1, "FIELDS", 1, "a")
    client.xadd("stream", {"a": 1})
    client.xgroup_create("stream", "g", 0)
    client.xreadgroup("g", "c", {"stream": ">"})
    waiting = []

    def wait(*words):
        waiting.append(threading.Thread(target=lambda: server.client().execute_command(*words)))
        waiting[-1].start()
        wait_until(lambda: client.info("clients")["blocked_clients"] == len([t for t in waiting if t.is_alive()]), "it waits")

    wait("BLPOP", "empty1", "empty2", 0)
    wait("BLMPOP", 0, 2, "empty3", "empty4", "LEFT", "COUNT", 2)
    wait("BLMOVE", "empty5", "to", "LEFT", "RIGHT", 0)
    wait("BZPOPMIN", "empty6", "empty7", 0)
    client.xgroup_create("other", "g", 0, mkstream=True)
    wait("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "stream", "other", ">", ">")
    # Both keys get something in one step, the second first: its element is the one that is given.
    with client.pipeline() as pipe:
        pipe.rpush("empty2", "x", "y").rpush("empty1", "x", "y").rpush("empty4", *range(5)).rpush("empty3", *range(5))
        pipe.rpush("empty5", "moved").zadd("empty7", {"a": 1, "b": 2}).zadd("empty6", {"a": 1})
        pipe.xadd("other", {"b": 1}).xadd("stream", {"b": 1})
        pipe.execute()
    for thread in waiting:
        thread.join(60)
    check(client.llen("empty2") == 1 and client.llen("empty1") == 2 and client.lrange("to", 0, -1) == [b"moved"], "given")
    client.eval("for i = 1, 100 do redis.call('rpush', KEYS[1], i) end redis.call('select', 5) redis.call('set', 'x', 1)", 1, "script")
    client.execute_command("SORT", "script", "BY", "w_*", "STORE", "sorted")
    client.swapdb(0, 9)
    client.swapdb(0, 9)
    server.client(db=7).set("flushed", 1)
    server.client(db=7).flushdb()
    client.set("last", 1)
    pending = client.xpending("other", "g")
    server = survives(server, lambda old: again(old, *DEBUG), check, wait_until)
    client = server.client()
    check(not set(client.smembers("chance")) & set(popped) and client.scard("chance") == 699, "SPOP")
    check(900 < client.ttl("long") <= 1000 and client.ttl("kept") == -1 and client.get("late") == b"2", "the clock")
    check(client.hgetall("fields") == {b"b": b"2"}, "fields")
    check(client.xpending("other", "g") == pending, "who waited")
    check(client.llen("script") == 100 and server.client(db=5).get("x") == b"1", "a script")
    server.stop()


def open_increments(server):
    """Names of the increments the server has open."""
    links = f"/proc/{server.process.pid}/fd"
    names = []
    for number in os.listdir(links):
        try:
            names.append(os.readlink(f"{links}/{number}"))
        except FileNotFoundError:
            continue
    return [name for name in names if ".incr.aof" in name]


def switched(tierd, again, check, wait_until):
    """Turned on with data there, its policy changed, turned off and on again; a start without files begins with what there is."""
    options = ["--enable-debug-command", "yes", "--io-threads", "2"]
    server = tierd("aof-switch", *options)
    client = server.client()
    pipe = client.pipeline(transaction=False)
    for i in range(50_000):
        pipe.set(f"k{i}", "v" * 100)
    pipe.execute()
    check(facts(client)["aof_enabled"] == 0, "off")
    client.config_set("appendonly", "yes")
    client.set("during", 1)
    wait_until(lambda: facts(client)["aof_rewrites"] == 1, "its base")
    for policy in ("always", "no", "everysec", "always"):
        client.config_set("appendfsync", policy)
        client.set(policy, 1)
        client.rpush("policies", policy)
    server = survives(server, lambda old: again(old, *options, "--appendonly", "yes"), check, wait_until)
    client = server.client()
    check(client.dbsize() == 50_005 and client.lrange("policies", 0, -1) == [b"always", b"no", b"everysec", b"always"], "there")
    client.config_set("appendonly", "no")
    client.set("unrecorded", 1)
    client.config_set("appendonly", "yes")
    wait_until(lambda: facts(client)["aof_rewrites"] == 1 and not facts(client)["aof_rewrite_in_progress"], "its base again")
    client.set("recorded", 1)
    server = survives(server, lambda old: again(old, *options, "--appendonly", "yes"), check, wait_until)
    client = server.client()
    check(client.get("unrecorded") == b"1" and client.get("recorded") == b"1", "there again")
    # Faster than the disk writes: no file of before stays open.
    for i in range(4):
        with client.pipeline(transaction=False) as pipe:
            pipe.set("between", i).config_set("appendonly", "no").config_set("appendonly", "yes").set("again", i).execute()
        wait_until(lambda: not facts(client)["aof_rewrite_in_progress"] and not facts(client)["aof_rewrite_scheduled"], "its base")
    wait_until(lambda: len(open_increments(server)) == 1, "files of before are closed")
    server = survives(server, lambda old: again(old, *options, "--appendonly", "yes"), check, wait_until)
    client = server.client()
    check(client.get("between") == b"3" and client.get("again") == b"3", "there again")
    # A dump.rdb and no append-only file: Redis would begin with nothing.
    client.save()
    server.stop()
    shutil.rmtree(directory(server))
    server = again(server, *options, "--appendonly", "yes")
    client = server.client()
    check(client.dbsize() == 50_009 and "b" in [line[5] for line in manifest(server)], "dump.rdb, and a base of it")
    client.set("after", 1)
    server = survives(server, lambda old: again(old, *options, "--appendonly", "yes"), check, wait_until)
    server.stop()


def policy_refused(tierd, check, wait_until):
    """appendfsync that needs a file which cannot be created is refused: all settings of the command stay, and nobody waits."""
    server = tierd("aof-policy", *DEBUG)
    client = server.client()
    client.set("a", 1)
    before = manifest(server)
    # Where the next increment belongs there is something else.
    next_one = f"{directory(server)}/appendonly.aof.{int(before[-1][3]) + 1}.incr.aof"
    os.mkdir(next_one)
    try:
        client.execute_command("CONFIG", "SET", "hz", "50", "appendfsync", "always")
        check(False, "accepted")
    except redis.ResponseError as error:
        check("'appendfsync'" in str(error), error)
    check(client.config_get("appendfsync")["appendfsync"] == "everysec" and client.config_get("hz")["hz"] == "10", "as before")
    check(client.set("b", 1) and client.get("b") == b"1" and manifest(server) == before, "served")
    os.rmdir(next_one)
    check(client.config_set("appendfsync", "always") and client.set("c", 1), "accepted")
    check(facts(client)["aof_commits_durable"] == facts(client)["aof_commits"], "durable")
    server.stop()


def write_fails(tierd, again, check, wait_until):
    """The file cannot be written any more: MISCONF, until a rewrite has put new files in its place. Stopped while it lasts, a server
    leaves everything that was acknowledged."""
    options = [*DEBUG, "--io-threads", "1", "--auto-aof-rewrite-percentage", "0"]
    server = tierd("aof-limit", *options)
    client = server.client()
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))

    def until_refused():
        deadline, last = time.monotonic() + 60, None
        while time.monotonic() < deadline:
            value = os.urandom(10_000)
            try:
                client.set("k", value)
                last = value
            except redis.ResponseError as error:
                check(str(error).startswith("MISCONF Errors writing to the AOF file"), error)
                check(client.get("k") == last and facts(client)["aof_last_write_status"] == "err", "reads are served")
                return last
        check(False, "never refused")

    until_refused()
    client.bgrewriteaof()
    wait_until(lambda: facts(client)["aof_last_write_status"] == "ok", "a rewrite ends it")
    client.set("after", 1)
    wait_until(lambda: is_written(client) and facts(client)["aof_commits"] == facts(client)["aof_commits_durable"], "durable")
    last = until_refused()
    check(server.stop() == 0, "exit status")
    server = again(server, *options)
    client = server.client()
    check(client.get("k") == last and client.get("after") == b"1", "what was acknowledged is there")
    server.stop()


def rewritten_by_itself(tierd, check, wait_until):
    """auto-aof-rewrite-*: a file that has doubled is rewritten, and old files go."""
    server = tierd("aof-auto", *DEBUG, "--auto-aof-rewrite-min-size", "1mb")
    client = server.client()
    for i in range(3000):
        client.set("k", os.urandom(1000))
    wait_until(lambda: facts(client)["aof_rewrites"] > 0, "rewritten")
    wait_until(lambda: not facts(client)["aof_rewrite_in_progress"], "done")
    names = {line[1] for line in manifest(server)} | {"appendonly.aof.manifest"}
    wait_until(lambda: set(os.listdir(directory(server))) == names, "old files are gone")
    check(facts(client)["aof_current_size"] < 2 << 20, facts(client))
    client.config_set("auto-aof-rewrite-percentage", 0)
    before = facts(client)["aof_rewrites"]
    for i in range(3000):
        client.set("k", os.urandom(1000))
    check(facts(client)["aof_rewrites"] == before, "not by itself")
    server.stop()


def of_redis(tierd, redis_server, again, check, wait_until):
    """What redis-server wrote: with an RDB preamble and without, rewritten and not; the single file of Redis before 7."""
    for preamble in ("yes", "no"):
        real = redis_server(f"aof-of-redis-{preamble}", "--appendonly", "yes", "--aof-use-rdb-preamble", preamble, "--aof-timestamp-enabled", "yes")
        dataset(real, 3, keys=100, large=3000)
        functions(real.client())
        real.client().bgrewriteaof()
        wait_until(lambda: not facts(real.client())["aof_rewrite_in_progress"], "rewritten")
        other = real.client()
        for i in range(500):
            other.set(f"new{i}", i, ex=1000)
            other.spop("bigs")
        with other.pipeline() as pipe:
            pipe.incr("n").incr("n").execute()
        wanted = digest(other)
        kill(real)
        name = f"aof-from-redis-{preamble}"
        os.makedirs(os.path.join(os.path.dirname(real.directory), name))
        shutil.copytree(directory(real), os.path.join(os.path.dirname(real.directory), name, "appendonlydir"))
        server = tierd(name, *DEBUG, ready=True)
        check(digest(server.client()) == wanted, f"preamble {preamble}")
        check(server.client().fcall("f", 0, "here") == b"here", "the function")
        server.client().set("more", 1)
        server = survives(server, lambda old: again(old, *DEBUG), check, wait_until)
        server.stop()
    old = os.path.join(os.path.dirname(server.directory), "aof-single")
    os.makedirs(old)
    with open(old + "/appendonly.aof", "wb") as f:
        f.write(b"*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"
            b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nEXEC\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n")
    server = tierd("aof-single", *DEBUG, ready=True)
    client = server.client(db=2)
    check(client.get("k") == b"v" and client.get("n") == b"1", "what was whole of it")
    check("Truncating the AOF" in open(server.log.name).read(), "the torn end is told")
    client.set("k", "w")
    server = survives(server, lambda old: again(old, *DEBUG), check, wait_until)
    check(server.client(db=2).get("k") == b"w", "and on")
    server.stop()


def commits(data):
    """Where the commits of a file begin, and their sequences."""
    found, at = [], 0
    while data[at:at + 4] == b"TAO1":
        _, _, length, extent, sequence, durable = struct.unpack_from("<4sIIIQQ", data, at)
        found.append((at, length, extent, sequence, durable))
        at += extent
    return found


def torn_and_damaged(tierd, again, start, check, wait_until):
    """Cut anywhere: the whole commits before are there. Damaged where something durable follows: refused, and nothing is changed."""
    server = tierd("aof-torn", *DEBUG, "--appendfsync", "always", "--io-threads", "1")
    client = server.client()
    for i in range(30):
        client.rpush("l", i)
    name = directory(server) + "/" + manifest(server)[0][1]
    client.ping()
    kill(server)
    with open(name, "rb") as f:
        sound = f.read()
    places = commits(sound)
    check(len(places) == 30 and all(extent == 4096 for _, _, extent, _, _ in places), places)
    sound = sound[:places[-1][0] + 4096]
    r = random.Random(1)

    def try_with(data, *options):
        with open(name, "wb") as f:
            f.write(data)
        for other in manifest(server)[1:]:
            os.remove(directory(server) + "/" + other[1])
        with open(directory(server) + "/appendonly.aof.manifest", "w") as f:
            f.write(" ".join(manifest_before[0]) + "\n")
        return start(server.directory, *DEBUG, *options)

    manifest_before = manifest(server)
    for length in [0, 10, 4095, 4096] + [r.randrange(len(sound)) for _ in range(6)]:
        whole = sum(at + 32 + size <= length for at, size, _, _, _ in places)
        status, log, client = try_with(sound[:length])
        check(client is not None, f"cut at {length}: {log[-300:]}")
        n = client.llen("l")
        check(n == whole and client.lrange("l", 0, -1) == [str(i).encode() for i in range(n)], f"cut at {length}: {n}")
        status()
    # In the last commit: torn. Before: it was durable.
    for k in [29] * 3 + [r.randrange(28) for _ in range(6)]:
        at, length = places[k][:2]
        data = bytearray(sound)
        data[at + r.randrange(32 + length)] ^= 1 << r.randrange(8)
        status, log, client = try_with(bytes(data))
        if k == 29:
            check(client is not None and client.llen("l") == 29, f"{k}: {log[-300:]}")
            status()
        else:
            check(client is None and "damaged" in log and f"at byte {at}" in log, f"{k}: {log[-500:]}")
            with open(name, "rb") as f:
                check(f.read() == bytes(data), "nothing is changed")
    status, log, client = try_with(sound[:29 * 4096 + 50], "--aof-load-truncated", "no")
    check(client is None and "aof-load-truncated" in log, log[-300:])
    status, log, client = try_with(b"TAO2" + sound[4:])
    check(client is None and "newer tierd" in log, log[-300:])
    # A block that was never written, and one behind it that was.
    data = bytearray(sound)
    data[28 * 4096:29 * 4096] = bytes(4096)
    status, log, client = try_with(bytes(data))
    check(client is None and "damaged" in log or client.llen("l") == 28, log[-300:])
    if client is not None:
        status()


def acknowledged(server, seconds_of, stop, oracle, n, r):
    """One client that remembers what was acknowledged: keys of its own, counted up; a list; a hash."""
    try:
        client = server.client(retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
        while not stop.is_set():
            i, key = oracle["next"], f"c{n}:{r.randrange(200)}"
            oracle["tried"][key] = i
            oracle["next"] = i + 1
            kind = r.randrange(4)
            if kind == 0:
                client.set(key, f"{i}:" + "x" * r.randrange(3000))
            elif kind == 1:
                client.eval("redis.call('set', KEYS[1], ARGV[1]) redis.call('incr', KEYS[2])", 2, key, f"c{n}:n", f"{i}:")
            elif kind == 2:
                with client.pipeline() as pipe:
                    pipe.set(key, f"{i}:").incr(f"c{n}:n").execute()
            else:
                client.execute_command("TIER", "DEMOTE", key)
                client.getset(key, f"{i}:y")
            oracle["done"][key] = (i, time.monotonic())
            oracle["last"] = i
    except (redis.ConnectionError, redis.TimeoutError, ConnectionError):
        pass


def kill_cycles(tierd, again, check, wait_until, policy, cycles, seed):
    """kill -9 under load, again and again: with `always` nothing acknowledged is lost, with `everysec` at most the last second; never
    a wrong value."""
    r = random.Random(seed)
    options = ["--enable-debug-command", "yes", "--appendonly", "yes", "--appendfsync", policy, "--io-threads", "2",
        "--maxmemory", "40mb", "--auto-aof-rewrite-min-size", "1mb"]
    server = tierd(f"kill-{policy}-{seed}", *options)
    oracles = [{"tried": {}, "done": {}, "next": 1, "last": 0} for _ in range(4)]
    for cycle in range(cycles):
        stop = threading.Event()
        threads = [threading.Thread(target=acknowledged, args=(server, 1, stop, oracle, n, random.Random(r.random())))
            for n, oracle in enumerate(oracles)]
        before = sum(oracle["last"] for oracle in oracles)
        for thread in threads:
            thread.start()
        amount = r.randrange(200, 1500)
        wait_until(lambda: sum(oracle["last"] for oracle in oracles) > before + amount, "work is done")
        if cycle % 3 == 1:
            server.client().execute_command("BGREWRITEAOF")
        killed = time.monotonic()
        kill(server)
        stop.set()
        for thread in threads:
            thread.join()
        server = again(server, *options)
        client = server.client()
        for n, oracle in enumerate(oracles):
            for key, tried in oracle["tried"].items():
                value = client.get(key)
                done, at = oracle["done"].get(key, (0, 0))
                got = int(value.split(b":")[0]) if value else 0
                kept = done if policy == "always" or killed - at > 1.5 else 0
                check(kept <= got <= tried, f"seed {seed}, cycle {cycle}: {key} is {got}, acknowledged {done}, tried {tried}")
                oracle["done"][key] = (got, 0)
                oracle["tried"][key] = got
    check(server.stop() == 0, "exit status")
