"""`tierctl verify`, `backup` and `restore`, and backups by themselves."""
import fcntl
import os
import shutil
import struct
import subprocess

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
    server = tierd("verify", *APPENDS, "--appendfsync", "always", "--io-threads", "2", ready=True)
    client = server.client()
    dataset(server, 3, keys=40, large=500)
    client.bgrewriteaof()
    wait_until(lambda: client.info("persistence")["aof_rewrites"] == 1, "a base")
    for i in range(200):
        client.set(f"more{i}", os.urandom(300))
        client.execute_command("TIER", "DEMOTE", f"more{i}")
    client.save()
    directory, damaged = server.directory, server.directory + "-damaged"
    check(server.stop() == 0, "exit status")
    status, said = ctl(program, "verify", directory)
    check(status == 0 and said.count(": ok: ") == 6 and said.endswith(f"{directory}: sound\n"), said)
    check(subprocess.run([program, "verify"], cwd=directory, capture_output=True).returncode == 0, "the directory one is in")
    aof = files_of(directory)
    tier, checkpoint = directory + "/tier.log", directory + "/tier.checkpoint"
    segment, place, length = next(records(tier))
    with open(checkpoint, "rb") as f:
        content = f.read()
        block = content.index(b"CKPB", 4096)
        foot = struct.unpack_from("<Q", content, len(content) - 16)[0]
    base, increment = aof["b"][0], aof["i"][-1]
    manifest = directory + "/appendonlydir/appendonly.aof.manifest"

    def cut(path, size):
        with open(path, "r+b") as f:
            f.truncate(size)

    def write(path, text):
        with open(path, "w") as f:
            f.write(text)
    cases = [
        (tier, lambda p: flip(p, 30), "the superblock is damaged"), (tier, lambda p: flip(p, 4096 + 4), "the segment table is damaged, at byte 4096"),
        (tier, lambda p: flip(p, place - 4096 + 12), f"segment {segment}: its header is damaged (byte {place - 4096})"),
        (tier, lambda p: flip(p, place + length - 1), f"segment {segment}, offset 4096: the record is damaged (byte {place})"),
        (tier, lambda p: cut(p, place + 10), "the file ends"), (tier, lambda p: write(p, "x" * 5000), "not a tier file"),
        (checkpoint, lambda p: flip(p, 17), "its head"), (checkpoint, lambda p: flip(p, block + 30), f"damaged at byte {block}"),
        (checkpoint, lambda p: flip(p, foot + 30), f"its foot, at byte {foot}"), (checkpoint, lambda p: cut(p, len(content) - 1), "cut off"),
        (manifest, lambda p: write(p, "file x"), "line 1"), (base, lambda p: os.remove(p), "it is missing"), (increment, lambda p: os.remove(p), "it is missing"),
        (base, lambda p: flip(p, os.path.getsize(p) // 2), "RDB file at byte"), (base, lambda p: flip(p, os.path.getsize(p) - 1), "the checksum is"),
        (increment, lambda p: flip(p, 40), "had been made durable, at byte 0"),
        (directory + "/dump.rdb", lambda p: flip(p, os.path.getsize(p) - 1), "RDB file at byte"),
        (directory + "/dump.rdb", lambda p: cut(p, os.path.getsize(p) - 9), "the file is cut off"),
    ]
    for path, damage, wanted in cases:
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(directory, damaged, ignore=shutil.ignore_patterns("s", "log"))
        target = path.replace(directory, damaged)
        damage(target)
        status, said = ctl(program, "verify", damaged)
        found = [line for line in said.splitlines() if line.startswith(f"{target}: DAMAGED: ") and wanted in line]
        check(status == 1 and found and said.endswith(f"{damaged}: damaged\n"), f"{os.path.basename(path)}, {wanted}: {status} {said}")
        if path == tier and "record" in wanted:
            status, said = ctl(program, "verify", target)
            check(status == 1 and found[0] in said, said)
    # Another server's checkpoint; files that were cut after they had been closed.
    other = tierd("verify-other", ready=True)
    other.client().set("k", "v")
    other.stop()
    shutil.rmtree(damaged)
    shutil.copytree(directory, damaged, ignore=shutil.ignore_patterns("s", "log"))
    shutil.copy(other.directory + "/tier.checkpoint", damaged)
    cut(increment.replace(directory, damaged), 10)
    status, said = ctl(program, "verify", damaged)
    check(status == 1 and "it belongs to another tier file" in said and "are missing, which were there when the files were closed" in said, said)
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
