"""Results of a scenario, as they stand in its raw file."""
import json
import statistics


class Figure:
    """A figure and where it is from."""

    def __init__(self, values, ids, noise):
        self.values, self.ids = values, ids
        self.value = statistics.median(values)
        self.least, self.most = min(values), max(values)
        self.spread = (self.most - self.least) / self.value if self.value else 0
        self.noisy = len(values) > 1 and self.spread > noise

    def over(self, other):
        """This figure to another, both with their sources."""
        return Ratio(self.value / other.value if other.value else 0, self.ids + other.ids, self.noisy or other.noisy)


class Ratio:
    def __init__(self, value, ids, noisy):
        self.value, self.ids, self.noisy = value, ids, noisy


def dig(result, path):
    for part in path.split("."):
        result = result[part]
    return result


class Records:
    def __init__(self, path, noise):
        with open(path) as file:
            document = json.load(file)
        self.all, self.problems, self.noise = document["records"], document["problems"], noise

    def of(self, what, server=None, **facts):
        return [record for record in self.all if record["what"] == what and server in (None, record["server"])
            and all(record.get(name) == value for name, value in facts.items())]

    def has(self, what, server=None, **facts):
        return bool(self.of(what, server, **facts))

    def figure(self, what, server, path="rps", **facts):
        """The median of repeats."""
        found = self.of(what, server, **facts)
        if not found:
            raise Missing(f"no record of {server}: {what} {facts or ''}")
        return Figure([dig(record["result"], path) for record in found], [record["id"] for record in found], self.noise)

    def result(self, what, server, **facts):
        found = self.of(what, server, **facts)
        if not found:
            raise Missing(f"no record of {server}: {what} {facts or ''}")
        return found[-1]

    def servers(self, what, **facts):
        names = []
        for record in self.of(what, **facts):
            if record["server"] not in names:
                names.append(record["server"])
        return names


def paused(*found):
    """In words: how long the machine itself stood still while these were measured."""
    pauses = [record.get("machine_pause_ms") for record in found]
    if None in pauses:
        return "Whether the machine itself paused meanwhile is not known."
    if max(pauses) < 1:
        return "The machine itself did not pause meanwhile."
    return f"The machine itself paused for up to {max(pauses):.0f} ms meanwhile."


def disturbed(found):
    """In words: how many of these runs the machine's own pauses fell into; nothing if none was long."""
    watched = [record["machine_pause_ms"] for record in found if record.get("machine_pause_ms") is not None]
    long = [pause for pause in watched if pause >= 5]
    if not long:
        return ""
    return (f" The machine itself stood still for 5 ms and more in {len(long)} of {len(watched)} runs, for {max(watched):.0f} ms at most: "
        "its longest latencies, of every server, are to be read with that in mind.")


def short_ids(ids):
    """"ram-3 ram-4 ram-5" is "ram-3…5"."""
    if len(ids) > 24:
        numbers = [int(one.rsplit("-", 1)[1]) for one in ids]
        return f"{ids[0].rsplit('-', 1)[0]}-{min(numbers)}…{max(numbers)} ({len(ids)} of them)"
    groups = []
    for one in ids:
        name, number = one.rsplit("-", 1)
        if groups and groups[-1][0] == name and groups[-1][2] + 1 == int(number):
            groups[-1][2] = int(number)
        else:
            groups.append([name, int(number), int(number)])
    return ", ".join(f"{name}-{first}" + (f"…{last}" if last > first else "") for name, first, last in groups)


class Missing(Exception):
    """A figure that was not measured: the rival was not there, or died."""
