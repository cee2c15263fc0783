"""Write README.md from nbs/index.ipynb, without Quarto, and copy files of the root into the pages of the guide.

    python tools/readme.py            write the files
    python tools/readme.py --check    exit with an error when a file is out of date

Both check that the Chinese README has the same headings, commands and numbers.
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
NBS = ROOT / "nbs"
SITE = "https://pneumonia-nbdev.github.io/pneumonia-nbdev"
BLOB = "https://github.com/pneumonia-nbdev/pneumonia-nbdev/blob/main"
ALT = "The X-ray with its heat map"  # of the only picture among the outputs
PAGES = dict(  # pages of the guide that contain a file of the root
    model_card="MODEL_CARD.md",
    changelog="CHANGELOG.md",
    contributing="CONTRIBUTING.md",
    security="SECURITY.md",
    chinese="README.zh-CN.md",
)


def links(text):
    "Links to notebooks lead to the site, pictures to `nbs/images`, and files of the root are beside the README"

    def on_site(match):
        page = re.sub(r"(^|/)\d\d_", r"\1", match[1])
        return f"]({SITE}/{page}.html{match[2] or ''})"

    text = re.sub(r"\]\(([\w/]+)\.ipynb(#[\w-]+)?\)", on_site, text)
    return text.replace("](images/", "](nbs/images/").replace(f"]({SITE}/guide/chinese.html", "](README.zh-CN.md")


def output(out, n, pictures):
    "One output as Markdown; the content of a picture is added to `pictures`"
    if out.output_type == "stream":
        return f"```\n{out.text.rstrip()}\n```"
    data = out.get("data", {})
    for kind, suffix in (("image/jpeg", "jpg"), ("image/png", "png")):
        if kind in data:
            name = f"images/index-{n}.{suffix}"
            pictures[NBS / name] = base64.b64decode(data[kind])
            return f"![{ALT}](nbs/{name})"
    if "text/markdown" in data:
        return links(data["text/markdown"])
    return f"```\n{data.get('text/plain', '').rstrip()}\n```" if data else ""


def readme():
    "The text of README.md, and its pictures as path -> content"
    parts = ["<!-- made from nbs/index.ipynb by `make readme`; edit that -->"]
    pictures = {}
    for n, cell in enumerate(nbformat.read(NBS / "index.ipynb", 4).cells):
        if cell.cell_type == "markdown" and "<!-- not in the README -->" not in cell.source:
            parts.append(links(cell.source))
        if cell.cell_type != "code" or "#| hide" in cell.source:
            continue
        if "#| echo: false" not in cell.source:
            parts.append(f"```python\n{cell.source}\n```")
        parts += [output(out, n, pictures) for out in cell.outputs]
    return "\n\n".join(filter(None, parts)) + "\n", pictures


def evaluate_cell(code, folder):
    "The value of the last line of a cell, run in `folder`"
    *statements, last = ast.parse(code).body
    names = {"Path": Path, "Markdown": str}
    here = Path.cwd()
    os.chdir(folder)
    try:
        # The code comes from notebooks of this repository.
        exec(compile(ast.Module(statements, []), "cell", "exec"), names)
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    finally:
        os.chdir(here)


def guide_page(page, file):
    "A page of the guide with the current output of the cell that shows a file of the root"
    nb = json.loads(page.read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in nb["cells"]]
    n = next(i for i, s in enumerate(sources) if f'"../../{file.name}"' in s and "#| hide" not in s)
    text = evaluate_cell(sources[n], page.parent)
    nb["cells"][n]["outputs"][0]["data"]["text/markdown"] = text.splitlines(keepends=True)
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def table_numbers(text):
    "The numbers in each table, row by row, without the header; tables without numbers are left out"
    found = []
    for table in re.findall(r"^\|.*\|\n\|[ :|-]+\|\n((?:\|.*\|\n?)+)", text, re.MULTILINE):
        plain = re.sub(r"\]\([^)]*\)|`[^`\n]*`", "", table.replace(" %", "%"))
        rows = [re.findall(r"[−+-]?\d[\d,]*(?:\.\d+)?%?", row) for row in plain.splitlines()]
        if any(rows):
            found.append(rows)
    return found


def differences(english, chinese):
    "Differences between the two READMEs, as sentences"
    for name, other in (("README.zh-CN.md", english), ("README.md", chinese)):
        if f"({name})" not in other:
            yield f"no link to {name}"
    for command in ("make run", "make test"):
        if command not in english or command not in chinese:
            yield f"no `{command}`"
    headings = [re.findall(r"^##+ ", text, re.MULTILINE) for text in (english, chinese)]
    if headings[0] != headings[1]:
        yield f"{len(headings[0])} headings in English, {len(headings[1])} in Chinese"
    tables = [table_numbers(text) for text in (english, chinese)]
    if len(tables[0]) != len(tables[1]):
        yield f"{len(tables[0])} tables with numbers in English, {len(tables[1])} in Chinese"
    for n, (a, b) in enumerate(zip(*tables, strict=False), 1):
        if a != b:
            only_a = [row for row in a if row not in b]
            only_b = [row for row in b if row not in a]
            yield f"table {n}: {only_a} in English, {only_b} in Chinese"
    prose = [set(re.findall(r"\d+\.\d{2,}", text)) for text in (english, chinese)]
    if prose[0] != prose[1]:
        yield f"numbers in one language only: {sorted(prose[0] ^ prose[1])}"


def main():
    text, pictures = readme()
    wanted = {ROOT / "README.md": text.encode(), **pictures}
    for name, file in PAGES.items():
        page = NBS / "guide" / f"{name}.ipynb"
        wanted[page] = guide_page(page, ROOT / file).encode()
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_bytes() != content]
    if "--check" in sys.argv and stale:
        sys.exit(f"out of date, run `make readme`: {', '.join(path.name for path in stale)}")
    for path in stale:
        path.write_bytes(wanted[path])
    found = list(differences(text, (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")))
    if found:
        sys.exit("README.zh-CN.md: " + "\n".join(found))


if __name__ == "__main__":
    main()
