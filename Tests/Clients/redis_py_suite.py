"""redis-py's own tests, from its source package, against tierd: RESP3 for those without asyncio, RESP2 for
those with it, both at the same time.

Method: tools/prepare puts the package's source into .build-python. What is left out has its reason below;
tests for newer versions of Redis leave themselves out. A failure prints pytest's summary.
"""
import os, pathlib, re, socket, subprocess, sys

PACKAGES = pathlib.Path(sys.prefix) / "sources"
FILES = """commands connection connection_pool pipeline pubsub lock monitor scripting encoding multiprocessing retry
    hash keyspace_notifications cache client connect command_parser function helpers
    utils""".split()
ASYNC_FILES = """commands connection connection_pool pipeline pubsub lock monitor scripting encoding hash retry
    keyspace_notifications cwe_404 connect client""".split()
# Clusters, modules, TLS and replication are not there.
MARKS = "not onlycluster and not redismod and not ssl and not replica and not experimental"
# Tests by the part of their name that is enough, and why they are left out.
LEFT_OUT = {
    "test_acl_deluser": "there is one user", "test_acl_dryrun": "there is one user",
    "test_acl_getuser_setuser": "there is one user", "test_acl_list": "there is one user",
    "test_acl_log": "there is one user", "test_auth": "there is one user",
    "test_client_kill_filter_by_user": "there is one user",
    "test_xgroup_create_entriesread": "fails with redis-server 7.0 too",
    "test_connect_with_retries": "wants a server on port 6379",
    "test_retry_connect_on_timeout_error": "wants a server on port 6379",
    "test_create_single_connection_client_from_url": "wants a server on port 6379",
    "test_connection_disconect_race": "fails with redis-server too: written for another pytest-asyncio",
    "test_max_connections": "asyncio's wants a server on port 6379",
    "test_multiple_connections": "asyncio's wants a server on port 6379",
    "test_reuse_previously_released_connection": "asyncio's wants a server on port 6379",
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def source():
    found = sorted(PACKAGES.glob("redis-*/tests"))
    if not found:
        raise AssertionError("redis-py's source is not there: tools/prepare --tests")
    return found[-1].parent


def start(port, files, *options):
    left_out = " and ".join("not " + name for name in LEFT_OUT)
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "60", "-W", "ignore", "-rfE",
            "--tb", "line", "--redis-url", f"redis://localhost:{port}/9", "-m", MARKS, "-k", left_out, *options, *files],
        cwd=source(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})


def redis_py_suite(tierd):
    """`tierd(name, port)` starts a server."""
    ports = free_port(), free_port()
    servers = [tierd(f"redis-py-{i}", port) for i, port in enumerate(ports)]
    runs = [start(ports[0], [f"tests/test_{name}.py" for name in FILES]),
        start(ports[1], [f"tests/test_asyncio/test_{name}.py" for name in ASYNC_FILES], "--protocol", "2")]
    try:
        for run in runs:
            output, _ = run.communicate(timeout=600)
            failures = re.findall(r"^(?:FAILED|ERROR) .*", output, re.M)
            passed = re.search(r"(\d+) passed", output)
            if run.returncode != 0:
                raise AssertionError("\n".join(failures[:20]) or output[-2000:])
            if not passed or int(passed[1]) < 900:
                raise AssertionError(f"too few tests ran: {output.splitlines()[-1]}")
    finally:
        for run in runs:
            run.kill()
    for server in servers:
        if server.stop() != 0:
            raise AssertionError("exit status")
