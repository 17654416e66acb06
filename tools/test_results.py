#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_results.py MESON-LOGS: prints `passed failed skipped` of the last `meson test`.

testlog.json knows how each test program ended; testlog.junit.xml has the single
cases of GoogleTest programs, but calls a timeout a success.
"""
import json
import sys
import xml.etree.ElementTree as xml
from collections import Counter
from pathlib import Path

RESULTS = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}


def case_result(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def count(logs):
    total = Counter()
    suites = xml.parse(logs / "testlog.junit.xml").getroot().findall("testsuite")
    for line in (logs / "testlog.json").read_text().splitlines():
        test = json.loads(line)
        result = RESULTS.get(test["result"], "failed")
        # "suite:test" or "project / test" in the log, "project.test.Fixture" in the suites' names
        name = test["name"].split(" / ")[-1].split(":")[-1]
        cases = Counter(case_result(case)
                        for suite in suites if suite.get("name").split(".")[1:2] == [name]
                        for case in suite.findall("testcase"))
        if not cases or (result == "failed" and not cases["failed"]):
            cases[result] += 1  # a program without cases, or one that failed outside of them
        total += cases
    return total


if __name__ == "__main__":
    totals = count(Path(sys.argv[1]))
    print(totals["passed"], totals["failed"], totals["skipped"])
