"""README.md from nbs/index.ipynb, without Quarto. With `--check` nothing is written, and the exit code says whether it is up to date."""
import base64
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
SITE = "https://pneumonia-nbdev.github.io/pneumonia-nbdev"


def callouts(text):
    "`::: {.callout-warning}` blocks as GitHub's alerts"
    def alert(m):
        body = "\n".join(f"> {line}".rstrip() for line in m[2].strip().splitlines())
        return f"> [!{m[1].upper()}]\n{body}"
    return re.sub(r"::: \{\.callout-(\w+)\}\n(.*?)\n:::", alert, text, flags=re.S)


def links(text):
    "Links to chapters go to the site, pictures into the folder of the notebooks"
    text = re.sub(r"\]\((lab/)?(?:\d+_)?(\w+)\.ipynb\)", rf"]({SITE}/\1\2.html)", text)
    return text.replace("](images/", "](nbs/images/")


def output(out, n, pictures):
    "One output as Markdown; a picture becomes a file"
    if out.output_type == "stream": return f"```\n{out.text.rstrip()}\n```"
    data = out.get("data", {})
    for kind, suffix in (("image/png", "png"), ("image/jpeg", "jpg")):
        if kind in data:
            name = f"images/index-{n}.{suffix}"
            pictures[ROOT/"nbs"/name] = base64.b64decode(data[kind])
            return f"![](nbs/{name})"
    if "text/markdown" in data: return data["text/markdown"]
    return f"```\n{data.get('text/plain', '').rstrip()}\n```" if data else ""


def readme():
    "The text of README.md, and the pictures it shows"
    parts, pictures = ["<!-- made from nbs/index.ipynb by `make readme`; edit that -->"], {}
    for n, cell in enumerate(nbformat.read(ROOT/"nbs"/"index.ipynb", 4).cells):
        if cell.cell_type == "markdown": parts.append(links(callouts(cell.source)))
        if cell.cell_type != "code" or "#| hide" in cell.source: continue
        if "#| echo: false" not in cell.source: parts.append(f"```python\n{cell.source}\n```")
        parts += [output(o, n, pictures) for o in cell.outputs]
    return "\n\n".join(filter(None, parts)) + "\n", pictures


if __name__ == "__main__":
    text, pictures = readme()
    wanted = {ROOT/"README.md": text.encode(), **pictures}
    stale = [p for p, content in wanted.items() if not p.exists() or p.read_bytes() != content]
    if "--check" in sys.argv: sys.exit(f"out of date, run `make readme`: {', '.join(p.name for p in stale)}" if stale else 0)
    for p in stale: p.write_bytes(wanted[p])
