import json
import math
import os

from .. import page as pages

NAME = "cost"
TITLE = "What an hour costs"
QUESTION = ("Arithmetic, not a measurement: a data set on instances with RAM alone, and on instances with an SSD where tierd keeps a fifth "
    "of the values in RAM. RAM a key is what was measured above.")
DATA = (100, 500, 1000, 5000)
#: What an instance has for data of its RAM, and of its SSD.
USABLE_RAM, USABLE_SSD = 0.75, 0.8


def measure(bench):
    with open(os.path.join(os.path.dirname(__file__), "..", "prices.json")) as file:
        prices = json.load(file)
    memory = f"{bench.report}/raw/memory.json"
    redis, resident, demoted = 113.0, 43.0, 40.0
    if os.path.exists(memory):
        with open(memory) as file:
            for record in json.load(file)["records"]:
                if record["what"] == "values of 500 bytes" and record["server"] == "redis":
                    redis = record["result"]["resident"]
                if record["what"] == "values of 500 bytes" and record["server"] == "tierd":
                    resident, demoted = record["result"]["resident"], record["result"]["demoted"]
    for gib in DATA:
        bench.record("an hour", "arithmetic", hour(gib, prices, redis, resident, demoted), "prices.json and raw/memory.json", gib=gib)
    bench.record("prices", "arithmetic", prices, "prices.json")


def hour(gib, prices, redis, resident, demoted):
    """Instances and dollars for `gib` GiB of values of 500 bytes with keys of 16."""
    ram, ssd = prices["instances"]["ram"], prices["instances"]["ssd"]
    keys = gib * 2**30 / 500
    all_in_ram = keys * (516 + redis) / 2**30
    tiered_ram = (keys * 0.2 * (516 + resident) + keys * 0.8 * (16 + demoted)) / 2**30
    # Seven records of 500 bytes to a block of 4096, and 70 % of the file live.
    tiered_ssd = keys * 585 / 0.7 / 2**30
    ram_nodes = math.ceil(all_in_ram / (ram["ram_gib"] * USABLE_RAM))
    tiered_nodes = max(math.ceil(tiered_ram / (ssd["ram_gib"] * USABLE_RAM)), math.ceil(tiered_ssd / (ssd["ssd_gib"] * USABLE_SSD)))
    return {"ram_gib": round(all_in_ram, 1), "tiered_ram_gib": round(tiered_ram, 1), "tiered_ssd_gib": round(tiered_ssd, 1),
        "ram_instances": ram_nodes, "tiered_instances": tiered_nodes, "ram_dollars": round(ram_nodes * ram["dollars_per_hour"], 3),
        "tiered_dollars": round(tiered_nodes * ssd["dollars_per_hour"], 3)}


def present(records, page):
    prices = records.result("prices", "arithmetic")["result"]
    ram, ssd = prices["instances"]["ram"], prices["instances"]["ssd"]
    hours = [records.result("an hour", "arithmetic", gib=gib) for gib in DATA]
    plotted, axis = pages.figure(width=6.5, height=3.2)
    for shift, key, shade, name in ((-0.2, "ram_dollars", pages.color("redis"), f"RAM alone ({ram['name']})"),
            (0.2, "tiered_dollars", pages.color("tierd"), f"tierd ({ssd['name']})")):
        values = [hour["result"][key] for hour in hours]
        axis.bar([i + shift for i in range(len(DATA))], values, 0.38, color=shade, label=name)
        for place, value in enumerate(values):
            axis.annotate(f"${value:.2f}", (place + shift, value), ha="center", va="bottom", fontsize=9)
    axis.set_yscale("log")
    axis.set_ylim(top=axis.get_ylim()[1] * 2)
    axis.set_xticks(range(len(DATA)), [f"{gib} GiB" for gib in DATA])
    axis.set_xlabel("values of 500 bytes")
    axis.set_ylabel("dollars an hour (log scale)")
    axis.grid(axis="x", visible=False)
    axis.legend(loc="upper left")
    page.plot(plotted, f"Prices: {prices['source']}, {prices['date']}. Lower is better.")
    page.table(("Data", "RAM alone: RAM", "instances", "tierd: RAM", "SSD", "instances", "saved"), [
        (f"{record['gib']} GiB", f"{record['result']['ram_gib']:.0f} GiB", record["result"]["ram_instances"],
            f"{record['result']['tiered_ram_gib']:.0f} GiB", f"{record['result']['tiered_ssd_gib']:.0f} GiB", record["result"]["tiered_instances"],
            f"{1 - record['result']['tiered_dollars'] / record['result']['ram_dollars']:.0%}") for record in hours])
    page.note(f"{ram['name']}: {ram['ram_gib']} GiB of RAM, ${ram['dollars_per_hour']} an hour. {ssd['name']}: {ssd['ram_gib']} GiB of RAM and "
        f"{ssd['ssd_gib']} GiB of local SSD, ${ssd['dollars_per_hour']} an hour. {USABLE_RAM:.0%} of an instance's RAM and {USABLE_SSD:.0%} of its SSD "
        "are taken for data; a fifth of the values is in RAM, the tier file is 70 % live. No replicas, no network, no discount.")
    saved = 1 - hours[2]["result"]["tiered_dollars"] / hours[2]["result"]["ram_dollars"]
    page.claim(f"an hour of {DATA[2]} GiB", "≥ 60 % less than RAM alone (ElastiCache's claim)", f"{saved:.1%} less", saved >= 0.6,
        [hours[2]["id"]], why="Keys and a fifth of the values are in RAM: that sets the number of instances.")
