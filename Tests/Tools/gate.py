"""tools/gate: what fails, what does not, and what an update writes. usage: python3 Tests/Tools/gate.py"""
import importlib.machinery, importlib.util, pathlib, unittest

PATH = pathlib.Path(__file__).resolve().parents[2] / "tools" / "gate"
loader = importlib.machinery.SourceFileLoader("gate", str(PATH))
gate = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(gate)

TOOLS = {"compiler": "Swift 6.3.1", "valgrind": "3.19.0"}


def baseline(**instructions):
    return {"conditions": TOOLS, "workloads": {
        name: {"instructions": n, "date": "2026-11-01", "why": "before"} for name, n in instructions.items()}}


class Comparison(unittest.TestCase):
    def compare(self, now, tools=TOOLS, **before):
        lines, fails = gate.compare(baseline(**before), now, tools)
        return "\n".join(lines), fails

    def test_equal_passes(self):
        self.assertFalse(self.compare({"get": 1000.0}, get=1000.0)[1])

    def test_up_to_five_percent_passes(self):
        self.assertFalse(self.compare({"get": 1049.9}, get=1000.0)[1])

    def test_above_five_percent_fails(self):
        text, fails = self.compare({"get": 1051.0, "set": 10.0}, get=1000.0, set=10.0)
        self.assertTrue(fails)
        self.assertRegex(text, r"get +1000\.0 +1051\.0 +\+5\.1% +above \+5%")

    def test_one_of_many_is_enough(self):
        self.assertTrue(self.compare({"a": 1.0, "b": 2.0, "c": 1.0}, a=1.0, b=1.0, c=9.0)[1])

    def test_below_asks_for_an_update_and_passes(self):
        text, fails = self.compare({"get": 900.0}, get=1000.0)
        self.assertFalse(fails)
        self.assertIn("get below -5%", text)

    def test_new_workload_fails(self):
        text, fails = self.compare({"get": 1.0, "new": 1.0}, get=1.0)
        self.assertTrue(fails)
        self.assertRegex(text, r"new .*not in the baseline")

    def test_workload_that_is_gone_fails(self):
        text, fails = self.compare({"get": 1.0}, get=1.0, old=1.0)
        self.assertTrue(fails)
        self.assertRegex(text, r"old .*no such workload")

    def test_other_compiler_does_not_fail_and_says_so(self):
        text, fails = self.compare({"get": 2000.0}, dict(TOOLS, compiler="Swift 6.4"), get=1000.0)
        self.assertFalse(fails)
        self.assertIn("compiler Swift 6.3.1, now Swift 6.4", text)

    def test_missing_workload_fails_with_any_compiler(self):
        self.assertTrue(self.compare({}, dict(TOOLS, compiler="Swift 6.4"), get=1.0)[1])


class Update(unittest.TestCase):
    def update(self, now, tools=TOOLS, is_whole=True, **before):
        return gate.updated(baseline(**before), now, tools, "because", "2026-11-28", is_whole)["workloads"]

    def test_reason_is_noted_where_something_changed(self):
        new = self.update({"get": 2000.0, "set": 1001.0}, get=1000.0, set=1000.0)
        self.assertEqual(new["get"], {"instructions": 2000.0, "date": "2026-11-28", "why": "because"})
        self.assertEqual(new["set"]["why"], "before")

    def test_other_tools_renew_everything(self):
        self.assertEqual(self.update({"get": 1.0}, {"compiler": "other"}, get=1.0)["get"]["why"], "because")

    def test_what_is_gone_goes_if_all_was_measured(self):
        self.assertNotIn("old", self.update({"get": 1.0}, get=1.0, old=1.0))
        self.assertIn("old", self.update({"get": 1.0}, is_whole=False, get=1.0, old=1.0))


if __name__ == "__main__":
    unittest.main()
