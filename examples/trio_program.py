"""Look for the best lattice constant in rounds: a campaign that is an object of this program.

python trio_program.py ROOT
"""

import sys

import trio

import matterstack
from matterstack import Resources, Results, Task, Workflow

ENERGY = """
import json, sys
a = json.load(open("manifest.json"))["params"]["a"]
json.dump({"a": a, "energy": (a - 4.05) ** 2}, open("result.json", "w"))
"""


class LatticeConstant:
    """Halves the step around the best point, until it is small enough."""

    def __init__(self, guess: float, step: float) -> None:
        self.guess = guess
        self.step = step

    def plan(self, state: dict, results: Results) -> Workflow | None:
        best, step = state.get("best", self.guess), state.get("step", self.step)
        if step < 0.05:
            return None
        points = [round(best + shift * step, 4) for shift in (-1, 0, 1)]
        return Workflow(
            [
                Task(
                    f"step-{step}-a-{a}",
                    command=[sys.executable, "-c", ENERGY],
                    params={"a": a},
                    resources=Resources(memory_mib=200, walltime_s=60),
                )
                for a in points
            ]
        )

    def analyze(self, state: dict, results: Results) -> dict:
        best = min((result.data for result in results.values()), key=lambda data: data["energy"])
        return {"best": best["a"], "step": state.get("step", self.step) / 2}


async def main(root: str) -> None:
    async with matterstack.open_engine(root) as engine:
        run = await engine.start(LatticeConstant(guess=4.2, step=0.2))
        print("run", run.id)
        async for event in run.events():
            if event["type"] == "TaskSucceeded":
                print(event["at"], event["data"]["task_id"])
        status = await run.wait()
        print(status.status, await run.state())


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
