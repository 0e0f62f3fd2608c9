#!/usr/bin/env python3
"""tools/perf.py and tools/neighbours.py: that they measure and tell, not how fast anything is.

usage: perf_test.py PROGRAM [unittest options]
"""
import json
import subprocess
import sys
import unittest

import support
from support import ROOT, main


class Perf(unittest.TestCase):
    def run_tool(self, *words):
        return subprocess.run([sys.executable, ROOT / "tools" / "perf.py", support.PROGRAM,
                               support.PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=300)

    def test_ratios_of_pairs(self):
        # A program beside itself; a bound that no neighbour breaks.
        result = self.run_tool("--pairs", 3, "--only", "reading lines", "--most", 100, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        report = json.loads(result.stdout)
        self.assertEqual(list(report), ["reading lines"])
        told = report["reading lines"]
        self.assertEqual(told["pairs"], 3)
        self.assertGreater(told["median"], 0)
        self.assertLessEqual(told["low"], told["median"])
        # A bound that nothing keeps.
        self.assertEqual(self.run_tool("--pairs", 2, "--only", "reading lines", "--most", 0).returncode, 1)

    def test_wrong_words(self):
        self.assertEqual(self.run_tool("--only", "nothing").returncode, 2)
        self.assertEqual(self.run_tool("--pairs", 1).returncode, 2)


class Neighbours(unittest.TestCase):
    def run_tool(self, *words):
        return subprocess.run([sys.executable, ROOT / "tools" / "neighbours.py", support.PROGRAM,
                               *map(str, words)], capture_output=True, text=True, timeout=300)

    def test_pairs(self):
        result = self.run_tool("--pairs", 1, "--loops", 1, "--only", "short steps", "--most", 1000,
                               "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        told = json.loads(result.stdout)["short steps"]
        self.assertAlmostEqual(told["ratio"], told["beside"] / told["idle"])
        self.assertEqual(self.run_tool("--only", "nothing").returncode, 2)
        self.assertEqual(self.run_tool("--pairs", 0).returncode, 2)


if __name__ == "__main__":
    main()
