"""Saving: RDB files written beside writes, loaded by a real redis-server, and files of its loaded here."""
import os
import random
import re
import shutil
import signal
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
        real = redis_server(f"loads-{loops}-{memory}-{seed}", dump=server.directory + "/saved.rdb")
        other = real.client()
        check(digest(other) == wanted, "what redis-server has is not what there was")
        check(other.fcall("f", 0, "here") == b"here", "the function")
        real.stop()
    client.flushall()
    check(server.stop() == 0, "exit status")


def writes_are_refused(server, check):
    """stop-writes-on-bgsave-error: the last save has failed, and there are save points."""
    client, refused = server.client(), "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."
    check(client.set("k", "v") is True, "no save points")
    with server.raw() as s:
        s.sendall(b"MULTI\r\nSET k v\r\n")
        while not s.recv(100).endswith(b"+QUEUED\r\n"):
            pass
        client.config_set("save", "3600 1")
        s.sendall(b"EXEC\r\n")
        got = s.recv(1000)
        check(got.startswith(b"-EXECABORT Transaction discarded because of: MISCONF"), got)
    for words in (["SET", "k", "v"], ["PING"], ["EVAL", "return redis.call('set', KEYS[1], 1)", 1, "k"]):
        try:
            client.execute_command(*words)
            check(False, f"{words} ran")
        except redis.ResponseError as error:
            check(refused in str(error), error)
    check(client.get("k") == b"v", "reads are served")
    client.config_set("stop-writes-on-bgsave-error", "no")
    check(client.set("k", "v") is True, "not wanted")
    client.config_set("stop-writes-on-bgsave-error", "yes")
    client.config_set("save", "")
    check(client.set("k", "v") is True, "no save points again")


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
    # In a transaction it comes after it.
    with server.raw() as s:
        s.sendall(b"MULTI\r\nSET k v\r\nBGSAVE\r\nSET k w\r\nEXEC\r\n")
        got, wanted = b"", b"*3\r\n+OK\r\n+Background saving scheduled\r\n+OK\r\n"
        while not got.endswith(wanted) and (chunk := s.recv(1000)):
            got += chunk
    check(got.endswith(wanted), got)
    wait_until(lambda: client.info("persistence")["rdb_saves"] == 2, "the save that was scheduled")
    # A save point: one change within a second.
    client.config_set("save", "1 1")
    client.set("k", "v")
    wait_until(lambda: client.info("persistence")["rdb_saves"] == 3, "the save point")
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
    writes_are_refused(server, check)
    check(client.get("k1") == b"v" * 500, "served")
    shutil.rmtree(server.directory + "/dump.rdb")
    client.config_set("save", "3600 1")
    check(client.save() is True and client.info("persistence")["rdb_last_bgsave_status"] == "ok", "and again")
    check(client.set("k", "v") is True, "a save that succeeds ends it")
    client.config_set("save", "")
    # FLUSHALL: what was being saved is of no use, and the next save is of what there is then.
    client.bgsave()
    client.flushall()
    wait_until(lambda: has_ended(client), "the end of a save that was abandoned")
    client.set("only", 1)
    check(client.save() is True, "saved after FLUSHALL")
    check(server.stop() == 0, "exit status")


def loads_what_redis_saved(tierd, redis_server, check, wait_until, memory):
    """redis-server's file, all of it, whatever the RAM: by --load, and as dump.rdb in dir; DEBUG RELOAD."""
    real = redis_server(f"saves-{memory}")
    other = real.client()
    dataset(real, 5)
    functions(other)
    for i in range(20_000):
        other.set(f"filler{i}", os.urandom(2000))
    wanted = digest(other)
    other.save()
    file = real.directory + "/dump.rdb"
    real.stop()
    server = tierd(f"load-{memory}", "--load", file, "--maxmemory", memory, "--enable-debug-command", "yes", ready=True)
    client = server.client()
    check(digest(client) == wanted, "what was loaded is not what redis-server had")
    check(client.fcall("f", 0, "here") == b"here", "the function")
    facts = client.info("persistence")
    check(facts["loading"] == 0 and facts["rdb_last_load_keys_loaded"] == sum(
        space["keys"] for space in client.info("keyspace").values()), facts)
    check(facts["rdb_changes_since_last_save"] == 0, "loading is no change")
    check(client.execute_command("DEBUG", "RELOAD") == b"OK", "DEBUG RELOAD")
    check(digest(client) == wanted, "DEBUG RELOAD changed something")
    check(client.ttl("z0") > 90_000 and client.pexpiretime("s4") == 4_000_000_000_004, "expiry")
    check(server.stop() == 0, "exit status")
    # Its own file, made by DEBUG RELOAD, is in dir: it is loaded at the next start, by itself.
    again = tierd(f"again-{memory}", "--maxmemory", memory, "--enable-debug-command", "yes", dump=server.directory + "/dump.rdb")
    check(digest(again.client()) == wanted, "the next start")
    again.stop()


def files_that_are_not_sound(tierd, start, check):
    """A damaged file ends the start with a line that says where; a byte changed anywhere is never served silently."""
    server = tierd("damage", "--enable-debug-command", "yes")
    client = server.client()
    client.set("a", "1234567890" * 50)
    client.rpush("l", *range(50))
    client.zadd("z", {"m": 1.5})
    client.save()
    with open(server.directory + "/dump.rdb", "rb") as f:
        sound = f.read()
    server.stop()
    r = random.Random(1)
    places = sorted({0, 5, 8, 9, len(sound) - 1, len(sound) - 9} | {r.randrange(len(sound)) for _ in range(12)})
    for place in places:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << r.randrange(8)
        status, log = start(f"damaged-{place}", bytes(damaged))
        check(status == 1 and "Fatal error loading the DB" in log, f"byte {place}: {status} {log[-300:]}")
    for length in (0, 4, 9, len(sound) // 2, len(sound) - 1):
        status, log = start(f"cut-{length}", sound[:length])
        check(status == 1 and "cut off" in log, f"cut at {length}: {status} {log[-300:]}")
    status, log = start("newer", b"REDIS0099" + sound[9:])
    check(status == 1 and "RDB version 99" in log, log[-300:])


def clients_are_told_of_loading(tierd, redis_server, check, wait_until):
    """While a file is loaded: LOADING for most, answers for INFO and the like; then everybody is served."""
    real = redis_server("saves-much")
    other = real.client()
    pipe = other.pipeline(transaction=False)
    for i in range(300_000):
        pipe.hset(f"h{i}", mapping={"a": i, "b": "x" * 200})
        if i % 5000 == 0:
            pipe.execute()
    pipe.execute()
    other.save()
    real.stop()
    server = tierd("loading", "--load", real.directory + "/dump.rdb", "--io-threads", "2")
    never = redis.retry.Retry(redis.backoff.NoBackoff(), 0)  # redis-py waits for the end of loading otherwise
    client, told = server.client(retry=never), 0
    while client.info("persistence")["loading"]:
        try:
            client.get("x")
        except redis.BusyLoadingError:
            told += 1
        facts = client.info("persistence")
        check(not facts["loading"] or 0 <= float(facts["loading_loaded_perc"]) <= 100, facts)
    check(told > 0, "nobody was told")
    said = re.search(r"DB loaded from disk: ([0-9.]+) seconds", open(server.log.name).read())
    check(said and float(said[1]) < 600, said)
    check(client.dbsize() == 300_000 and client.hget("h299999", "a") == b"299999", "loaded")
    server.stop()


def told_while_the_log_is_read(tierd, check, wait_until):
    """A long scan of the log: clients are told LOADING, INFO how far it is; SIGTERM and SHUTDOWN end it at once and change no file; in the
    end all is there."""
    options = ["--io-threads", "2", "--enable-debug-command", "yes"]
    server = tierd("log-read", *options)
    client, keys = server.client(), 500
    values = {f"k{i}": os.urandom(4000) for i in range(keys)}
    client.mset(values)
    client.execute_command("TIER", "DEMOTE", *values)
    check(client.info("tier")["tier_items_demoted"] == keys, "all on the SSD")
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(60)
    os.remove(server.path)
    never = redis.retry.Retry(redis.backoff.NoBackoff(), 0)

    def image():
        with open(server.directory + "/tier.log", "rb") as f:
            return f.read(16 << 20), sorted(os.listdir(server.directory))

    before = image()
    for end in ("SIGTERM", "SHUTDOWN", "CLIENT"):
        server = tierd("log-read", *options, "--key-load-delay", "700000")
        client = server.client(retry=never)
        facts = client.info("persistence")
        check(facts["loading"] == 1 and 0 <= float(facts["loading_loaded_perc"]) <= 100 and facts["loading_total_bytes"] > 0, facts)
        check(all(name in facts for name in ("loading_start_time", "loading_loaded_bytes", "loading_eta_seconds")), facts)
        for words in (["GET", "k1"], ["PING"], ["SET", "k1", "v"], ["DEBUG", "DIGEST"], ["CONFIG", "SET", "appendonly", "yes"], ["WATCH", "k1"]):
            try:
                client.execute_command(*words)
                check(False, f"{words} ran")
            except redis.BusyLoadingError:
                pass
        check(client.config_set("maxmemory", "64mb") and client.config_get("maxmemory")["maxmemory"] == str(64 << 20), "CONFIG")
        check(client.client_setname("early") and len(client.client_list()) > 0 and "used_memory" in client.info(), "what may be asked")
        with server.raw() as s:
            s.sendall(b"*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n*2\r\n$3\r\nGET\r\n$2\r\nk2\r\n")
            got = b""
            while got.count(b"\r\n") < 2:
                got += s.recv(1000)
            check(got.count(b"-LOADING Redis is loading the dataset in memory\r\n") == 2, got)
        check(client.info("persistence")["loading"] == 1, "still")
        if end == "CLIENT":
            break
        if end == "SIGTERM":
            check(server.stop() == 0, "exit status")
        else:
            try:
                client.execute_command("SHUTDOWN")
            except redis.ConnectionError:
                pass
            check(server.wait() == 0, "exit status")
        check("during loading" in open(server.log.name).read(), "said")
        check(image() == before, "no file is changed")
    client.config_set("key-load-delay", 0)
    wait_until(lambda: not client.info("persistence")["loading"], "all is read")
    check(client.client_getname() in ("early", b"early"), "who came early stays")
    check(client.dbsize() == keys and all(client.get(k) == v for k, v in values.items()), "all that was on the SSD")
    wanted = client.execute_command("DEBUG", "DIGEST")
    check(server.stop() == 0, "exit status")
    # A checkpoint: the same.
    before = image()
    check("tier.checkpoint" in before[1], before[1])
    server = tierd("log-read", *options, "--key-load-delay", "700000")
    client = server.client(retry=never)
    check(client.info("persistence")["loading"] == 1, "a checkpoint is read")
    check(server.stop() == 0 and image() == before, "no file is changed")
    server = tierd("log-read", *options, ready=True)
    check(server.client().execute_command("DEBUG", "DIGEST") == wanted, "all of it")
    server.stop()


def last_save(tierd, check, wait_until):
    """With save points SIGTERM and SHUTDOWN save; NOSAVE does not; SHUTDOWN SAVE does without them."""
    server = tierd("lastsave", "--save", "3600 1")
    server.client().set("k", 1)
    check(server.stop() == 0, "exit status")
    dump = server.directory + "/dump.rdb"
    check(os.path.exists(dump), "SIGTERM saves")
    for words, saves in ((["SHUTDOWN", "NOSAVE"], False), (["SHUTDOWN"], True), (["SHUTDOWN", "SAVE"], True)):
        points = "" if words[1:] == ["SAVE"] else "3600 1"
        server = tierd("lastsave-" + "-".join(words), "--save", points, dump=dump)
        client = server.client()
        check(client.get("k") == b"1", "loaded")
        client.set("new", 1)
        os.remove(server.directory + "/dump.rdb")
        client.bgsave()  # one that runs is abandoned
        try:
            client.execute_command(*words)
        except redis.ConnectionError:
            pass
        check(server.wait() == 0, words)
        check(not [name for name in os.listdir(server.directory) if name.startswith("temp-")], "temporary files")
        if saves:
            check(os.path.exists(server.directory + "/dump.rdb"), words)
