"""The model card of shared weights, as Hugging Face's hub shows it."""

from collections.abc import Mapping
from typing import Any

from tokenhmr_jax.drawing.markdown import format_number, markdown_table

_HEAD = """---
library_name: tokenhmr_jax
pipeline_tag: image-to-3d
tags: [human-mesh-recovery, smpl, jax]
license: other
---
"""


def write_card(
    name: str, step: int, config: Mapping[str, Any], evaluation: Mapping[str, Any] | None
) -> str:
    """The text of a card.

    Args:
      name: of the model.
      step: of its training.
      config: plain containers.
      evaluation: content of `evaluation.json` of the run, if it was evaluated.
    """
    load = {'regressor': 'load', 'tokenizer': 'load_tokenizer'}[config['task']]
    mixture = config['data']['mixture']
    rows = [[data, format_number(weight)] for data, weight in sorted(mixture.items())]
    data = markdown_table(['data', 'share'], rows) if rows else 'Synthetic people alone.'
    body = 'the mannequin, which needs no licence' if config['body'] == 'mannequin' else 'SMPL'
    return f"""{_HEAD}
# {name}

A {config['task']} of TokenHMR (CVPR 2024), in JAX.

```python
import tokenhmr_jax

model = tokenhmr_jax.{load}('hf://OWNER/{name}')
```

## Training

{step:,} steps of {config['batch_size']} on:

{data}

## Errors

{_errors(step, evaluation)}

## Licence

The body model is {body}. Weights have the licences of their body model and of their training data:
say here which they are. SMPL, AMASS, BEDLAM and the released TokenHMR weights are for
non-commercial research.
"""


def _errors(step: int, evaluation: Mapping[str, Any] | None) -> str:
    """A table of the errors of this step."""
    if evaluation is None or evaluation['step'] != step:
        return 'Not evaluated.'
    rows = evaluation['rows']
    names = [name for name in next(iter(rows.values())) if '/' not in name]
    lines = [[title, *(format_number(v.get(n)) for n in names)] for title, v in rows.items()]
    return f'On {", ".join(evaluation["splits"])}:\n\n{markdown_table(["", *names], lines)}'
