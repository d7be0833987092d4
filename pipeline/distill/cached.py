"""What training reads of the teacher's cached answers: one batch's at a time."""

import numpy as np

from pipeline.distill.cache_results import CacheResult
from pipeline.distill.forms import record_of, unpack_answers
from pipeline.distill.shards import read_parts


def read_answers(cache: CacheResult, views: np.ndarray, places: np.ndarray) -> np.ndarray:
    """float32 logits [B, classes] of the samples at `places` (int64 [B], in the train split), each in its view (int64
    [B]). Raises InputError for a file that is gone or cut short."""
    record = record_of(cache.form)
    found = np.empty((len(places), record.itemsize), dtype=np.uint8)
    numbers = views * -(-cache.samples // cache.shard) + places // cache.shard
    for number in np.unique(numbers):
        shard = cache.shards[number]
        parts = [
            ((int(places[index]) - shard.start) * record.itemsize, found[index])
            for index in np.flatnonzero(numbers == number)
        ]
        read_parts(shard, shard.count * record.itemsize, parts)
    return unpack_answers(found.view(record.base).reshape(len(places), *record.shape), cache.form)
