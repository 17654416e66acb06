#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check_man.py PROGRAM PAGE: every verb and option of `PROGRAM --help` is in the man page, and no other."""
import re
import subprocess
import sys

OPTION = re.compile(r"--[a-z][a-z-]*")


def told_by_help(program, *verb):
    return subprocess.run([program, *verb, "--help"], check=True, capture_output=True, text=True).stdout


def verbs_of(help_text):
    return re.findall(r"^  ([a-z]+) ", help_text.split("Subcommands:")[1], re.M)


def options_of(help_text):
    """The option itself, not those that its line names as excluded or needed."""
    return {line.split()[0].split(",")[-1] for line in help_text.splitlines() if re.match(r"  +-", line)} - {"--help"}


def sections_of(page):
    """Of VERBS: each verb's part."""
    verbs = page.split(".SH VERBS")[1].split("\n.SH ")[0]
    parts = re.split(r"^\.SS (\S+)\n", verbs, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def described(text):
    """Options that head a paragraph, not those mentioned in passing."""
    heads = re.findall(r"^\.TP\n(.*)$", text, re.M)
    return {option for head in heads for option in OPTION.findall(head)}


def main(program, page_file):
    with open(page_file, encoding="utf-8") as file:
        page = file.read().replace("\\-", "-")
    sections = sections_of(page)
    help_text = told_by_help(program)
    wrong = []
    if set(sections) != set(verbs_of(help_text)):
        wrong.append(f"verbs: page {sorted(sections)}, help {sorted(verbs_of(help_text))}")
    for verb in verbs_of(help_text):
        help_options, page_options = options_of(told_by_help(program, verb)), described(sections.get(verb, ""))
        if help_options != page_options:
            wrong.append(f"{verb}: only in the help {help_options - page_options}, "
                         f"only in the page {page_options - help_options}")
    for option in options_of(help_text):
        if option not in page.split(".SH OPTIONS")[1]:
            wrong.append(f"{option}: not in the page")
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
