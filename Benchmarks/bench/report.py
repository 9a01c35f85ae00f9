"""Makes report.html and RESULTS.md from the raw files."""
import html
import json
import os

from . import page as pages
from . import records
from . import scenarios


def build(report, noise):
    """Writes both; says which scenarios could not be presented."""
    with open(f"{report}/machine.json") as file:
        machine = json.load(file)
    made, raw, problems = [], {}, []
    for scenario in scenarios.ALL:
        path = f"{report}/raw/{scenario.NAME}.json"
        if not os.path.exists(path):
            continue
        found = records.Records(path, noise)
        page = pages.Page(scenario.NAME, scenario.TITLE, scenario.QUESTION)
        problems += [problem for problem in found.problems if problem not in problems]
        try:
            scenario.present(found, page)
        except records.Missing as missing:
            problems.append({"scenario": scenario.NAME, "text": f"cut short: {missing}"})
        made.append(page)
        raw[scenario.NAME] = found.all
    with open(f"{report}/RESULTS.md", "w") as file:
        file.write(markdown(made, raw, machine, problems, noise))
    with open(f"{report}/report.html", "w") as file:
        file.write(document(made, raw, machine, problems, noise))
    return problems


def tell(problem):
    return f"{problem['scenario']}: {problem['text']}" if problem["scenario"] else problem["text"]


def introduction(machine, noise, raw):
    return (f"{machine['date']}, {'the quick run' if machine['quick'] else 'the whole run'} ({machine['minutes']:.0f} minutes), tierd {machine['tierd']}. "
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, {machine['file_system'].split()[0]}. "
        f"Figures are medians of repeats in which the servers take turns; a figure is marked noisy where its repeats differ by more than {noise:.0%} of "
        "the median. Every value that comes back is compared with what it must be."
        + records.disturbed([record for found in raw.values() for record in found])
        + (f" Measured once more by themselves: {', '.join(machine['again'])}." if machine["again"] else ""))


def facts(machine):
    rivals = ", ".join(f"{name} ({version})" for name, version in machine["rivals"].items())
    return f"Beside it: {rivals}. {machine['swift']}. Hypervisor: {machine['hypervisor']}."


def markdown(made, raw, machine, problems, noise):
    claims = [claim for page in made for claim in page.claims if claim["met"] is not None]
    short = [claim for claim in claims if not claim["met"]]
    out = ["# Results", "", "Made by `tools/bench`; the same as a page with pictures: report.html. Runs named in the last column are in raw/, "
        "with their command lines.", "", introduction(machine, noise, raw), "", facts(machine), "",
        f"**{len(claims) - len(short)} of {len(claims)} targets are met.**", ""]
    if problems:
        out += ["What did not run as it should:", ""] + [f"- {tell(problem)}" for problem in problems] + [""]
    return "\n".join(out) + "\n" + "\n".join(page.markdown() for page in made)


STYLE = """
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1b2631; max-width: 1020px; margin: 0 auto; padding: 24px; background: #fff; }
h1 { font-size: 30px; margin: 0 0 4px; } h2 { margin: 44px 0 4px; font-size: 22px; border-top: 1px solid #d5dbdb; padding-top: 24px; }
.question { color: #515a5a; margin: 0 0 12px; } .facts { color: #515a5a; font-size: 14px; }
.cards { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px; margin: 20px 0; }
.card { background: #eef6f5; border-left: 4px solid #0b7a75; padding: 10px 14px; font-weight: 600; }
.card.short { background: #fdf2f0; border-color: #c0392b; } .card a { font-weight: 400; font-size: 13px; color: #0b7a75; display: block; }
figure { margin: 16px 0; } figure svg { width: 100%; height: auto; } figcaption { font-size: 14px; color: #515a5a; }
table { border-collapse: collapse; width: 100%; font-size: 14px; margin: 12px 0; } caption { text-align: left; color: #515a5a; }
th, td { text-align: left; padding: 5px 8px; border-bottom: 1px solid #e5e8e8; vertical-align: top; } th { color: #515a5a; font-weight: 600; }
.met { color: #0b7a75; font-weight: 600; white-space: nowrap; } .short { color: #c0392b; font-weight: 600; } span.short { white-space: nowrap; }
.noisy { background: #fcf3cf; color: #7d6608; padding: 0 5px; border-radius: 3px; font-size: 12px; } .why { color: #515a5a; font-size: 13px; }
.runs { font-size: 12px; max-width: 150px; } .runs a { color: #0b7a75; } details { margin: 8px 0; } summary { cursor: pointer; color: #0b7a75; font-size: 14px; }
.raw td, .raw th { font-size: 12px; } code { font-size: 11px; word-break: break-word; } code.server { color: #7f8c8d; }
.problems { background: #fcf3cf; padding: 8px 16px; font-size: 14px; } nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 16px 0; } nav a { color: #0b7a75; font-size: 14px; }
a { color: #0b7a75; }
"""


def document(made, raw, machine, problems, noise):
    claims = [claim for page in made for claim in page.claims if claim["met"] is not None]
    short = [(page, claim) for page in made for claim in page.claims if claim["met"] is False]
    cards = "".join(f'<div class="card{"" if claim["met"] is not False else " short"}">{html.escape(claim["headline"])}'
        f'<a href="#{page.name}">{html.escape(page.title)}</a></div>' for page in made for claim in page.claims if claim["headline"])
    out = ["<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>tierd: measured</title><style>{STYLE}</style></head><body><h1>tierd, measured</h1>",
        "<p>tierd speaks the Redis protocol and keeps values that are not used on an SSD. This page says how fast it is, where it "
        "beats its rivals and where it does not. Every figure links to its runs, with the command lines that repeat them.</p>",
        f'<div class="cards">{cards}</div>', f"<p><b>{len(claims) - len(short)} of {len(claims)} targets are met.</b> ",
        "Where tierd is short of what was wanted, and why:</p><table class=claims>" if short else "</p>",
        "".join(f'<tr><td><a href="#{page.name}">{html.escape(page.title)}</a></td><td>{html.escape(claim["what"])}</td>'
            f'<td class=short>{html.escape(claim["got"])}{pages.noisy_html(claim)}</td><td>{html.escape(claim["wanted"])}</td><td class=why>{html.escape(claim["why"])}</td></tr>'
            for page, claim in short), "</table>" if short else "", f"<nav>{''.join(f'<a href=#{page.name}>{html.escape(page.title)}</a>' for page in made)}</nav>",
        f'<p class="facts">{html.escape(introduction(machine, noise, raw))} {html.escape(facts(machine))}</p>']
    if problems:
        out.append("<div class=problems>What did not run as it should:<ul>"
            + "".join(f"<li>{html.escape(tell(problem))}</li>" for problem in problems) + "</ul></div>")
    out += [page.html(raw[page.name]) for page in made]
    # A link to a run opens the list it is in.
    out.append("<script>addEventListener('hashchange', () => { const run = document.getElementById(location.hash.slice(1)); "
        "const list = run && run.closest('details'); if (list) { list.open = true; run.scrollIntoView(); } });</script></body></html>")
    return "\n".join(out)
