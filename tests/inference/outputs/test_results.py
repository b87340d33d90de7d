"""Files of a result."""

import pytest

from tokenhmr_jax.inference.outputs import results


def test_results_of_something_else_are_refused(tmp_path):
    for text in ('{"epochs": 3}', '[1]', '{"request": '):
        (tmp_path / 'result.json').write_text(text)
        with pytest.raises(ValueError, match=r'result.json: not what predict writes'):
            results.read_json(tmp_path / 'result.json')
