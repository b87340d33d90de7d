"""Parsing of prepared records, against TFDS' own."""

import pickle

import image_records
import numpy as np
import pytest
import tensorflow_datasets as tfds

from tokenhmr_jax.data import examples, pipeline, records

BYTES = tfds.features.Encoding.BYTES


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert np.shape(ours[name]) == np.shape(value), name
        assert np.asarray(ours[name]).dtype == np.asarray(value).dtype, name
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


@pytest.fixture
def serialized(rng):
    """The features of image records, and the message of one."""
    features = records.features()
    record = image_records.make(rng, 'person/7', (160, 120), 60.0, resolution=48)
    return features, features.serialize_example(record)


def test_image_records_are_parsed_as_tfds_does(serialized, rng):
    features, example = serialized
    schema = examples.schema_of(features)
    assert schema == records.SHAPES | {'key': None, 'image': None}
    parse = pickle.loads(pickle.dumps(examples.ExampleParser(schema)))  # as for a worker
    record = parse(example)
    assert_same(record, features.deserialize_example_np(example))
    # Texts of any length up to those whose length takes four bytes.
    for size in (0, 1, 100, 119, 120, 127, 128, 129, 16_300, 16_384, 2_097_152):
        changed = record | {'image': rng.bytes(size), 'key': 'k' * min(size, 300)}
        example = features.serialize_example(changed)
        assert_same(parse(example), features.deserialize_example_np(example))
    for name in records.SHAPES:
        value = np.asarray(record[name])
        assert value.flags.aligned or value.ndim == 0


def test_prepared_poses_are_parsed_as_tfds_does(prepared):
    split = pipeline.open_split(str(prepared), 'amass/procedural')
    builder = tfds.builder_from_directory(next((prepared / 'amass/').glob('*.*.*')))
    expected = list(builder.as_data_source('procedural'))
    assert len(expected) == len(split)
    assert isinstance(examples.parser_of(builder.info.features), examples.ExampleParser)
    for ours, theirs in zip(split.read(range(len(split))), expected, strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize(
    'feature, value',
    [
        (tfds.features.Tensor(shape=(2,), dtype=np.float32), np.array([1, 2], np.float32)),
        (tfds.features.Tensor(shape=(2,), dtype=np.int64, encoding=BYTES), np.array([3, 4])),
        (tfds.features.Tensor(shape=(None,), dtype=np.float32, encoding=BYTES), np.float32([5])),
        (tfds.features.Scalar(dtype=np.int32), np.int32(6)),
    ],
)
def test_other_schemas_are_left_to_tfds(feature, value):
    features = tfds.features.FeaturesDict({'key': tfds.features.Text(), 'value': feature})
    example = features.serialize_example({'key': 'a', 'value': value})
    found = examples.parser_of(features)(example)
    assert found['key'] == b'a'
    np.testing.assert_array_equal(found['value'], value)


def test_a_field_more_is_left_out_and_a_field_less_is_named(serialized):
    features, example = serialized
    schema = dict(examples.schema_of(features))
    with pytest.raises(ValueError, match=r"without \['mass'\]"):
        examples.ExampleParser(schema | {'mass': ()})(example)
    with pytest.raises(ValueError, match='betas has not 44 bytes'):
        examples.ExampleParser(schema | {'betas': (11,)})(example)
    del schema['transl'], schema['key']
    found = examples.ExampleParser(schema)(example)
    assert found.keys() == schema.keys()


def test_a_broken_message_is_an_error_or_another_value(serialized, rng):
    """Never a hang, another kind of error, or an array of another shape."""
    features, example = serialized
    parse = examples.ExampleParser(examples.schema_of(features))
    for length in range(0, len(example), 97):
        with pytest.raises(ValueError, match='example'):
            parse(example[:length])
    with pytest.raises(ValueError, match='example'):
        parse(example + b'\n')
    refused = 0
    for place in [*range(40), *rng.integers(0, len(example), 400)]:
        broken = bytearray(example)
        broken[place] ^= 1 << rng.integers(8)
        try:
            found = parse(bytes(broken))
        except ValueError as error:
            assert 'example' in str(error)
            refused += 1
        else:
            assert {name: np.shape(found[name]) for name in records.SHAPES} == records.SHAPES
    assert refused > 10
