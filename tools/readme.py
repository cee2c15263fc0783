"""README.md from nbs/index.ipynb, without Quarto, and files of the root on the pages of the guide that show them.

With `--check` nothing is written, and the exit code says whether all of it is up to date, and whether the Chinese README has the same figures.
"""

import ast
import base64
import json
import os
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
SITE = "https://pneumonia-nbdev.github.io/pneumonia-nbdev"
BLOB = "https://github.com/pneumonia-nbdev/pneumonia-nbdev/blob/main"
ALT = "The X-ray with its heat map"  # what the only picture among the outputs shows
PAGES = dict(
    model_card="MODEL_CARD.md",
    changelog="CHANGELOG.md",
    contributing="CONTRIBUTING.md",
    chinese="README.zh-CN.md",
)  # of the guide, and what they show


def links(text):
    "Links to pages go to the site, pictures into the folder of the notebooks, files of the root beside the README"

    def on_site(match):
        page = re.sub(r"(^|/)\d\d_", r"\1", match[1])
        return f"]({SITE}/{page}.html{match[2] or ''})"

    text = re.sub(r"\]\(([\w/]+)\.ipynb(#[\w-]+)?\)", on_site, text)
    return text.replace("](images/", "](nbs/images/").replace(f"]({SITE}/guide/chinese.html", "](README.zh-CN.md")


def output(out, n, pictures):
    "One output as Markdown; a picture becomes a file"
    if out.output_type == "stream":
        return f"```\n{out.text.rstrip()}\n```"
    data = out.get("data", {})
    for kind, suffix in (("image/jpeg", "jpg"), ("image/png", "png")):
        if kind in data:
            name = f"images/index-{n}.{suffix}"
            pictures[ROOT / "nbs" / name] = base64.b64decode(data[kind])
            return f"![{ALT}](nbs/{name})"
    if "text/markdown" in data:
        return links(data["text/markdown"])
    return f"```\n{data.get('text/plain', '').rstrip()}\n```" if data else ""


def readme():
    "The text of README.md, and the pictures it shows"
    parts = ["<!-- made from nbs/index.ipynb by `make readme`; edit that -->"]
    pictures = {}
    for n, cell in enumerate(nbformat.read(ROOT / "nbs" / "index.ipynb", 4).cells):
        if cell.cell_type == "markdown":
            parts.append(links(cell.source))
        if cell.cell_type != "code" or "#| hide" in cell.source:
            continue
        if "#| echo: false" not in cell.source:
            parts.append(f"```python\n{cell.source}\n```")
        parts += [output(o, n, pictures) for o in cell.outputs]
    return "\n\n".join(filter(None, parts)) + "\n", pictures


def value_of(code, folder):
    "The text that the last line of a cell gives, run in the notebook's folder"
    *before, last = ast.parse(code).body
    known = {"Path": Path, "Markdown": str}
    here = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(ast.Module(before, []), "cell", "exec"), known)  # noqa: S102, it is our own notebook
        return eval(compile(ast.Expression(last.value), "cell", "eval"), known)
    finally:
        os.chdir(here)


def shown(page, file):
    "A page of the guide whose last visible cell shows a file of the root, with what that cell gives now"
    nb = json.loads(page.read_text(encoding="utf-8"))
    cell = next(
        c
        for c in nb["cells"]
        if f'"../../{file.name}"' in "".join(c["source"]) and "#| hide" not in "".join(c["source"])
    )
    cell["outputs"][0]["data"]["text/markdown"] = value_of("".join(cell["source"]), page.parent).splitlines(
        keepends=True
    )
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def figures(text):
    "The numbers in the cells of each table below its head, row by row; a thousand is 1,000 in either language"
    found = []
    for table in re.findall(r"^\|.*\|\n\|[ :|-]+\|\n((?:\|.*\|\n?)+)", text, re.MULTILINE):
        rows = [
            re.findall(
                r"[−+-]?\d[\d,]*(?:\.\d+)?%?", re.sub(r"\]\([^)]*\)|`[^`]*`", "", row.replace(" %", "%"))
            )
            for row in table.splitlines()
        ]
        if any(rows):
            found.append(rows)
    return found


def translated(english, chinese):
    "Why the Chinese README is not the English one in Chinese; nothing when it is"
    for name, other in (("README.zh-CN.md", english), ("README.md", chinese)):
        if f"({name})" not in other:
            yield f"no link to {name}"
    for command in ("make run", "make test"):
        if not all(command in t for t in (english, chinese)):
            yield f"no `{command}`"
    heads = [re.findall(r"^##+ ", t, re.MULTILINE) for t in (english, chinese)]
    if heads[0] != heads[1]:
        yield f"{len(heads[0])} headings in English, {len(heads[1])} in Chinese"
    pair = [figures(t) for t in (english, chinese)]
    if len(pair[0]) != len(pair[1]):
        yield f"{len(pair[0])} tables with figures in English, {len(pair[1])} in Chinese"
    for n, (a, b) in enumerate(zip(*pair)):
        if a != b:
            yield f"table {n + 1}: {[x for x in a if x not in b]} in English, {[x for x in b if x not in a]} in Chinese"
    prose = [set(re.findall(r"\d+\.\d{2,}", t)) for t in (english, chinese)]
    if prose[0] != prose[1]:
        yield f"figures in one language only: {sorted(prose[0] ^ prose[1])}"


if __name__ == "__main__":
    text, pictures = readme()
    wanted = {ROOT / "README.md": text.encode(), **pictures}
    for name, file in PAGES.items():
        wanted[ROOT / "nbs" / "guide" / f"{name}.ipynb"] = shown(
            ROOT / "nbs" / "guide" / f"{name}.ipynb", ROOT / file
        ).encode()
    stale = [p for p, content in wanted.items() if not p.exists() or p.read_bytes() != content]
    apart = list(translated(text, (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")))
    if "--check" in sys.argv and stale:
        sys.exit(f"out of date, run `make readme`: {', '.join(p.name for p in stale)}")
    for p in stale:
        p.write_bytes(wanted[p])
    if apart:
        sys.exit("README.zh-CN.md: " + "\n".join(apart))
