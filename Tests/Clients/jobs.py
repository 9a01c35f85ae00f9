"""What the workers of frameworks.py run: jobs for rq, tasks for Celery. TIERD_SOCKET is the server."""
import base64, hashlib, os, random

from celery import Celery

PATH = os.environ.get("TIERD_SOCKET", "")
app = Celery("jobs", broker=f"redis+socket://{PATH}?virtual_host=1", backend=f"redis+socket://{PATH}?virtual_host=2")
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=4, task_acks_late=True)


def payload(r, size):
    """Text that does not compress well."""
    return base64.b64encode(r.randbytes(size * 3 // 4)).decode()


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def fails(text):
    raise ValueError(text)


@app.task
def hashed(text):
    return digest(text)


@app.task
def made(seed, size):
    return payload(random.Random(seed), size)


@app.task
def joined(results):
    return digest("".join(results))
