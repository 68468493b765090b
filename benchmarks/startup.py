"""How long `telltale --help` takes, and which heavy libraries it loads. Prints JSON.

    python benchmarks/startup.py

The ratio sets it beside the same interpreter doing nothing, in the same run.
"""

import json
import statistics
import subprocess
import sys
import time

HEAVY = ("torch", "monai", "shap", "streamlit", "pandas", "sklearn", "pyarrow", "numpy", "pydantic")
SHOW_LOADED = f"import sys, serve.cli; print([n for n in {HEAVY!r} if n in sys.modules])"


def main() -> None:
    """Time both five times."""
    nothing = _seconds(["-c", "pass"])
    told = _seconds(["-m", "serve.cli", "--help"])
    ran = subprocess.run([sys.executable, "-c", SHOW_LOADED], capture_output=True, text=True, check=True)
    print(
        json.dumps(
            {
                "help_seconds": told,
                "interpreter_seconds": nothing,
                "ratio": told / nothing,
                "loaded": ran.stdout.strip(),
            }
        )
    )


def _seconds(arguments: list[str]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
