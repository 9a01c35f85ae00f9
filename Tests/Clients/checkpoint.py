"""Restarting: the checkpoint of SIGTERM and SHUTDOWN, and the log alone when there is none."""
import json
import lzma
import os
import random
import shutil
import tarfile

from persistence import dataset, digest, functions

HERE = os.path.dirname(os.path.abspath(__file__))


def options(loops, memory, tier="1gb", segment=None):
    given = ["--io-threads", str(loops), "--maxmemory", memory, "--enable-debug-command", "yes", "--tier-max-bytes", tier]
    return given + (["--tier-segment-bytes", segment] if segment else [])


def demote(server, database, share, seed=1):
    """Demotes about a share of a database's keys; the names."""
    r, client = random.Random(seed), server.client(db=database)
    names = [name for name in sorted(client.scan_iter(count=1000)) if r.random() < share]
    for name in names:
        client.execute_command("TIER", "DEMOTE", name)
    return names


def facts(server):
    return server.client().info("persistence")


def log_of(server):
    with open(server.log.name) as f:
        return f.read()


def everything_comes_back(again, check, loops, memory):
    """Every type, encoding, expiry and database, several times in a row with writes between.

    Method: in RAM, demoted, and brought back from the SSD; DEBUG DIGEST before and after. The restarts have other loops, other
    RAM and a smaller or larger tier file.
    """
    name = f"checkpoint-{loops}-{memory}"
    server = again(name, *options(loops, memory), fresh=True)
    check(facts(server)["recovered_from"] == "none", "nothing to begin with")
    dataset(server, 7, large=3000)
    functions(server.client())
    for database in (0, 3):
        for n, key in enumerate(demote(server, database, 0.5)):
            if n % 5 == 0:
                server.client(db=database).execute_command("TIER", "PROMOTE", key)
    server.client().swapdb(3, 5)
    changes = [(loops, memory, "1gb"), (2, "1gb", "2gb"), (1, "60mb", "300mb"), (3, "40mb", "1gb")]
    for n, (other, ram, tier) in enumerate(changes):
        client = server.client()
        wanted, spaces = digest(client), client.info("keyspace")
        encodings = {key: client.object("encoding", key) for key in ("bigz", "bigh", "bigl", "bigs", "bigx", "i0", "h0", "s0")}
        check(server.stop() == 0, "exit status")
        check(os.path.exists(server.directory + "/tier.checkpoint"), "a checkpoint")
        server = again(name, *options(other, ram, tier))
        client = server.client()
        told = facts(server)
        check(told["recovered_from"] == "checkpoint", (n, log_of(server)[-1000:]))
        check(digest(client) == wanted, f"restart {n}: not what there was")
        got = client.info("keyspace")
        check({k: v["keys"] for k, v in got.items()} == {k: v["keys"] for k, v in spaces.items()}, (spaces, got))
        check({key: client.object("encoding", key) for key in encodings} == encodings, "encodings")
        check(told["rdb_changes_since_last_save"] == 0, "loading is no change")
        check(client.pexpiretime("s4") == 4_000_000_000_004 and client.ttl("z0") > 90_000, "expiry")
        check(client.fcall("f", 0, "here") == b"here", "the function")
        check(client.info("tier")["tier_crc_errors_total"] == 0, "checksums")
        client.set(f"new{n}", os.urandom(200_000))
        client.rpush("bigl", f"more{n}")
        client.delete(f"l{n}")
        for i in range(200):
            client.set(f"filler{n}-{i}", os.urandom(3000))
    demote(server, 0, 0.3, seed=9)
    wanted = digest(server.client())
    server.client().execute_command("TIER", "COMPACT")
    try:
        server.client().execute_command("SHUTDOWN")
    except Exception:  # the connection is closed
        pass
    check(server.wait() == 0, "SHUTDOWN")
    server = again(name, *options(1, "1gb"))
    check(digest(server.client()) == wanted, "after SHUTDOWN")
    check(server.stop() == 0, "exit status")
    shutil.rmtree(server.directory)


def expired_meanwhile(again, check):
    """A key whose time is over while the server is down is not there; nor does its record hold its segment."""
    server = again("checkpoint-expired", *options(1, "1gb", segment="64kb"), fresh=True)
    client = server.client()
    for i in range(50):
        client.set(f"k{i}", os.urandom(1000), px=300 if i % 2 else None)
    demote(server, 0, 1)
    client.set("ram", "x", px=300)
    server.stop()
    server = again("checkpoint-expired", *options(1, "1gb"), clock_past=server)
    client = server.client()
    check(client.dbsize() == 25 and client.exists("ram") == 0, client.dbsize())
    check(all(len(client.get(f"k{i}")) == 1000 for i in range(0, 50, 2)), "the others")
    for i in range(0, 50, 2):
        client.delete(f"k{i}")
    check(client.info("tier")["tier_ssd_live_bytes"] == 0, "what is alive")
    server.stop()


def nosave(again, check):
    """SHUTDOWN NOSAVE: the next start has the last RDB file, or nothing, and does not look at the log."""
    server = again("checkpoint-nosave", *options(1, "1gb"), fresh=True)
    for rdb in (False, True):
        client = server.client()
        client.set("k", os.urandom(1000))
        demote(server, 0, 1)
        if rdb:
            client.save()
            client.set("later", 1)
        try:
            client.execute_command("SHUTDOWN", "NOSAVE")
        except Exception:  # the connection is closed
            pass
        check(server.wait() == 0, "exit status")
        check(not os.path.exists(server.directory + "/tier.checkpoint"), "no checkpoint")
        server = again("checkpoint-nosave", *options(1, "1gb"))
        told = facts(server)
        check(told["recovered_from"] == ("rdb" if rdb else "none"), told)
        check(server.client().dbsize() == (1 if rdb else 0), "what there is")
    server.stop()


def crash(again, check, wait_until, loops):
    """After kill -9: all that was demoted, with its last value; nothing wrong; the next restart is an ordinary one."""
    name = f"crash-{loops}"
    server = again(name, *options(loops, "1gb", segment="1mb"), fresh=True)
    r, written = random.Random(loops), {}
    client = server.client()
    for turn in range(4):
        for i in r.sample(range(600), 300):
            written[f"k{i}"] = r.randbytes(r.choice([100, 900, 5000, 300_000 if i % 50 == 0 else 2000]))
            client.set(f"k{i}", written[f"k{i}"])
        demote(server, 0, 1)
    client.zadd("z", {f"member{i}": i for i in range(5000)})
    client.hset("h", mapping={f"f{i}": i for i in range(20)})
    client.select(0)
    other = server.client(db=2)
    other.set("two", "x" * 100)
    other.set("gone", "y" * 100, px=100)
    other.set("stays", "y" * 100, ex=1000)
    demote(server, 0, 1)
    demote(server, 2, 1)
    client.swapdb(2, 4)
    client.execute_command("TIER", "COMPACT")
    client.set("ram", "only")
    # The superblock has the databases that were exchanged after its next turn.
    size = os.stat(server.directory + "/tier.log").st_mtime_ns
    wait_until(lambda: os.stat(server.directory + "/tier.log").st_mtime_ns > size + 5_100_000_000, "the superblock is written")
    wanted = digest(client) if client.delete("ram") else None
    server.process.kill()
    server.wait()
    for start in range(2):
        server = again(name, *options(1 + start, "1gb"))
        client = server.client()
        check(facts(server)["recovered_from"] == ("log" if start == 0 else "checkpoint"), log_of(server))
        check(all(client.get(key) == value for key, value in written.items()), "a value is not what was written")
        check(client.zscore("z", "member77") == 77 and client.zcard("z") == 5000 and client.hget("h", "f3") == b"3", "collections")
        check(server.client(db=4).get("two") == b"x" * 100 and server.client(db=4).ttl("stays") > 900, "database 4")
        check(server.client(db=4).exists("gone") == 0 and client.exists("ram") == 0, "not there")
        check(digest(client) == wanted, "the digest")
        if start == 0:
            text = log_of(server)
            check("Recovered from the log alone" in text and "keys found" in text, text)
            client.execute_command("TIER", "COMPACT")
        check(server.stop() == 0, "exit status")


def damaged_checkpoints(again, check):
    """A checkpoint that is damaged, cut off, newer or another file's: a warning, and what the log has; never a wrong value."""
    server = again("checkpoint-damaged", *options(2, "1gb", segment="64kb"), fresh=True)
    client = server.client()
    values = {f"k{i}": os.urandom(700) for i in range(300)}
    client.mset(values)
    demote(server, 0, 1)
    # Too small to be worth a record: in the checkpoint alone.
    client.set("ram", "x" * 20)
    server.stop()
    directory = server.directory
    with open(directory + "/tier.checkpoint", "rb") as f:
        sound = f.read()
    shutil.copytree(directory, directory + "-kept")
    r = random.Random(3)
    cases = [(f"byte {place}", bytes([*sound[:place], sound[place] ^ 1 << r.randrange(8), *sound[place + 1:]]))
        for place in [0, 13, 17, 25, len(sound) - 1, len(sound) - 9] + [r.randrange(len(sound)) for _ in range(8)]]
    cases += [(f"cut at {n}", sound[:n]) for n in (0, 10, 4096, len(sound) // 2, len(sound) - 1)]
    for what, bytes_of in cases:
        shutil.rmtree(directory)
        shutil.copytree(directory + "-kept", directory, ignore=shutil.ignore_patterns("s", "log"))
        with open(directory + "/tier.checkpoint", "wb") as f:
            f.write(bytes_of)
        server = again("checkpoint-damaged", *options(2, "1gb"))
        client, source, text = server.client(), facts(server)["recovered_from"], log_of(server)
        check(source in ("log", "checkpoint"), f"{what}: {source}")
        check(source == "checkpoint" or "tier.checkpoint is not used: " in text, f"{what}: {text}")
        check(source == "checkpoint" or os.path.exists(directory + "/tier.checkpoint.unused"), f"{what}: set aside")
        check(client.mget(values) == list(values.values()), f"{what}: values")
        check(client.get("ram") == (b"x" * 20 if source == "checkpoint" else None), f"{what}: a value of RAM")
        server.stop()
    # A newer tierd's: nobody else can read it, and it is left as it is.
    shutil.rmtree(directory)
    shutil.copytree(directory + "-kept", directory, ignore=shutil.ignore_patterns("s", "log"))
    newer = sound[:8] + b"\x63" + sound[9:]
    with open(directory + "/tier.checkpoint", "wb") as f:
        f.write(newer)
    try:
        again("checkpoint-damaged", *options(1, "1gb"))
        raise AssertionError("started with a newer checkpoint")
    except RuntimeError as error:
        check("format 99, written by a newer tierd" in str(error) and str(error).count("\n") == 1, error)
    with open(directory + "/tier.checkpoint", "rb") as f:
        check(f.read() == newer, "left as it is")
    # Another file's; and an RDB file that is newer than it is used in its place.
    shutil.rmtree(directory)
    shutil.copytree(directory + "-kept", directory, ignore=shutil.ignore_patterns("s", "log"))
    other = again("checkpoint-other", *options(1, "1gb"), fresh=True)
    other.client().set("other", 1)
    other.client().save()
    other.stop()
    shutil.copy(other.directory + "/tier.checkpoint", directory + "/tier.checkpoint")
    server = again("checkpoint-damaged", *options(1, "1gb"))
    check("it belongs to another tier file" in log_of(server) and server.client().dbsize() == 300, log_of(server))
    server.process.kill()
    server.wait()
    shutil.rmtree(directory)
    shutil.copytree(directory + "-kept", directory, ignore=shutil.ignore_patterns("s", "log"))
    with open(directory + "/tier.checkpoint", "r+b") as f:
        f.truncate(5000)
    shutil.copyfile(other.directory + "/dump.rdb", directory + "/dump.rdb")
    server = again("checkpoint-damaged", *options(1, "1gb"))
    check(facts(server)["recovered_from"] == "rdb" and server.client().get("other") == b"1", log_of(server))
    server.stop()


def fewer_databases(again, check):
    """A checkpoint with keys in a database there is none of any more: refused, and nothing is lost."""
    server = again("checkpoint-databases", *options(1, "1gb"), fresh=True)
    server.client(db=9).set("k", "v")
    server.stop()
    try:
        again("checkpoint-databases", *options(1, "1gb"), "--databases", "4")
        raise AssertionError("started with fewer databases")
    except RuntimeError as error:
        check("it has keys in database 9: raise `databases`" in str(error), error)
    server = again("checkpoint-databases", *options(1, "1gb"), "--databases", "10")
    check(server.client(db=9).get("k") == b"v", "the key")
    server.stop()


def upgraded(again, check):
    """A tier file of format 2: what its log has is there, and the next restart is an ordinary one."""
    def prepare(directory):
        with lzma.open(os.path.join(HERE, "../Fixtures/tier/format2.log.xz")) as f, open(directory + "/tier.log", "wb") as out:
            shutil.copyfileobj(f, out)
    server = again("upgraded", *options(2, "1gb", "8mb"), fresh=True, prepare=prepare)
    for start in range(2):
        check(facts(server)["recovered_from"] == ("checkpoint" if start else "log"), log_of(server))
        for database in (0, 3):
            client = server.client(db=database)
            for i in range(300):
                check(client.get(f"s{i}") == b"value %d " % i * 20, f"s{i}")
                check(client.hgetall(f"h{i}") == {b"f%d" % j: b"x%d" % (i * j) for j in range(20)}, f"h{i}")
                check(client.lrange(f"l{i}", 0, -1) == [b"e%d" % j for j in range(30)], f"l{i}")
                check(client.smembers(f"i{i}") == {b"%d" % j for j in range(i, i + 40)}, f"i{i}")
                check(client.zscore(f"z{i}", "m19") == 19 * i, f"z{i}")
            check(client.zcard("bigz") == 2000 and client.zscore("bigz", "member1999") == 1999, "bigz")
            check(client.dbsize() == 1501 and not client.exists("ramonly"), client.dbsize())
        check(server.stop() == 0, "exit status")
        if start == 0:
            server = again("upgraded", *options(1, "1gb", "8mb"))


def written_before(again, check):
    """Directories an older build of this format has left: ended, killed, killed with an append-only file. All that was recorded beside
    them is there, and the next restart is an ordinary one."""
    place = os.path.join(HERE, "../Fixtures/tier")
    with open(place + "/format3.json") as f:
        wanted = json.load(f)
    sources = {"ended": "checkpoint", "killed": "log", "everysec": "aof", "always": "aof"}
    check(set(wanted) == {f"format3-{name}" for name in sources}, "fixtures")
    for name, source in sources.items():
        def prepare(directory):
            with tarfile.open(f"{place}/format3-{name}.tar.xz") as archive:
                archive.extractall(directory)
        given = options(2, "1gb", "2mb") + (["--appendonly", "yes"] if source == "aof" else [])
        server = again(f"format3-{name}", *given, fresh=True, prepare=prepare)
        for start in range(2):
            client, facts_ = server.client(), wanted[f"format3-{name}"]
            came_from = "aof" if source == "aof" else "checkpoint" if start else source
            check(facts(server)["recovered_from"] == came_from, log_of(server))
            check(digest(client).decode() == facts_["digest"], f"{name}, start {start}: not what there was")
            check({n: server.client(db=int(n)).dbsize() for n in facts_["keys"]} == facts_["keys"], f"{name}: keys")
            check(client.get("s4") == b"text 4 " * 20 and client.pexpiretime("s4") == 4_000_000_000_004, "a string")
            check(client.zscore("bigz", "member399") == 399 and client.xlen("bigx") >= 400, "collections")
            check(name == "killed" or client.fcall("f", 0, "here") == b"here", "the function")
            check(source != "aof" or client.get("n") == b"2" and client.lindex("bigl", 0) == b"first" and client.scard("bigs") == 300, "increments")
            check(client.info("tier")["tier_crc_errors_total"] == 0, "checksums")
            check(server.stop() == 0, "exit status")
            if start == 0:
                server = again(f"format3-{name}", *given)
