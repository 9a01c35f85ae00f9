"""What a scenario says: claims, plots, tables and notes, as HTML and as Markdown."""
import html
import io

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25, "axes.axisbelow": True, "axes.titlesize": 12,
    "axes.titleweight": "bold", "legend.frameon": False, "lines.linewidth": 2, "svg.hashsalt": "tierd",
})
from matplotlib import pyplot  # noqa: E402

from .records import short_ids  # noqa: E402

COLORS = {"tierd": "#0b7a75", "redis": "#c0392b", "extstore": "#d68910", "fio": "#7f8c8d", "valkey": "#6c3483",
    "keydb": "#2e86c1", "dragonfly": "#b03a2e", "garnet": "#117864", "kvrocks": "#7d6608", "LRU": "#c0392b",
    "optimum": "#7f8c8d"}
NAMES = {"redis": "redis-server", "extstore": "memcached extstore", "valkey": "valkey-server", "keydb": "keydb-server"}


def color(name):
    return COLORS.get(name, "#555555")


def label(name):
    return NAMES.get(name, name)


def figure(rows=1, columns=1, width=9.0, height=3.6, **options):
    return pyplot.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)


class Page:
    """One scenario's part of the report."""

    def __init__(self, name, title, question):
        self.name, self.title, self.question = name, title, question
        self.parts, self.claims = [], []

    def claim(self, what, wanted, got, met, ids=(), why="", noisy=False, headline=None):
        """One row of the table: what was wanted, what came of it. `why` is told when it was not met. `headline` is
        a few words for the head of the page."""
        self.claims.append({"what": what, "wanted": wanted, "got": got, "met": met, "ids": list(dict.fromkeys(ids)),
            "why": why, "noisy": noisy, "headline": headline})

    def plot(self, plotted, caption):
        buffer = io.StringIO()
        plotted.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(plotted)
        text = buffer.getvalue()
        self.parts.append(("plot", text[text.index("<svg"):], caption))

    def table(self, heads, rows, caption=""):
        self.parts.append(("table", heads, rows, caption))

    def note(self, text):
        self.parts.append(("note", text))

    # As HTML.

    def html(self, records):
        out = [f'<section id="{self.name}"><h2>{html.escape(self.title)}</h2><p class="question">{html.escape(self.question)}</p>']
        for part in self.parts:
            if part[0] == "plot":
                out.append(f'<figure>{scoped(part[1], self.name, len(out))}<figcaption>{html.escape(part[2])}</figcaption></figure>')
            elif part[0] == "note":
                out.append(f"<p>{html.escape(part[1])}</p>")
            else:
                out.append(table_html(part[1], part[2], part[3]))
        if self.claims:
            out.append(claims_html(self.claims))
        if records:
            out.append(runs_html(records))
        out.append("</section>")
        return "\n".join(out)

    # As Markdown.

    def markdown(self):
        out = [f"## {self.title}", "", self.question, ""]
        if self.claims:
            out += ["| What | Wanted | Measured | | Runs |", "|---|---|---|---|---|"]
            for claim in self.claims:
                out.append(f"| {claim['what']} | {claim['wanted']} | {claim['got']}{' (noisy)' if claim['noisy'] else ''} | "
                    f"{verdict(claim)} | {short_ids(claim['ids'])} |")
            out.append("")
            out += [f"- **{claim['what']}**: {claim['why']}" for claim in self.claims if claim["met"] is False and claim["why"]]
            out.append("")
        for part in self.parts:
            if part[0] == "table":
                if part[3]:
                    out += [part[3], ""]
                out += ["| " + " | ".join(part[1]) + " |", "|" + "---|" * len(part[1])]
                out += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in part[2]] + [""]
            elif part[0] == "note":
                out += [part[1], ""]
        return "\n".join(out)


def verdict(claim):
    return {True: "met", False: "**short**", None: ""}[claim["met"]]


def scoped(svg, name, number):
    """matplotlib's identifiers, made unlike those of the page's other pictures."""
    prefix = f"{name}{number}-"
    return svg.replace('id="', f'id="{prefix}').replace("url(#", f"url(#{prefix}").replace('href="#', f'href="#{prefix}')


def noisy_html(claim):
    return ' <span class="noisy" title="repeats differ by more than the bound">noisy</span>' if claim["noisy"] else ""


def claims_html(claims):
    rows = []
    for claim in claims:
        mark = {True: '<span class="met">✓ met</span>', False: '<span class="short">✗ short</span>', None: ""}[claim["met"]]
        why = f'<div class="why">{html.escape(claim["why"])}</div>' if claim["met"] is False and claim["why"] else ""
        links = " ".join(f'<a href="#{one}">{one.rsplit("-", 1)[1]}</a>' for one in claim["ids"][:12])
        links += f" … {len(claim['ids'])} in all" if len(claim["ids"]) > 12 else ""
        rows.append(f"<tr><td>{html.escape(claim['what'])}{why}</td><td>{html.escape(claim['wanted'])}</td>"
            f"<td><b>{html.escape(claim['got'])}</b>{noisy_html(claim)}</td><td>{mark}</td><td class=runs>{links}</td></tr>")
    return ("<table class=claims><tr><th>What</th><th>Wanted</th><th>Measured</th><th></th><th>Runs</th></tr>"
        + "".join(rows) + "</table>")


def table_html(heads, rows, caption):
    cells = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    return f"<table><caption>{html.escape(caption)}</caption><tr>{head}</tr>{cells}</table>"


def runs_html(records):
    rows = []
    for record in records:
        result = record["result"]
        if "latency_us" in result:
            told = (f"{result['rps']:.0f}/s, p50 {result['latency_us']['p50']:.0f} µs, p99 {result['latency_us']['p99']:.0f} µs, "
                f"{result['requests']} requests, {result['missing']} missing, {result['wrong']} wrong, {result['errors']} errors"
                + (f"; the machine paused for {record['machine_pause_ms']:.0f} ms" if record.get("machine_pause_ms") else ""))
        else:
            told = ", ".join(f"{name} {value}" for name, value in result.items() if not isinstance(value, (list, dict)))
        rows.append(f'<tr id="{record["id"]}"><td>{record["id"]}</td><td>{html.escape(record["what"])}</td>'
            f"<td>{html.escape(label(record['server']))}</td><td>{html.escape(told)}</td>"
            f"<td><code>{html.escape(record['command'])}</code><br><code class=server>{html.escape(record['server_command'])}</code></td></tr>")
    return (f"<details><summary>All {len(records)} runs, with their command lines</summary><table class=raw>"
        "<tr><th>Run</th><th>What</th><th>Server</th><th>Result</th><th>Command, and the server's</th></tr>"
        + "".join(rows) + "</table></details>")
