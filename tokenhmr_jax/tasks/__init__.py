"""The two stages, and the prior of tokens. One loop trains and evaluates them; all that differs
between them is here."""

import ml_collections

from tokenhmr_jax.tasks.prior import PriorTask
from tokenhmr_jax.tasks.regressor import RegressorTask
from tokenhmr_jax.tasks.task import Task
from tokenhmr_jax.tasks.tokenizer import TokenizerTask


def make_task(config: ml_collections.ConfigDict) -> Task:
    """The task of a config. Raises ValueError for an unknown one or values that do not fit."""
    tasks = {'tokenizer': TokenizerTask, 'regressor': RegressorTask, 'prior': PriorTask}
    if config.task not in tasks:
        raise ValueError(f'task={config.task!r}: expected one of {list(tasks)}')
    return tasks[config.task].from_config(config)
