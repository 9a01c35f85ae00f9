"""`tierctl verify`, `backup` and `restore`, and backups by themselves."""
import fcntl
import os
import shutil
import struct
import subprocess
import threading

import redis

from persistence import dataset, digest, functions

APPENDS = ("--appendonly", "yes", "--enable-debug-command", "yes")


def ctl(program, *words):
    done = subprocess.run([program, *words], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def is_free(path):
    """Whether no server has the tier file."""
    with open(path) as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False


def flip(path, place):
    with open(path, "r+b") as f:
        f.seek(place)
        byte = f.read(1)
        f.seek(place)
        f.write(bytes([byte[0] ^ 0x40]))


def records(path):
    """Where records of the tier file stand, by its superblock and headers (docs/disk_format.md)."""
    with open(path, "rb") as f:
        head = f.read(4096)
        size, count = struct.unpack_from("<QQ", head, 16)
        first = struct.unpack_from("<Q", head, 56)[0]
        for segment in range(count):
            f.seek(first + segment * size)
            block = f.read(8192)
            if block[:8] == b"TIERSEG1" and struct.unpack_from("<I", block, 4100)[0]:
                yield segment, first + segment * size + 4096, struct.unpack_from("<I", block, 4100)[0]


def files_of(directory):
    """The increments of the append-only file and its base, by the manifest."""
    with open(directory + "/appendonlydir/appendonly.aof.manifest") as f:
        lines = [line.split() for line in f if not line.startswith("#")]
    return {kind: [f"{directory}/appendonlydir/{line[1]}" for line in lines if line[5] == kind] for kind in "bi"}


def every_part_damaged(tierd, program, check, wait_until):
    """A sound directory is sound; each part damaged in turn is found, with its name and place; a torn end is said.

    Method: one byte flipped, a file cut off or away, in a copy of the directory each time.
    """
    def filled(name, *options):
        server = tierd(name, "--io-threads", "2", "--enable-debug-command", "yes", *options, ready=True)
        client = server.client()
        dataset(server, 3, keys=40, large=500)
        for i in range(200):
            client.set(f"early{i}", os.urandom(300))
            client.execute_command("TIER", "DEMOTE", f"early{i}")
        client.save()
        return server, client

    def cut(path, size):
        with open(path, "r+b") as f:
            f.truncate(size)

    def write(path, text):
        with open(path, "w") as f:
            f.write(text)

    def expect(directory, sound, cases):
        damaged = directory + "-damaged"
        status, said = ctl(program, "verify", directory)
        check(status == 0 and said.count(": ok: ") == sound and said.endswith(f"{directory}: sound\n"), said)
        check(subprocess.run([program, "verify"], cwd=directory, capture_output=True).returncode == 0, "the directory one is in")
        for path, damage, wanted in cases:
            shutil.rmtree(damaged, ignore_errors=True)
            shutil.copytree(directory, damaged, ignore=shutil.ignore_patterns("s", "log"))
            target = path.replace(directory, damaged)
            damage(target)
            status, said = ctl(program, "verify", damaged)
            found = [line for line in said.splitlines() if line.startswith(f"{target}: DAMAGED: ") and wanted in line]
            check(status == 1 and found and said.endswith(f"{damaged}: damaged\n"), f"{os.path.basename(path)}, {wanted}: {status} {said}")
            if path.endswith("tier.log") and "record" in wanted:
                status, said = ctl(program, "verify", target)
                check(status == 1 and found[0] in said, said)

    def places(checkpoint):
        with open(checkpoint, "rb") as f:
            content = f.read()
        return content.index(b"CKPB", 4096), struct.unpack_from("<Q", content, len(content) - 16)[0], len(content)

    # A server without an append-only file that was stopped.
    server, client = filled("verify")
    directory = server.directory
    check(server.stop() == 0, "exit status")
    tier, checkpoint = directory + "/tier.log", directory + "/tier.checkpoint"
    segment, place, length = next(records(tier))
    block, foot, size = places(checkpoint)
    expect(directory, 3, [
        (tier, lambda p: flip(p, 30), "the superblock is damaged"), (tier, lambda p: flip(p, 4096 + 4), "the segment table is damaged, at byte 4096"),
        (tier, lambda p: flip(p, place - 4096 + 12), f"segment {segment}: its header is damaged (byte {place - 4096})"),
        (tier, lambda p: flip(p, place + length - 1), f"segment {segment}, offset 4096: the record is damaged (byte {place})"),
        (tier, lambda p: cut(p, place + 10), "the file ends"), (tier, lambda p: write(p, "x" * 5000), "not a tier file"),
        (checkpoint, lambda p: flip(p, 17), "its head"), (checkpoint, lambda p: flip(p, block + 30), f"damaged at byte {block}"),
        (checkpoint, lambda p: flip(p, foot + 30), f"its foot, at byte {foot}"), (checkpoint, lambda p: cut(p, size - 1), "cut off"),
        (directory + "/dump.rdb", lambda p: flip(p, os.path.getsize(p) - 1), "RDB file at byte"),
        (directory + "/dump.rdb", lambda p: cut(p, os.path.getsize(p) - 9), "the file is cut off"),
    ])
    # One with an append-only file that was killed.
    server, client = filled("verify-appends", "--appendonly", "yes", "--appendfsync", "always")
    directory = server.directory
    client.bgrewriteaof()
    wait_until(lambda: client.info("persistence")["aof_rewrites"] == 1, "a base")
    for i in range(200):
        client.set(f"more{i}", os.urandom(300))
    client.ping()  # answered when all before is durable
    server.process.kill()
    server.process.wait(60)
    aof = files_of(directory)
    base, increment = aof["b"][0], aof["i"][-1]
    manifest = directory + "/appendonlydir/appendonly.aof.manifest"
    block, foot, size = places(base)
    expect(directory, 5, [
        (manifest, lambda p: write(p, "file x"), "line 1"), (base, lambda p: os.remove(p), "it is missing"), (increment, lambda p: os.remove(p), "it is missing"),
        (base, lambda p: flip(p, block + 30), f"damaged at byte {block}"), (base, lambda p: cut(p, size - 1), "cut off"),
        (increment, lambda p: flip(p, 40), "had been made durable, at byte 0"),
    ])
    segment, place, length = next(records(directory + "/tier.log"))
    damaged = directory + "-damaged"
    # A segment the base refers to is not the one it was.
    shutil.rmtree(damaged)
    shutil.copytree(directory, damaged, ignore=shutil.ignore_patterns("s", "log"))
    flip(damaged + "/tier.log", place - 4096 + 12)
    status, said = ctl(program, "verify", damaged)
    check(status == 1 and f"{os.path.basename(base)}: DAMAGED: damaged at byte" in said, said)
    # Another server's checkpoint.
    other = tierd("verify-other", ready=True)
    other.client().set("k", "v")
    other.stop()
    shutil.rmtree(damaged)
    shutil.copytree(directory, damaged, ignore=shutil.ignore_patterns("s", "log"))
    shutil.copy(other.directory + "/tier.checkpoint", base.replace(directory, damaged))
    status, said = ctl(program, "verify", damaged)
    check(status == 1 and "it belongs to another tier file" in said, said)
    # Killed: no checkpoint, and an end that is torn. That is no damage.
    shutil.rmtree(damaged)
    killed = tierd("verify-killed", *APPENDS, "--appendfsync", "no", ready=True)
    client = killed.client()
    for i in range(50):
        client.set(f"k{i}", os.urandom(5000))
        client.execute_command("TIER", "DEMOTE", f"k{i}")
    wait_until(lambda: client.info("persistence")["aof_buffer_length"] == 0, "everything is written")
    killed.process.kill()
    killed.wait()
    # The kernel lets go of the file a little after the process is gone.
    wait_until(lambda: is_free(killed.directory + "/tier.log"), "the lock")
    status, said = ctl(program, "verify", killed.directory)
    check(status == 0 and "its last server was killed: 0 records unfinished" in said and "50 records" in said, said)
    with open(files_of(killed.directory)["i"][0], "ab") as f:
        f.write(b"TAO1 and no more")
    status, said = ctl(program, "verify", killed.directory)
    check(status == 0 and "its end is torn" in said, said)
    # Nothing is there.
    os.makedirs(damaged)
    status, said = ctl(program, "verify", damaged)
    check(status == 2 and "no file of a server is there" in said, said)
    plain_requests(directory, program, check)


def plain_requests(directory, program, check):
    """A file of Redis's: plain requests are parsed, a torn end is said."""
    place = directory + "-plain"
    os.makedirs(place + "/appendonlydir")
    with open(place + "/appendonlydir/appendonly.aof.manifest", "w") as f:
        f.write("file a.aof seq 1 type i\n")
    sound = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"
    for what, status, wanted in ((sound, 0, "ok: 2 requests"), (sound + b"*3\r\n$3\r\nSE", 0, f"at byte {len(sound)}"),
            (sound + b"*1\r\n$5\r\nMULTI\r\n" + sound, 0, f"at byte {len(sound)}"), (sound + b"nothing" + sound, 1, f"no request at byte {len(sound)}")):
        with open(place + "/appendonlydir/a.aof", "wb") as f:
            f.write(what)
        got, said = ctl(program, "verify", place)
        check(got == status and wanted in said, (what, said))


def taken_beside_writes(tierd, redis_server, program, check, wait_until):
    """`tierctl backup` is what was there when it began, while everything is changed; redis-server loads it; it is no save.

    Method: keys of known values that writers replace with others in one transaction: each backup has one generation of them.
    """
    server = tierd("backup", "--io-threads", "2", "--enable-debug-command", "yes", "--maxmemory", "40mb", ready=True)
    client, directory = server.client(), server.directory
    dataset(server, 5, keys=60, large=2000)
    functions(client)
    client.mset({f"generation{i}": 0 for i in range(100)})
    for i in range(60):
        client.execute_command("TIER", "DEMOTE", f"s{i}", f"h{i}")
    wanted, saved = digest(client), client.lastsave()
    changes = client.info("persistence")["rdb_changes_since_last_save"]
    status, said = ctl(program, "backup", "-s", server.path)
    check(status == 0 and "verified" in said and f"{client.dbsize() + server.client(db=3).dbsize() + server.client(db=15).dbsize()} keys".replace(",", "") in said.replace(",", ""), said)
    path = said.split(": ")[0]
    check(os.path.dirname(path) == directory + "/backups" and os.path.basename(path).startswith("tierd-2"), path)
    facts = client.info("persistence")
    check(facts["backup_last_name"] == path and facts["backup_last_status"] == "ok" and facts["backups_taken"] == 1, facts)
    check(facts["rdb_saves"] == 0 and facts["rdb_changes_since_last_save"] == changes and client.lastsave() == saved, "it is no save")
    check(not os.path.exists(directory + "/dump.rdb") and os.listdir(directory + "/backups") == [os.path.basename(path)], os.listdir(directory))
    real = redis_server("backup-real", dump=path)
    check(digest(real.client()) == wanted and real.client().fcall("f", 0, "here") == b"here", "what redis-server has")
    real.stop()
    check(ctl(program, "verify", path)[0] == 0, "verify of the file")
    # Beside writes, and to another directory.
    stop = threading.Event()

    def write():
        other, generation = server.client(), 0
        while not stop.is_set():
            generation += 1
            other.mset({f"generation{i}": generation for i in range(100)})
    writer = threading.Thread(target=write)
    writer.start()
    try:
        status, said = ctl(program, "backup", "-s", server.path, directory + "/elsewhere")
    finally:
        stop.set()
        writer.join()
    check(status == 0 and said.startswith(directory + "/elsewhere/tierd-"), said)
    check(len(os.listdir(directory + "/elsewhere")) == 1 and len(os.listdir(directory + "/backups")) == 1, "copied, and deleted here")
    real = redis_server("backup-moment", dump=said.split(": ")[0])
    check(len(set(real.client().mget([f"generation{i}" for i in range(100)]))) == 1, "one moment")
    real.stop()
    # It cannot be: in a transaction, in a script, with a directory of the client's choice, where a file is in the way.
    for words in (["TIER", "BACKUP", "/tmp"], ["EVAL", "return redis.call('tier', 'backup')", 0]):
        try:
            client.execute_command(*words)
            raise AssertionError(f"{words} taken")
        except redis.ResponseError as error:
            check("wrong number of arguments" in str(error) or "not allowed from script" in str(error), error)
    shutil.rmtree(directory + "/backups")
    with open(directory + "/backups", "w"):
        pass
    status, said = ctl(program, "backup", "-s", server.path)
    check(status == 1 and "backups" in said and said.count("\n") == 1, said)
    server.stop()


def restored(tierd, again, program, check):
    """`tierctl restore` brings a server up with what a backup has: the newest of a directory; never over data or beside a server."""
    server = tierd("restore", *APPENDS, ready=True)
    client, directory = server.client(), server.directory
    dataset(server, 6, keys=40, large=500)
    backups = directory + "-backups"
    client.set("which", "old")
    check(ctl(program, "backup", "-s", server.path, backups)[0] == 0, "the first")
    os.rename(backups + "/" + os.listdir(backups)[0], backups + "/automatic-20200101-000000.rdb")
    client.set("which", "new")
    wanted = digest(client)
    status, said = ctl(program, "backup", "-s", server.path, backups)
    newest = said.split(": ")[0]
    client.set("which", "lost")
    status, said = ctl(program, "restore", backups, "--dir", directory, "--replace")
    check(status == 1 and "is in use by a running server" in said, said)
    server.stop()
    before = {name: os.stat(f"{directory}/{name}").st_ino for name in ("tier.log", "appendonlydir")}
    status, said = ctl(program, "restore", backups, "--dir", directory)
    check(status == 1 and "has data" in said and not os.path.exists(directory + "/dump.rdb"), said)
    shutil.copy(newest, backups + "-damaged.rdb")
    flip(backups + "-damaged.rdb", os.path.getsize(newest) - 1)
    status, said = ctl(program, "restore", backups + "-damaged.rdb", "--dir", directory, "--replace")
    check(status == 1 and "the checksum is" in said, said)
    check({name: os.stat(f"{directory}/{name}").st_ino for name in before} == before, "nothing was changed")
    check(not [name for name in os.listdir(directory) if "unfinished" in name], os.listdir(directory))
    status, said = ctl(program, "restore", backups, "--dir", directory, "--replace")
    check(status == 0 and said.startswith(f"{directory}/tier.log is now {directory}/tier.log.before-restore\n") and newest in said, said)
    check({name: os.stat(f"{directory}/{name}.before-restore").st_ino for name in before} == before, "renamed aside")
    server = again(server, *APPENDS)
    check(digest(server.client()) == wanted and server.client().get("which") == b"new", "what the backup has")
    server.stop()
    server = again(server, *APPENDS)
    check(digest(server.client()) == wanted, "after another start")
    server.stop()
    # A second time, and an old one by its name.
    status, said = ctl(program, "restore", backups + "/automatic-20200101-000000.rdb", "--dir", directory, "--replace")
    check(status == 0 and "tier.log.before-restore-2" in said, said)
    server = again(server, *APPENDS)
    check(server.client().get("which") == b"old", "the old one")
    server.stop()
    check(ctl(program, "restore", directory + "/appendonlydir", "--dir", backups)[0] == 1, "no backup is there")


def by_itself(tierd, again, check, wait_until):
    """With tier-backup-every the server takes backups and keeps the last ones; not those that were asked for; a restart goes on."""
    server = tierd("schedule", "--tier-backup-keep", "2", "--tier-backup-every", "0", ready=True)
    client, place = server.client(), server.directory + "/backups"
    check(client.config_get("tier-backup-*") == {"tier-backup-every": "0", "tier-backup-keep": "2"}, "settings")
    for value, seconds in (("1h", "3600"), ("2d", "172800"), ("0", "0")):
        client.config_set("tier-backup-every", value)
        check(client.config_get("tier-backup-every")["tier-backup-every"] == seconds, value)
    for value in ("x", "1w", "-1", "99999999999d"):
        try:
            client.config_set("tier-backup-every", value)
            raise AssertionError(f"{value} taken")
        except redis.ResponseError:
            pass
    client.set("k", "v")
    asked = client.execute_command("TIER", "BACKUP").decode()
    check(not [name for name in os.listdir(place) if name.startswith("automatic")], "off")
    saved = client.lastsave()
    client.config_set("tier-backup-every", "1")
    wait_until(lambda: client.info("persistence")["backups_taken"] >= 5, "four by itself")
    client.config_set("tier-backup-every", "1d")
    wait_until(lambda: client.info("persistence")["backup_in_progress"] == 0, "the last one's end")
    names = sorted(os.listdir(place))
    check(len(names) == 3 and os.path.basename(asked) in names, names)
    taken = client.info("persistence")["backups_taken"]
    newest = client.info("persistence")["backup_last_name"]
    check(names[1] == os.path.basename(newest) and client.lastsave() == saved, (names, newest))
    server.stop()
    # The next is due a day after the last, whoever took it; one of two days ago was not.
    server = again(server, "--tier-backup-keep", "2", "--tier-backup-every", "1d")
    client = server.client()
    uptime = client.info("stats")["total_commands_processed"]
    wait_until(lambda: client.info("stats")["total_commands_processed"] > uptime + 2000, "some time")
    check(client.info("persistence")["backups_taken"] == 0 and sorted(os.listdir(place)) == names, "not due")
    server.stop()
    for name in names[:2]:
        os.rename(f"{place}/{name}", f"{place}/automatic-2020010{names.index(name) + 1}-000000.rdb")
    server = again(server, "--tier-backup-keep", "2", "--tier-backup-every", "1d")
    client = server.client()
    wait_until(lambda: client.info("persistence")["backups_taken"] == 1, "the one that is due")
    names = sorted(os.listdir(place))
    check(names[0] == "automatic-20200102-000000.rdb" and len(names) == 3, names)
    # What fails is said, and the next is not at once.
    client.config_set("tier-backup-every", "0")
    shutil.rmtree(place)
    with open(place, "w"):
        pass
    client.config_set("tier-backup-every", "1")
    wait_until(lambda: client.info("persistence")["backup_last_status"] == "err", "the failure")
    client.config_set("tier-backup-every", "0")
    os.remove(place)
    check(client.execute_command("TIER", "BACKUP"), "it goes on")
    check(client.info("persistence")["backup_last_status"] == "ok", "the status")
    server.stop()
