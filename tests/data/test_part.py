import numpy as np
import pytest
from safetensors.numpy import load_file

from reverie.data.container import CorruptFileError, read_header, write_atomic
from reverie.data.part import Buffer, Key, Part, part_of, read_blocks, read_table, reopen
from reverie.data.schema import Schema
from tests.data.rows import ACTION, PROPRIO, SENSORS, episode

ROWS = 75  # several blocks of each large sensor, the last one not full


def recorded(obs=SENSORS, rows=ROWS) -> tuple[Schema, Part, list[dict]]:
    schema = Schema(obs, ACTION)
    given = episode(obs, 0, 1, rows)
    part = Part(Key(0, 1, 0), buffer=Buffer(schema))
    for each in given:
        part.buffer.append(schema.check_row(each))
        part.rows += 1
        part.ret += each["reward"]
    part.ended = True
    return schema, part, given


def stack(rows, name, dtype):
    return np.stack([np.asarray(r[name], dtype) for r in rows])


@pytest.mark.parametrize("rows", [1, 64, ROWS])
def test_a_file_holds_the_rows_of_the_buffer(tmp_path, rows):
    schema, part, given = recorded(rows=rows)
    path = tmp_path / "0000-00000001-0000.safetensors"
    write_atomic(path, part.buffer.encode(part))
    told = part_of(read_header(path), schema, path)
    assert (told.key, told.rows, told.ret, told.ended) == (part.key, rows, part.ret, True)
    table = read_table(path, told, schema)
    for name in schema.plain:
        assert np.array_equal(table.plain[name], stack(given, name, schema.dtypes[name]))
    rng = np.random.default_rng(0)
    for name in schema.blocked:
        expected = stack(given, name, schema.dtypes[name])
        for _ in range(20):
            start, stop = sorted(rng.choice(rows + 1, 2, replace=False))
            from_file, from_memory = (np.empty_like(expected[start:stop]) for _ in range(2))
            read_blocks(path, table, schema, name, start, stop, from_file)
            part.buffer.read(name, start, stop, from_memory)
            assert np.array_equal(from_file, expected[start:stop])
            assert np.array_equal(from_memory, expected[start:stop])


def test_any_safetensors_reader_reads_the_plain_entries(tmp_path):
    schema, part, given = recorded(PROPRIO)
    path = tmp_path / "0000-00000001-0000.safetensors"
    write_atomic(path, part.buffer.encode(part))
    assert np.array_equal(load_file(path)["reward"], stack(given, "reward", np.float32))
    assert np.array_equal(load_file(path)["pose"], stack(given, "pose", np.float32))
    assert load_file(path).keys() == schema.entries.keys()


def test_pictures_in_memory_are_compressed():
    schema = Schema(SENSORS, ACTION)
    still = schema.check_row(episode(SENSORS, 0, 0, 2)[1])
    buffer = Buffer(schema)
    for _ in range(256):
        buffer.append(still)
    assert buffer.size < 256 * schema.row_bytes / 3


@pytest.mark.parametrize("stop", [1, 48, 70])
def test_a_reopened_part_grows_into_the_same_file(tmp_path, stop):
    schema, whole, given = recorded()
    schema, half, _ = recorded(rows=stop)
    path = tmp_path / "0000-00000001-0000.safetensors"
    half.ended = False
    write_atomic(path, half.buffer.encode(half))
    again = reopen(path, schema)
    assert (again.rows, again.ret, again.ended) == (stop, half.ret, False)
    again.buffer._plain["last"][stop - 1] = given[stop - 1]["last"]  # recorded() ended it early
    again.buffer._plain["terminated"][stop - 1] = given[stop - 1]["terminated"]
    for each in given[stop:]:
        again.buffer.append(schema.check_row(each))
        again.rows += 1
        again.ret += each["reward"]
    again.ended = True
    assert b"".join(again.buffer.encode(again)) == b"".join(whole.buffer.encode(whole))


def test_every_flipped_bit_is_found_by_the_read_it_would_spoil(tmp_path):
    schema, part, _ = recorded(rows=20)
    path = tmp_path / "0000-00000001-0000.safetensors"
    content = b"".join(part.buffer.encode(part))
    rng = np.random.default_rng(0)
    for at in rng.choice(len(content), 60, replace=False):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(CorruptFileError):
            told = part_of(read_header(path), schema, path)
            table = read_table(path, told, schema)
            for name in schema.blocked:
                out = np.empty((20, *schema.entries[name].shape), schema.dtypes[name])
                read_blocks(path, table, schema, name, 0, 20, out)


def test_a_file_of_another_schema_is_refused(tmp_path):
    _, part, _ = recorded(PROPRIO)
    path = tmp_path / "0000-00000001-0000.safetensors"
    write_atomic(path, part.buffer.encode(part))
    with pytest.raises(CorruptFileError, match="other sensors"):
        part_of(read_header(path), Schema(SENSORS, ACTION), path)


@pytest.mark.parametrize(
    "name", ["0-0-0.safetensors", "store.json", "0000-00000001-000x.safetensors", "a-b-c"]
)
def test_names_that_are_no_keys(name):
    assert Key.parse(name) is None


def test_names_of_keys():
    key = Key(3, 12, 1)
    assert Key.parse(key.name + ".safetensors") == key
    assert Key.parse(Key(12345, 1, 0).name + ".safetensors") == Key(12345, 1, 0)
