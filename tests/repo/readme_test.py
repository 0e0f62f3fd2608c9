"""The README stays a page that is read in two minutes."""
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORDS, NUMBERS, ROWS = 900, 60, 6


class Readme(unittest.TestCase):
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    def test_is_short(self):
        self.assertLessEqual(len(self.text.split()), WORDS)
        self.assertLessEqual(len(re.findall(r"\d+(?:[.,]\d+)*", self.text)), NUMBERS)

    def test_has_one_picture(self):
        pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", self.text)
        self.assertEqual(len(pictures), 1)
        # The program describes what it draws, for those who cannot see it.
        self.assertIn("<desc>", (ROOT / pictures[0]).read_text(encoding="utf-8"))

    def test_has_one_table_with_one_figure_a_cell(self):
        rows = [line for line in self.text.splitlines() if line.startswith("|")]
        self.assertEqual(len(rows), ROWS + 2, "a head, a rule and the rows")
        for row in rows[2:]:
            for cell in row.strip("|").split("|")[1:]:
                self.assertRegex(cell.strip(), r"^\d+(\.\d+)?$")

    def test_shows_what_its_recipes_print(self):
        recipes = self.text.split("## I want to")[1].split("\n## ")[0]
        for recipe in recipes.split("\n### ")[1:]:
            self.assertIn("```sh test", recipe)
            self.assertIn("```text output", recipe)


if __name__ == "__main__":
    unittest.main()
