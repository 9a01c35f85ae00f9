"""The scenarios, in the order of the report. Each module has NAME, TITLE, QUESTION, measure(bench) and present(records, page)."""
from . import (appendonly, commands, compaction, cost, disk, growth, hitratio, larger, latency, loops, memory, pauses, ram,
    restart, saving)

ALL = (latency, larger, ram, commands, memory, pauses, compaction, disk, hitratio, restart, appendonly, saving, growth, loops,
    cost)
