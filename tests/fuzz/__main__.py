"""Fuzz the targets: `python -m tests.fuzz [TARGET …]`.

With atheris installed (`pip install atheris`), the code that an input reaches guides the next ones, and `--keep` adds
inputs that reached new code to the corpus. Without atheris the corpus is mutated at random. A finding is written to a
file and ends the run; `--replay FILE TARGET` repeats it. The targets are imported late, because atheris instruments
the package while it is imported.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from . import corpus
from .mutation import LONGEST, mutated

FINDINGS = Path("build", "fuzz")


def read_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="names, or parts of them; all when left out")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each is fuzzed (default %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of chance; printed, so that a run can be repeated")
    parser.add_argument("--replay", type=Path, help="play this file instead")
    parser.add_argument(
        "--keep", action="store_true", help="add inputs that reached new code to the corpus (with atheris)"
    )
    parser.add_argument("--list", action="store_true", help="print the targets and how many inputs are kept of each")
    parser.add_argument("--led", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Run the targets; return the exit status, which is 1 with a finding or without a target."""
    arguments = read_arguments()
    if arguments.led is not None:
        led(arguments)
    from .targets import TARGETS  # noqa: PLC0415

    names = [name for name in TARGETS if not arguments.targets or any(part in name for part in arguments.targets)]
    if arguments.list or not names:
        for name in names:
            print(f"{len(corpus.load(name)):6} {name}")
        return 0 if names else 1
    if arguments.replay is not None:
        TARGETS[names[0]](arguments.replay.read_bytes())
        return 0
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 31)
    with_atheris = importlib.util.find_spec("atheris") is not None
    fuzz = fuzz_with_atheris if with_atheris else fuzz_by_chance
    print(f"seed {seed}, {'with' if with_atheris else 'without'} atheris")
    return max([fuzz(name, arguments.seconds, seed, keep=arguments.keep) for name in names])


# -- by chance ---------------------------------------------------------------------------------------------------------


def fuzz_by_chance(name: str, seconds: float, seed: int, *, keep: bool) -> int:
    """Mutate the corpus at random for `seconds`; return 1 with a finding."""
    from .targets import TARGETS  # noqa: PLC0415

    chance, inputs, target = random.Random(seed), corpus.load(name), TARGETS[name]
    end, runs = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = mutated(inputs, chance)
        runs += 1
        try:
            target(data)
        except Exception:
            traceback.print_exc()
            path = FINDINGS / f"{name}-{runs}"
            FINDINGS.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"{name}: kept as {path}; python -m tests.fuzz --replay {path} {name}")
            return 1
    print(f"{name}: {runs} runs")
    return 0


# -- with atheris ------------------------------------------------------------------------------------------------------


def fuzz_with_atheris(name: str, seconds: float, seed: int, *, keep: bool) -> int:
    """Fuzz in a process of its own, because libFuzzer ends it; return 1 with a finding."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder, "inputs")
        corpus.unpack(name, inputs)
        FINDINGS.mkdir(parents=True, exist_ok=True)
        options = [f"-max_total_time={max(1, round(seconds))}", f"-seed={seed % (1 << 31)}", f"-max_len={LONGEST}"]
        options += [f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1", "-verbosity=0"]
        done = run_led(name, inputs, options)
        runs = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        print(f"{name}: {runs[0] if runs else '?'} runs")
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n")
            return 1
        if keep:
            from .targets import TARGETS  # noqa: PLC0415

            kept = corpus.needed(TARGETS[name], corpus.read_folder(inputs))
            print(f"{name}: {corpus.store(name, kept)} inputs kept")
    return 0


def run_led(name: str, folder: Path, options: list[str]) -> subprocess.CompletedProcess[str]:
    """Run this module again, as the process of libFuzzer."""
    command = [sys.executable, "-m", "tests.fuzz", name, "--led", str(folder)]
    environment_options = "\n".join(options)
    return subprocess.run(command, input=environment_options, capture_output=True, text=True, check=False)


def led(arguments: argparse.Namespace) -> None:
    """Run one target under atheris, which never returns. Read the options from standard input."""
    import atheris  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

    with atheris.instrument_imports(include=["datachan"], enable_loader_override=False):
        from .targets import TARGETS  # noqa: PLC0415
    options = sys.stdin.read().split()
    atheris.Setup([sys.argv[0], str(arguments.led), *options], TARGETS[arguments.targets[0]])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
