"""Job queues and caches as their users run them, with RAM for a fraction of what they keep.

Method: every payload is random and checked when it comes back; INFO must say that values left RAM and
were read again. Workers are processes of their own.
"""
import os, random, subprocess, sys

import celery, flask, flask_caching, rq
from rq.job import Job

import jobs

HERE = os.path.dirname(os.path.abspath(__file__))


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def worker(server, *words):
    return subprocess.Popen([sys.executable, "-m", *words], cwd=HERE, stdout=server.log, stderr=server.log,
        env={**os.environ, "TIERD_SOCKET": server.path, "PYTHONDONTWRITEBYTECODE": "1"})


def came_back(server, count):
    """Most values were cold at some time, and many were asked for again."""
    info = server.client().info("tier")
    demoted = info["tier_demotions_total"]
    check(demoted >= count, f"{demoted} values left RAM, not {count}")
    check(info["tier_cold_reads_total"] > count // 2, f"{info['tier_cold_reads_total']} were read from the SSD")


def rq_jobs(tierd, count=700, size=100_000):
    """Jobs wait in the queue while their data go cold; three workers run them; results are read at the end."""
    server = tierd("rq", "--maxmemory", "32mb", "--io-threads", "2")
    client, r = server.client(), random.Random(1)
    queue = rq.Queue("work", connection=client)
    payloads = [jobs.payload(r, size) for _ in range(count)]
    queued = []
    for i in range(0, count // 2, 50):  # a transaction of 5 MB each
        queued += queue.enqueue_many([rq.Queue.prepare_data(jobs.digest, (text,)) for text in payloads[i:i + 50]])
    queued += [queue.enqueue(jobs.digest, text) for text in payloads[len(queued):]]
    failing = [queue.enqueue(jobs.fails, f"no {i}") for i in range(20)]
    last = queue.enqueue(jobs.digest, "at the end", depends_on=queued[:50])
    check(len(queue) == count + 20, f"{len(queue)} jobs queued")
    workers = [worker(server, "rq.cli", "worker", "--burst", "--quiet", "--worker-class", "rq.SimpleWorker",
        "--url", f"unix://{server.path}", "work") for _ in range(3)]
    for process in workers:
        check(process.wait(240) == 0, "a worker failed")
    check(len(queue) == 0, "the queue is not empty")
    check(len(queue.failed_job_registry) == 20, "failed jobs")
    for job, text in zip(queued, payloads):
        found = Job.fetch(job.id, connection=client)
        check(found.return_value() == jobs.digest(text), f"result of {job.id}")
        check(found.args[0] == text, f"arguments of {job.id}")
    check(last.return_value() == jobs.digest("at the end"), "the job that depends on others")
    check("no 3" in failing[3].latest_result().exc_string, "why a job failed")
    came_back(server, count)
    check(server.stop() == 0, "exit status")


def celery_tasks(tierd, count=1200, size=50_000):
    """A backlog, then a worker; results larger than RAM, read long after; a chord over some."""
    server = tierd("celery", "--maxmemory", "32mb", "--io-threads", "2")
    jobs.app.conf.update(broker_url=f"redis+socket://{server.path}?virtual_host=1",
        result_backend=f"redis+socket://{server.path}?virtual_host=2")
    r = random.Random(2)
    backlog = [jobs.made.delay(seed, size) for seed in range(count)]
    payloads = [jobs.payload(r, 20_000) for _ in range(40)]
    sum_up = celery.chord([jobs.hashed.s(text) for text in payloads])(jobs.joined.s())
    process = worker(server, "celery", "-A", "jobs", "worker", "--concurrency", "2", "--loglevel", "ERROR",
        "--without-gossip", "--without-mingle")
    try:
        joined = jobs.digest("".join(jobs.digest(text) for text in payloads))
        check(sum_up.get(timeout=120) == joined, "chord")
        for seed, task in enumerate(backlog):
            check(task.get(timeout=120) == jobs.payload(random.Random(seed), size), f"task {seed}")
        came_back(server, count // 2)
    finally:
        process.terminate()
        process.wait(60)
        jobs.app.close()
    check(server.stop() == 0, "exit status")


def flask_cache(tierd, count=4000, size=20_000):
    """Pages and function results in Flask-Caching: what was put in comes out, and is computed once."""
    server = tierd("flask", "--maxmemory", "32mb", "--io-threads", "2")
    app = flask.Flask("shop")
    cache = flask_caching.Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": f"unix://{server.path}",
        "CACHE_DEFAULT_TIMEOUT": 3600, "CACHE_KEY_PREFIX": "shop:"})
    computed = []

    @cache.memoize()
    def article(i):
        computed.append(i)
        return {"id": i, "text": jobs.payload(random.Random(i), size)}

    @app.route("/article/<int:i>")
    @cache.cached(query_string=True)
    def page(i):
        return article(i)["text"]

    browser = app.test_client()
    with app.app_context():
        for _ in range(2):
            for i in range(count):
                check(article(i)["text"] == jobs.payload(random.Random(i), size), f"article {i}")
        check(len(computed) == count, f"computed {len(computed)} times")
        for i in range(0, count, 20):
            check(browser.get(f"/article/{i}?a=1").text == browser.get(f"/article/{i}?a=1").text, f"page {i}")
        check(len(computed) == count, "pages come from the cache")
        cache.delete_memoized(article, 7)
        article(7)
        check(len(computed) == count + 1, "a deleted entry is computed again")
        check(cache.set_many({f"n{i}": i for i in range(500)}), "set_many")
        check(cache.get_many(*(f"n{i}" for i in range(500))) == list(range(500)), "get_many")
        check(cache.add("n1", 5) is False and cache.get("n1") == 1, "add")
        came_back(server, count)
        cache.clear()
        check(cache.get("n1") is None, "clear")
    check(server.stop() == 0, "exit status")
