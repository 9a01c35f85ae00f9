"""Saving: RDB files written beside writes, loaded by a real redis-server, and files of its loaded here."""
import os
import random
import shutil
import threading

import redis

TYPES = ("string", "hash", "list", "set", "zset", "stream")


def dataset(server, seed, keys=300, large=20_000):
    """Keys of every type and encoding, some with an expiry, in three databases; long values of each kind."""
    r = random.Random(seed)
    for database in (0, 3, 15):
        pipe = server.client(db=database).pipeline(transaction=False)
        for i in range(keys):
            size = r.choice([1, 5, 130, 600])
            pipe.set(f"s{i}", r.choice([str(r.randrange(-10**12, 10**12)), "x" * size, r.randbytes(size * 7)]))
            pipe.hset(f"h{i}", mapping={f"f{j}": r.randrange(1000) for j in range(size)})
            pipe.hset(f"hl{i}", "long", "y" * r.choice([10, 100]))
            pipe.rpush(f"l{i}", *[r.choice([j, f"e{j}" * 5]) for j in range(size)])
            pipe.sadd(f"i{i}", *range(size))
            pipe.sadd(f"t{i}", *[f"m{j}" for j in range(size)])
            pipe.zadd(f"z{i}", {f"m{j}": r.choice([j, j / 3, -j]) for j in range(size)})
            pipe.xadd(f"x{i}", {"f": i}, id=f"{i + 1}-1")
            if i % 4 == 0:
                pipe.pexpireat(f"s{i}", 4_000_000_000_000 + i)
                pipe.expire(f"z{i}", 100_000)
            if i % 50 == 0:
                pipe.execute()
        pipe.xgroup_create("x1", "g", 0)
        pipe.xreadgroup("g", "c", {"x1": ">"})
        pipe.execute()
    client = server.client()
    pipe = client.pipeline(transaction=False)
    for i in range(large):
        pipe.zadd("bigz", {f"member{i}": i})
        pipe.hset("bigh", f"field{i}", i)
        pipe.rpush("bigl", f"element{i}")
        pipe.sadd("bigs", f"member{i}")
        pipe.xadd("bigx", {"f": i}, id=f"{i + 1}-0")
        if i % 1000 == 999:
            pipe.execute()
    client.set("bigstring", r.randbytes(3_000_000))
    client.set("zeros", bytes(500_000))


def digest(client):
    return client.execute_command("DEBUG", "DIGEST")


def has_ended(client):
    return client.info("persistence")["rdb_bgsave_in_progress"] == 0


def functions(client):
    client.function_load("#!lua name=lib\nredis.register_function('f', function(k, a) return a[1] end)")


def change_everything(server, seed, stop):
    """Writes over all of it, in every way a key can change, until told to stop."""
    clients = [server.client(db=database) for database in (0, 3, 15)]
    r = random.Random(seed)
    while not stop.is_set():
        pipe = r.choice(clients).pipeline(transaction=False)
        for _ in range(50):
            i, j = r.randrange(300), r.randrange(300)
            r.choice([
                lambda: pipe.set(f"s{i}", "changed"), lambda: pipe.append(f"s{i}", "more"), lambda: pipe.delete(f"h{i}"),
                lambda: pipe.hset(f"h{i}", "new", 1), lambda: pipe.lpop(f"l{i}"), lambda: pipe.rpush(f"l{i}", "new"),
                lambda: pipe.sadd(f"i{i}", -1), lambda: pipe.sadd(f"t{i}", "new"), lambda: pipe.zadd(f"z{i}", {"new": 1}),
                lambda: pipe.xadd(f"x{i}", {"new": 1}), lambda: pipe.expire(f"hl{i}", 1000), lambda: pipe.persist(f"s{i}"),
                lambda: pipe.set(f"new{i}", "key"), lambda: pipe.rename(f"t{i}", f"t{j}"), lambda: pipe.copy(f"z{i}", f"z{j}", replace=True),
                lambda: pipe.zadd("bigz", {f"member{i}": -1}), lambda: pipe.hdel("bigh", f"field{i}"), lambda: pipe.lpop("bigl"),
                lambda: pipe.srem("bigs", f"member{i}"), lambda: pipe.xadd("bigx", {"f": 1}), lambda: pipe.setrange("bigstring", i, "xx"),
                lambda: pipe.execute_command("TIER", "DEMOTE", f"s{j}", f"h{j}", f"z{j}"), lambda: pipe.get(f"s{j}"),
                lambda: pipe.eval("redis.call('set', KEYS[1], 'by script') redis.call('hset', 'bigh', 'x', 1)", 1, f"s{j}"),
            ])()
        pipe.execute(raise_on_error=False)


def bgsave_beside_writes(tierd, redis_server, check, wait_until, loops, memory):
    """BGSAVE while everything is changed: redis-server loads the file and has what was there at BGSAVE."""
    server = tierd(f"bgsave-{loops}-{memory}", "--io-threads", str(loops), "--maxmemory", memory, "--enable-debug-command", "yes",
        "--dbfilename", "saved.rdb")
    client = server.client()
    dataset(server, loops)
    functions(client)
    for seed in (1, 2):
        wanted = digest(client)
        check(client.bgsave(), "begun")
        stop = threading.Event()
        writers = [threading.Thread(target=change_everything, args=(server, seed * 10 + n, stop)) for n in range(2)]
        for writer in writers:
            writer.start()
        wait_until(lambda: has_ended(server.client()), "the end of BGSAVE")
        stop.set()
        for writer in writers:
            writer.join()
        facts = client.info("persistence")
        check(facts["rdb_last_bgsave_status"] == "ok" and facts["rdb_saves"] == seed, facts)
        real = redis_server(f"loads-{loops}-{memory}-{seed}", server.directory + "/saved.rdb")
        other = real.client()
        check(digest(other) == wanted, "what redis-server has is not what there was")
        check(other.fcall("f", 0, "here") == b"here", "the function")
        real.stop()
    client.flushall()
    check(server.stop() == 0, "exit status")


def save_and_its_facts(tierd, check, wait_until):
    """SAVE waits while others are served; LASTSAVE, INFO, `save` points; what fails is said."""
    server = tierd("save", "--enable-debug-command", "yes", "--save", "")
    client = server.client()
    check(client.config_get("save") == {"save": ""}, "no save points by default")
    started = client.lastsave()
    for i in range(1000):
        client.set(f"k{i}", "v" * 500)
    check(client.info("persistence")["rdb_changes_since_last_save"] == 1000, "changes")
    check(client.save() is True, "SAVE")
    check(os.path.getsize(server.directory + "/dump.rdb") > 500_000, "the file")
    check(client.info("persistence")["rdb_changes_since_last_save"] == 0, "changes after SAVE")
    check(client.lastsave() >= started, "LASTSAVE")
    for command in (["BGSAVE", "x"], ["BGSAVE", "SCHEDULE", "x"]):
        try:
            client.execute_command(*command)
            raise AssertionError(f"{command} taken")
        except redis.ResponseError as error:
            check("syntax error" in str(error), error)
    # A save point: one change within a second.
    client.config_set("save", "1 1")
    client.set("k", "v")
    wait_until(lambda: client.info("persistence")["rdb_saves"] == 2, "the save point")
    client.config_set("save", "")
    check(not [name for name in os.listdir(server.directory) if name.startswith("temp-")], "temporary files")
    # A name that cannot be: the directory of that name is in the way.
    os.remove(server.directory + "/dump.rdb")
    os.makedirs(server.directory + "/dump.rdb/x")
    try:
        client.save()
        raise AssertionError("saved over a directory")
    except redis.ResponseError:
        pass
    check(client.info("persistence")["rdb_last_bgsave_status"] == "err", "the failure is told")
    check(client.get("k1") == b"v" * 500, "served")
    shutil.rmtree(server.directory + "/dump.rdb")
    check(client.save() is True and client.info("persistence")["rdb_last_bgsave_status"] == "ok", "and again")
    # FLUSHALL: what was being saved is of no use, and the next save is of what there is then.
    client.bgsave()
    client.flushall()
    wait_until(lambda: has_ended(client), "the end of a save that was abandoned")
    client.set("only", 1)
    check(client.save() is True, "saved after FLUSHALL")
    check(server.stop() == 0, "exit status")
