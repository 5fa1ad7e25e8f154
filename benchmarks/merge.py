"""What merging the shipped skills into their base costs, as it is and quantized again.

    python benchmarks/merge.py --json benchmarks/results/merge.json

Each skill is merged into the base that serves it; the result is loaded in several forms and compared with the base that
has the skill in a slot, active on everything: `weight` is the relative error of the changed matrices, `update` the same
beside what the skill changed, `logits` their mean absolute difference beside their standard deviation, `same_token` how
often the next token is the same.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import Report, finish, options

FORMS = ("bf16", "int8", "int4")


def main() -> None:
    from loraloop.adapters.base import Base
    from loraloop.adapters.peft.merge import PROMPTS, measure, merge
    from loraloop.adapters.skill.skill import Skill, library

    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--form", action="append", choices=[*FORMS, "nf4", "fp32"], help="repeatable; bf16, int8, int4")
    given = parser.parse_args()
    base = Base.load()
    chosen = list(library().items())[: given.limit]
    metrics: dict[str, float] = {}
    for name, folder in chosen:
        skill = Skill.load(folder)
        payload = skill.payload(base.config)
        with tempfile.TemporaryDirectory() as place:
            merged = merge(base, skill, Path(place) / name)
            for form in given.form or FORMS:
                error = measure(base, payload, merged, form)
                row = f"{name}, {form}"
                metrics |= {
                    f"{row}/weight_percent": 100 * error.weight,
                    f"{row}/update_percent": 100 * error.update,
                    f"{row}/logits_percent": 100 * error.logit_mean / error.logit_scale,
                    f"{row}/same_token_percent": 100 * error.agreement,
                }
    details = {"base": base.name, "form": base.form, "prompts": list(PROMPTS)}
    finish(Report("merge", len(chosen), metrics, details=details), given.json)


if __name__ == "__main__":
    main()
