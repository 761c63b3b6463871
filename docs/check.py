#!/usr/bin/env python3
"""Checks the documentation's links, without a network:

    python3 docs/check.py [ROOT]

- Relative links and their anchors lead somewhere; reference links are defined.
- Pages of the book link only to other pages, because the built book holds nothing else.
- SUMMARY.md lists every page once.
- Repository paths in backticks exist, such as `core/src/train/loss.rs` (`*` matches as in a shell).

Python 3.8 or newer, standard library only.
"""
import pathlib, re, sys, urllib.parse

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
BOOK = ROOT / "docs/src"
SUMMARY = BOOK / "SUMMARY.md"

FENCE = re.compile(r"^\s*(```|~~~)")
CODE = re.compile(r"`([^`]*)`")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
INCLUDE = re.compile(r"^\{\{#include (\S+)\}\}$")
LINK = re.compile(r"\]\(<?([^()\s<>]+)>?(?:\s+\"[^\"]*\")?\)")
DEFINITION = re.compile(r"^\[([^\]]+)\]:\s*<?([^\s<>]+)>?")
REFERENCE = re.compile(r"\[([^\[\]]+)\]\[([^\[\]]*)\]")
REPOSITORY_PATH = re.compile(r"^(?:src|core|testkit|tests|benches|docs|fuzz|assets|examples|\.ci)/[\w./*-]*$")

problems = []


def problem(path, line, text):
    problems.append(f"{path.relative_to(ROOT)}:{line}: {text}")


def prose(path):
    """Numbered lines without code blocks; `{{#include}}` of Markdown is followed."""
    fenced = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            include = INCLUDE.match(line)
            if include and include[1].endswith(".md") and (path.parent / include[1]).is_file():
                yield from ((number, text) for _, text in prose(path.parent / include[1]))
            else:
                yield number, line


def anchors(path):
    """The anchors of a page's headings, by the rule that GitHub and mdBook share."""
    found = set()
    for _, line in prose(path):
        heading = HEADING.match(line)
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")
            repeats = sum(1 for a in found if a == slug or re.fullmatch(re.escape(slug) + r"-\d+", a))
            found.add(f"{slug}-{repeats}" if repeats else slug)
    return found


def check_link(page, line, link):
    if re.match(r"[a-z][a-z0-9+.-]*:", link):
        return
    name, _, anchor = link.partition("#")
    target = (page.parent / urllib.parse.unquote(name)).resolve() if name else page
    if not target.exists():
        problem(page, line, f"{link}: no such file")
    elif BOOK in page.parents and BOOK not in target.parents:
        problem(page, line, f"{link}: is outside docs/src, so it is missing in the built book; name it in backticks")
    elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
        problem(page, line, f"{link}: {target.name} has no heading #{anchor}")


def check_page(page, paths):
    text = list(prose(page))
    defined = {m[1].lower(): m[2] for _, line in text for m in [DEFINITION.match(line)] if m}
    for number, line in text:
        definition = DEFINITION.match(line)
        without_code = CODE.sub("``", line)
        for link in LINK.findall(without_code) + ([definition[2]] if definition else []):
            check_link(page, number, link)
        for label, reference in REFERENCE.findall(without_code):
            if (reference or label).lower() not in defined:
                problem(page, number, f"[{label}][{reference}]: is not defined")
        for code in CODE.findall(line) if paths else []:
            if REPOSITORY_PATH.match(code) and not any(ROOT.glob(code.rstrip("/"))):
                problem(page, number, f"`{code}`: no such path in the repository")


def check_includes(page):
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        include = INCLUDE.match(line)
        if include and not (page.parent / include[1]).is_file():
            problem(page, number, f"{include[1]}: no such file to include")


def main():
    fronts = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    pages = sorted(BOOK.rglob("*.md"))
    for page in fronts + pages:
        # The changelog may name what is no longer there.
        check_page(page, paths=page.name != "CHANGELOG.md")
    for page in pages:
        check_includes(page)

    listed = [link for _, line in prose(SUMMARY) for link in LINK.findall(line)]
    for page in pages:
        name = page.relative_to(BOOK).as_posix()
        if page != SUMMARY and listed.count(name) != 1:
            problem(SUMMARY, 1, f"lists {name} {listed.count(name)} times, not once")

    print("\n".join(problems) if problems else f"{len(fronts + pages)} pages: every link leads somewhere")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
