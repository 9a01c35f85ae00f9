"""Disks that really fail: full, failing with EIO, losing what was written, removed; nothing acknowledged is lost, and no value is wrong.

Method: a small ext4 on a loop device. Made shorter while it is mounted, the device fails with EIO beyond its new end, for reads,
writes and syncs alike, and works again when it has its length back. Its file is read and changed behind the server's back. Before
a start the file system is mounted anew: what had only been in the page cache is gone, as after a loss of power.
"""
import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import time

import redis

from append_only import facts, is_written, kill

DEBUG = ("--enable-debug-command", "yes", "--io-threads", "2", "--auto-aof-rewrite-percentage", "0")
APPENDS = (*DEBUG, "--appendonly", "yes", "--tier-max-bytes", "8mb", "--tier-segment-bytes", "64kb")
LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05


class Unavailable(Exception):
    """This machine has no such disks: why."""


def run(*words):
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise Unavailable(f"there is no {words[0]}")
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(words)}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return done.stdout.strip()


class LoopDevice:
    """A sparse file as a device; `fail` and `work` change what there is of it."""

    def __init__(self, place, megabytes):
        self.backing = place + "/backing"
        with open(self.backing, "wb") as f:
            f.truncate(megabytes << 20)
        self.node = run("losetup", "--find", "--show", self.backing)
        # Past the page cache of the file, so that what the device is told to be durable is.
        subprocess.run(["losetup", "--direct-io=on", self.node], capture_output=True)

    def limit(self, byte_count):
        """Sets the device's length; 0: the file's."""
        device = os.open(self.node, os.O_RDWR)
        try:
            status = bytearray(232)
            fcntl.ioctl(device, LOOP_GET_STATUS64, status)
            struct.pack_into("<Q", status, 32, byte_count)
            fcntl.ioctl(device, LOOP_SET_STATUS64, status)
        finally:
            os.close(device)

    def fail(self):
        self.limit(4096)

    def work(self):
        self.limit(0)

    def remove(self):
        """What was on it is gone as well."""
        os.truncate(self.backing, 0)
        self.fail()

    def close(self):
        subprocess.run(["losetup", "--detach", self.node], capture_output=True)


class MappedDevice(LoopDevice):
    """The same with device-mapper's own error target above it."""

    def __init__(self, place, megabytes):
        with open("/proc/misc") as f:
            if "device-mapper" not in f.read():
                raise Unavailable("the kernel has no device-mapper")
        if "error" not in run("dmsetup", "targets"):
            raise Unavailable("device-mapper has no target error")
        super().__init__(place, megabytes)
        self.below, self.sectors, self.name = self.node, megabytes << 11, f"tierd-test-{os.getpid()}-{os.path.basename(place)}"
        try:
            run("dmsetup", "create", self.name, "--table", self.linear)
        except Unavailable:
            super().close()
            raise
        self.node = "/dev/mapper/" + self.name

    @property
    def linear(self):
        return f"0 {self.sectors} linear {self.below} 0"

    def load(self, table):
        run("dmsetup", "suspend", "--nolockfs", "--noflush", self.name)
        run("dmsetup", "load", self.name, "--table", table)
        run("dmsetup", "resume", self.name)

    def fail(self):
        self.load(f"0 {self.sectors} error")

    def work(self):
        self.load(self.linear)

    def close(self):
        subprocess.run(["dmsetup", "remove", "--force", "--retry", self.name], capture_output=True)
        self.node = self.below
        super().close()


class Disk:
    """A file system on a device of its own, mounted at `path`; `with` ends the servers on it and takes it away."""

    def __init__(self, place, device=LoopDevice, megabytes=64):
        self.place, self.path, self.below, self.device, self.servers = place, place + "/mounted", place + "/below", None, []
        self.kind, self.megabytes = device, megabytes

    def __enter__(self):
        if os.geteuid() != 0:
            raise Unavailable("only root may mount")
        os.makedirs(self.path)
        os.makedirs(self.below)
        try:
            self.device = self.kind(self.below, self.megabytes)
            run("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", self.device.node)
            self.mount()
        except BaseException:
            self.__exit__()
            raise
        return self

    def mount(self):
        # What nobody asks for is written once a minute: not while the device fails for a moment.
        run("mount", "-t", "ext4", "-o", "noatime,commit=60", self.device.node, self.path)

    def unmount(self):
        return subprocess.run(["umount", self.path], capture_output=True).returncode == 0

    def again(self, wait_until):
        """Mounted anew: the page cache is gone, what it had was written."""
        # The kernel lets go of files a little after the process that had them is gone.
        wait_until(self.unmount, f"{self.path} is unmounted")
        self.mount()

    def lose_power(self, wait_until):
        """Mounted anew with what is on the device now, not in the page cache."""
        backing = self.device.backing
        shutil.copyfile(backing, backing + "-now")
        wait_until(self.unmount, f"{self.path} is unmounted")
        with open(backing + "-now", "rb") as now, open(backing, "r+b") as f:
            shutil.copyfileobj(now, f, 1 << 20)
            os.fsync(f.fileno())
        # Nothing of the device is in its own cache.
        self.device.limit(4096)
        self.device.limit(0)
        self.mount()

    def fill(self, left=0):
        """Fills the file system up but for so many bytes."""
        status = os.statvfs(self.path)
        room = max(0, status.f_bavail * status.f_frsize - left)
        while room >= 4096:
            # A file takes blocks for itself, too: what is left then is for smaller ones.
            with open(f"{self.path}/filler{len(os.listdir(self.path))}", "wb") as f:
                try:
                    os.posix_fallocate(f.fileno(), 0, room)
                except OSError:
                    room //= 2
                    continue
            room = room if left == 0 else 0

    def empty(self):
        for name in os.listdir(self.path):
            if name.startswith("filler"):
                os.remove(f"{self.path}/{name}")

    def __exit__(self, *_):
        for server in self.servers:
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait(60)
        if self.device:
            # Else the kernel may wait for ever for what it cannot write, and nobody is rid of the device.
            self.device.work()
        deadline = time.monotonic() + 10
        while not (done := self.unmount()) and time.monotonic() < deadline:
            pass
        if not done:
            subprocess.run(["umount", "--lazy", self.path], capture_output=True)
        if self.device:
            self.device.close()
        shutil.rmtree(self.place, ignore_errors=True)


# A disk without room ------------------------------------------------------------------------------

def write_until(server, check, prefix, acknowledged, size=10_000):
    """Sets keys until that is refused; what the refusal was. What was answered with OK goes to `acknowledged`.

    Small values for a device that fails: when page cache it cannot write fills the whole file system, ext4 may wait for ever in
    the kernel, and a process with such a write cannot even be killed.
    """
    client, r = server.client(retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0)), random.Random(prefix)
    for i in range(200_000):
        value = r.randbytes(r.randrange(size))
        try:
            client.set(f"{prefix}{i}", value)
        except redis.ResponseError as error:
            return str(error)
        except redis.ConnectionError:
            return None
        acknowledged[f"{prefix}{i}"] = value
    check(False, f"{prefix}: 200,000 values and no error")


def has(server, check, values, what):
    """All of these values are there and none is wrong."""
    client = server.client()
    for key, value in values.items():
        got = client.get(key)
        check(got == value, f"{what}: {key} is {'not there' if got is None else 'wrong'}")


def log_of(server):
    with open(server.log.name) as f:
        return f.read()


def ends(server, check, status=0):
    got = server.stop()
    check(got == status, f"exit status {got}: {log_of(server)[-500:]}")


def is_durable(client):
    now = facts(client)
    return now["aof_buffer_length"] == 0 and now["aof_commits"] == now["aof_commits_durable"]


def full(disk, start, check, wait_until, policy):
    """The disk fills up under writes. `always`: the server ends, and everything is there. Else MISCONF, reads are served, and with
    room again it goes on; neither a save nor a rewrite that finds no room does harm."""
    options = [*APPENDS, "--appendfsync", policy]
    server = start("full", disk, *options)
    client, before, after = server.client(), {f"b{i}": os.urandom(3000) for i in range(200)}, {}
    client.mset(before)
    client.save()
    dump = open(disk.path + "/dump.rdb", "rb").read()
    wait_until(lambda: policy == "no" and is_written(client) or is_durable(client), "it is durable")
    disk.fill(left=3 << 20)
    refusal = write_until(server, check, "w", after)
    if policy == "always":
        check(refusal is None and server.process.wait(60) == 1, refusal)
        check("Can't recover from AOF write error" in log_of(server) and "No space left" in log_of(server), log_of(server)[-500:])
    else:
        check(refusal.startswith("MISCONF Errors writing to the AOF file: No space left"), refusal)
        has(server, check, before, "reads")
        check(facts(client)["aof_last_write_status"] == "err", "told")
        no_room_for_saves(client, check, wait_until)
        check(open(disk.path + "/dump.rdb", "rb").read() == dump, "the old dump.rdb")
        disk.empty()
        wait_until(lambda: facts(client)["aof_last_write_status"] == "ok", "it goes on")
        check(client.set("later", 1) and client.bgrewriteaof(), "a rewrite")
        wait_until(lambda: facts(client)["aof_rewrites"] == 1, "the rewrite")
        client.save()
        after["later"] = b"1"
        wait_until(lambda: is_durable(client) or policy == "no" and is_written(client), "all is written")
        disk.fill()
        refusal = write_until(server, check, "x", {})
        check(refusal.startswith("MISCONF"), refusal)
        kill(server)
    # Without room it does not start, and that changes nothing; what it cuts off a torn end may be room.
    disk.again(wait_until)
    disk.fill()
    try:
        has(start("full-still", disk, *options), check, {**before, **after}, "with what room there was")
        kill(disk.servers[-1])
    except RuntimeError as error:
        check("No space left" in str(error), error)
    disk.empty()
    disk.again(wait_until)
    server = start("full-again", disk, *options)
    has(server, check, {**before, **after}, "after the start")
    check(server.client().set("again", 1), "it goes on")
    ends(server, check)


def no_room_for_saves(client, check, wait_until):
    """BGSAVE and BGREWRITEAOF, more often than files can be open."""
    for i in range(10):
        try:
            client.bgsave()
        except redis.ResponseError as error:
            check("(errno " in str(error), error)
        wait_until(lambda: facts(client)["rdb_bgsave_in_progress"] == 0, "the save's end")
        check(facts(client)["rdb_last_bgsave_status"] == "err", "BGSAVE on a full disk")
    for i in range(10):
        try:
            client.bgrewriteaof()
        except redis.ResponseError as error:
            check("Can't execute an AOF background rewriting" in str(error), error)
        wait_until(lambda: facts(client)["aof_rewrite_in_progress"] == 0, "the rewrite's end")
        check(facts(client)["aof_last_bgrewrite_status"] == "err", "BGREWRITEAOF on a full disk")


def full_tier(disk, start, check, wait_until):
    """Without an append-only file: no room for the tier file to grow. Writers are refused when RAM is full, reads go on, a save that
    finds no room leaves the old file; with room again it goes on, and a clean end keeps everything."""
    options = [*DEBUG, "--maxmemory", "48mb", "--tier-max-bytes", "1gb", "--tier-segment-bytes", "256kb"]
    server = start("full-tier", disk, *options)
    client, values = server.client(), {f"b{i}": os.urandom(3000) for i in range(200)}
    client.mset(values)
    client.save()
    dump = open(disk.path + "/dump.rdb", "rb").read()
    disk.fill(left=8 << 20)
    refusal = write_until(server, check, "w", values, size=60_000)
    check(refusal.startswith("command not allowed when used memory > 'maxmemory'"), refusal)
    check(client.info("tier")["tier_write_errors_total"] > 0 and len(values) > 1000, "what could not be written")
    has(server, check, values, "reads")
    try:
        client.save()
        check(False, "saved without room")
    except redis.ResponseError:
        check(facts(client)["rdb_last_bgsave_status"] == "err", "SAVE on a full disk")
    check(open(disk.path + "/dump.rdb", "rb").read() == dump, "the old dump.rdb")
    disk.empty()

    def goes_on():
        try:
            return client.set("later", os.urandom(50_000))
        except redis.ResponseError:
            return False
    wait_until(goes_on, "room is found again")
    for i in range(200):
        values[f"l{i}"] = os.urandom(50_000)
        client.set(f"l{i}", values[f"l{i}"])
    has(server, check, values, "with room again")
    ends(server, check)
    server = start("full-tier-again", disk, *options)
    has(server, check, values, "after the start")
    ends(server, check)


# A disk that fails --------------------------------------------------------------------------------

def fails(client, check, key):
    """The value of a key cannot be read, and that is said."""
    try:
        got = client.get(key)
        check(False, f"{key} was read: {got[:20] if got else got}")
    except redis.ResponseError as error:
        check(str(error).startswith("IOERR"), error)


def demoted(client, check, count):
    """So many keys with values of a block each that are on the SSD alone."""
    values = {f"cold{i}": os.urandom(3000) for i in range(count)}
    client.mset(values)
    check(client.execute_command("TIER", "DEMOTE", *values) == count, "demoted")
    return values


def errors(disk, start, check, wait_until, policy):
    """EIO for everything. `always`: the server ends before it acknowledges anything. Else MISCONF once fsync has failed, until it is
    started again: nothing since is called durable. Killed or ended, it has everything that had been durable."""
    options = [*APPENDS, "--appendfsync", policy]
    for way in ("killed",) if policy == "always" else ("killed", "ended"):
        server = start(f"errors-{way}", disk, *options)
        client, after = server.client(), {}
        before = {f"b{i}": os.urandom(3000) for i in range(200)}
        client.mset(before)
        cold = demoted(client, check, 50)
        wait_until(lambda: is_durable(client), "it is durable")
        disk.device.fail()
        refusal = write_until(server, check, "w", after, size=500)
        if policy == "always":
            check(refusal is None and server.process.wait(60) == 1 and not after, refusal)
            check("when the AOF fsync policy is 'always': Input/output error" in log_of(server), log_of(server)[-500:])
        else:
            check(refusal.startswith("MISCONF Errors writing to the AOF file: Input/output error"), refusal)
            has(server, check, {**before, **after}, "what is in RAM")
            fails(client, check, "cold7")
            durable = facts(client)["aof_commits_durable"]
            disk.device.work()
            has(server, check, cold, "the SSD works again")
            check(write_until(server, check, "x", {}).startswith("MISCONF"), "it is not trusted again")
            now = facts(client)
            check(now["aof_commits_durable"] == durable < now["aof_commits"], "nothing since is called durable")
        if way == "killed":
            kill(server)
        else:
            ends(server, check)
        disk.device.work()
        disk.again(wait_until)
        server = start(f"errors-{way}-again", disk, *options)
        has(server, check, {**before, **cold, **(after if way == "ended" else {})}, f"{way}, after the start")
        client = server.client()
        check(all(client.get(key) in (None, value) for key, value in after.items()), "a wrong value")
        check(client.set("again", 1) and client.flushall(), "it goes on")
        ends(server, check)


def cold_reads(disk, start, check, wait_until):
    """EIO of the tier file's disk alone: values on it answer IOERR, the rest is served and changed; what cannot be written stays in
    RAM. When the disk works again, everything is there."""
    options = [*DEBUG, "--maxmemory", "48mb", "--tier-path", disk.path + "/tier.log", "--tier-max-bytes", "40mb", "--tier-segment-bytes", "256kb"]
    server = start("cold-reads", disk, *options, is_there=False)
    client, hot = server.client(), {f"hot{i}": os.urandom(3000) for i in range(200)}
    client.mset(hot)
    cold = demoted(client, check, 200)
    client.rpush("list", *[os.urandom(100) for _ in range(2000)])
    check(client.execute_command("TIER", "DEMOTE", "list") == 1, "demoted")
    disk.device.fail()
    for key in list(cold)[:50]:
        fails(client, check, key)
    for words in (("APPEND", "cold1", "x"), ("LPUSH", "list", "x"), ("MGET", "hot1", "cold1"), ("RENAME", "cold1", "other"), ("LRANGE", "list", 0, 1)):
        try:
            got = client.execute_command(*words)
            check(words[0] == "RENAME" and client.rename("other", "cold1"), f"{words}: {got}")
        except redis.ResponseError as error:
            check(str(error).startswith("IOERR"), f"{words}: {error}")
    check(client.info("tier")["tier_read_errors_total"] >= 50, "counted")
    try:
        check(False, f"demoted: {client.execute_command('TIER', 'DEMOTE', *hot)}")
    except redis.ResponseError as error:
        check(str(error).startswith("IOERR"), error)
    check(client.info("tier")["tier_write_errors_total"] > 0 and client.execute_command("TIER", "RESIDENCY", "hot3") == [b"resident-dirty"], "it stays in RAM")
    has(server, check, hot, "what is in RAM")
    for i in range(50):
        hot[f"cold{i}"] = b"new%d" % i
        client.set(f"cold{i}", hot[f"cold{i}"])
    has(server, check, hot, "what was changed")
    disk.device.work()
    has(server, check, {**cold, **hot}, "the disk works again")
    check(client.llen("list") == 2000, f"the list: {client.llen('list')}")
    ends(server, check)
    server = start("cold-reads", disk, *options, is_there=False)
    has(server, check, {**cold, **hot}, "after the start")
    ends(server, check)


def places(disk, values):
    """Where the blocks of these values are on the device."""
    with open(disk.device.backing, "rb") as f:
        data = f.read()
    found = {key: data.find(value) & ~4095 for key, value in values.items()}
    return {key: at for key, at in found.items() if at >= 0}


def wrong_blocks(disk, start, check, wait_until):
    """A device that gives blocks of zeros, of other places and of another time: IOERR, counted, and never a wrong value; the rest is
    served, moved by compaction and there after a restart."""
    options = [*DEBUG, "--maxmemory", "48mb", "--tier-path", disk.path + "/tier.log", "--tier-max-bytes", "8mb", "--tier-segment-bytes", "64kb"]
    server = start("wrong-blocks", disk, *options, is_there=False)
    client = server.client()
    old = demoted(client, check, 200)
    stale = places(disk, old)
    check(len(stale) == 200, "where they are")
    with open(disk.device.backing, "rb") as f:
        blocks = {at: os.pread(f.fileno(), 4096, at) for at in stale.values()}
    client.flushall()
    # Segments are used in turn: until each has been used twice.
    while client.info("tier")["tier_bytes_written_total"] < 20 << 20:
        values = demoted(client, check, 500)
    where, damaged = places(disk, values), set()
    with open(disk.device.backing, "r+b") as f:
        def put(key, block):
            os.pwrite(f.fileno(), block, where[key])
            damaged.add(key)
        lost = [key for key, at in where.items() if at in blocks]
        check(len(lost) > 20, "places that were used before")
        for key in lost[:20]:
            put(key, blocks[where[key]])
        others = [key for key in where if key not in damaged]
        for a, b in zip(others[0:20], others[20:40]):
            one, two = os.pread(f.fileno(), 4096, where[a]), os.pread(f.fileno(), 4096, where[b])
            put(a, two)
            put(b, one)
        for key in others[40:60]:
            put(key, bytes(4096))
        os.fsync(f.fileno())
    sound = {key: value for key, value in values.items() if key not in damaged}

    def is_as_it_should():
        before = server.client().info("tier")["tier_crc_errors_total"]
        for key in damaged:
            fails(server.client(), check, key)
        check(server.client().info("tier")["tier_crc_errors_total"] >= before + 80, "counted")
        has(server, check, sound, "the others")
    is_as_it_should()
    client.execute_command("TIER", "COMPACT")
    is_as_it_should()
    ends(server, check)
    server = start("wrong-blocks", disk, *options, is_there=False)
    is_as_it_should()
    for key in damaged:
        server.client().set(key, values[key])
    has(server, check, values, "written again")
    ends(server, check)


def removed(disk, start, check, wait_until, policy):
    """The disk is pulled out: what is in RAM is served, what is on it is an error, nothing is acknowledged with `always`; no hang."""
    server = start(f"removed-{policy}", disk, *APPENDS, "--appendfsync", policy)
    client, after = server.client(), {}
    hot = {f"hot{i}": os.urandom(3000) for i in range(200)}
    client.mset(hot)
    demoted(client, check, 50)
    disk.device.remove()
    if policy == "always":
        has(server, check, hot, "what is in RAM")
        fails(client, check, "cold1")
    refusal = write_until(server, check, "w", after, size=500)
    if policy == "always":
        check(refusal is None and not after and server.process.wait(60) == 1, refusal)
        return
    check(refusal.startswith("MISCONF Errors writing to the AOF file"), refusal)
    has(server, check, {**hot, **after}, "what is in RAM")
    fails(client, check, "cold1")
    ends(server, check, status=1)


def power_lost(disk, start, check, wait_until, policy):
    """A server is killed and started again, then the power is lost: what the first had left to the kernel is there as well, since
    the second goes on behind it."""
    options = [*APPENDS, "--appendfsync", policy]
    server = start("power", disk, *options)
    values, r = {}, random.Random(policy)
    for turn in range(3):
        client = server.client()
        for i in range(100):
            values[f"k{turn}:{i}"] = r.randbytes(r.randrange(3000))
            client.set(f"k{turn}:{i}", values[f"k{turn}:{i}"])
        wait_until(lambda: is_written(client), "it is written")
        kill(server)
        server = start("power", disk, *options)
        has(server, check, values, "after the kill")
    client = server.client()
    client.set("last", "value")
    wait_until(lambda: is_durable(client), "it is durable")
    kill(server)
    disk.lose_power(wait_until)
    server = start("power", disk, *options)
    has(server, check, {**values, "last": b"value"}, "after the loss of power")
    ends(server, check)
