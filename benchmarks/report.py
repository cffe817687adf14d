"""docs/performance.md shows the tables of the last `make bench`, each between its two markers."""

import json
import re

from measure import RESULTS, ROOT

PAGE = ROOT / "docs" / "performance.md"


def main() -> None:
    page = PAGE.read_text()
    for file in sorted(RESULTS.glob("*.json")):
        machine = json.loads(file.read_text())["machine"]
        where = ", ".join(f"{key} {value}" for key, value in machine.items())
        table = file.with_suffix(".md").read_text()
        begin, end = f"<!-- begin {file.stem} -->", f"<!-- end {file.stem} -->"
        shown = f"{begin}\n{table}\n{where}\n{end}"
        page = re.sub(f"{begin}.*?{end}", shown.replace("\\", r"\\"), page, flags=re.DOTALL)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
