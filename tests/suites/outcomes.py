"""A pytest plugin: a line per test, its outcome and its name, into the file that OUTCOMES names."""

import os

worst = {}


def pytest_runtest_logreport(report):
    outcome = report.outcome
    if outcome == "failed" and report.when != "call":
        outcome = "error"
    if outcome != "passed" or report.nodeid not in worst:
        worst[report.nodeid] = outcome
    if report.when == "teardown":
        with open(os.environ["OUTCOMES"], "a", encoding="utf-8") as file:
            print(worst.pop(report.nodeid), report.nodeid, sep="\t", file=file)
