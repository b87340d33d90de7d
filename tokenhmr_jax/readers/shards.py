"""Image datasets written shard by shard, by many processes; an interrupted run goes on.

A builder lists *units*: files, or parts of files, that are read from front to back. Consecutive
units make a shard, which depends on them alone. A report stands beside each finished shard: the
next run keeps these shards and writes the missing ones.
"""

import abc
import collections
import contextlib
import dataclasses
import itertools
import json
import multiprocessing
import os
import pathlib
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from array_record.python import array_record_module
from etils import epath

from tokenhmr_jax import cli
from tokenhmr_jax.data import records
from tokenhmr_jax.readers import prepare, workers

# Kinds of remarks that count as failures: of a person, and of a unit, whose rest is lost.
CORRUPT, BROKEN = 'corrupt records', 'broken files'
_NAMED = 200  # failures named per shard; all are counted
_EARLY = 0.1  # fraction of the shards after which too many failures end the run


class Remark(NamedTuple):
    """A remark of a reader, beside its records.

    kind: counted by kind: CORRUPT, BROKEN, or the action of a filter.
    about: person or file, and reason; '' if counting is enough.
    """

    kind: str
    about: str = ''


def corrupt(name: str, error: Exception) -> Remark:
    """The remark that a record is corrupt, with the error that made it so."""
    about = str(error)
    return Remark(CORRUPT, about if about.startswith(name) else f'{name}: {about}')


class Unit(NamedTuple):
    """A file, or a part of one, to read.

    name: unique in the dataset. source: its records are counted by source.
    read: yields records and remarks; it is pickled for other processes.
    size: of its records, if that is known before they are read.
    """

    name: str
    source: str
    read: Callable[[], Iterator[dict | Remark]]
    size: int | None = None


@dataclasses.dataclass(frozen=True)
class ShardSettings:
    """Settings of every image dataset; each is a flag. ValueError for one out of its range."""

    manual_dir: str = prepare.setting('', 'Folder of the downloaded files.', path_or='')
    num_shards: int = prepare.setting(128, 'Largest number of files per split.')
    num_processes: int = prepare.setting(0, 'Processes that write; 0 for one per core.', how=True)
    max_bad_fraction: float = prepare.setting(
        0.02, 'The run ends if a larger fraction of records, or of files, is unreadable.', how=True
    )
    beam: str = prepare.setting(
        '', 'Options of an Apache Beam pipeline to run on: --runner=...', how=True
    )

    def __post_init__(self):
        prepare.check_least(self, num_shards=1, num_processes=0)
        prepare.check_fraction(self, 'max_bad_fraction')
        if not pathlib.Path(self.manual_dir).expanduser().is_dir() or not self.manual_dir:
            raise FileNotFoundError(f'manual_dir={self.manual_dir!r}: no such folder')

    @property
    def folder(self) -> pathlib.Path:
        return pathlib.Path(self.manual_dir).expanduser()


@dataclasses.dataclass(frozen=True)
class BuildSettings(ShardSettings):
    """Settings of image datasets for training, whose pictures are cut and shrunk."""

    resolution: int = prepare.setting(256, "The network's, px; pictures keep up to twice that.")
    quality: int = prepare.setting(90, 'JPEG quality, 1 to 100.')

    def __post_init__(self):
        super().__post_init__()
        prepare.check_least(self, resolution=16, quality=1)
        if self.quality > 100:
            raise ValueError(f'quality={self.quality}: expected at most 100')

    @property
    def store(self) -> dict[str, int]:
        """Options of `records.store_picture`."""
        return {'resolution': self.resolution, 'quality': self.quality}


class ShardJob(NamedTuple):
    """A shard to write. path: of the finished file. settings: all that determine its content."""

    path: str
    units: Sequence[Unit]
    settings: Mapping[str, Any]
    features: tfds.features.FeaturesDict

    @property
    def report(self) -> pathlib.Path:
        """Path of the report."""
        return pathlib.Path(f'{self.path}.json')


def write_shard(job: ShardJob, count: Callable[[], None] = lambda: None) -> dict:
    """Writes a shard and, beside it, its report, which it returns; calls `count` for each record.

    The report has `units` (names) and `settings` as given; numbers `records` and `bytes`; counts of
    `sources` and `remarks`; `failures`, texts of the first ones.
    """
    sources, remarks = collections.Counter(), collections.Counter()
    failures = []
    with cli.whole_file(job.path) as path:
        writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1,uncompressed')
        for unit in job.units:
            for item in _read(unit):
                if isinstance(item, Remark):
                    remarks[item.kind] += 1
                    if item.kind in (CORRUPT, BROKEN) and len(failures) < _NAMED:
                        failures.append(item.about)
                else:
                    writer.write(job.features.serialize_example(item))
                    sources[unit.source] += 1
                    count()
        writer.close()
    report = {
        'units': [unit.name for unit in job.units],
        'settings': dict(job.settings),
        'records': sources.total(),
        'bytes': os.path.getsize(job.path),
        'sources': dict(sources),
        'remarks': dict(remarks),
        'failures': failures,
    }
    with cli.whole_file(job.report) as path:
        path.write_text(json.dumps(report))
    return report


def _read(unit: Unit) -> Iterator[dict | Remark]:
    """A unit's records and remarks; the last remark is BROKEN if reading fails."""
    try:
        yield from unit.read()
    except (ValueError, OSError) as error:
        yield Remark(BROKEN, f'{unit.name}: {error}')


def _finished(job: ShardJob, max_bad_fraction: float) -> dict | None:
    """The report on a shard that an earlier run wrote, or None if it must be written (again)."""
    # Shards with broken units or too many corrupt records: the files may have been repaired since.
    try:
        report = json.loads(job.report.read_text())
        size = os.path.getsize(job.path)
    except (OSError, ValueError):
        return None
    wanted = {'units': [unit.name for unit in job.units], 'settings': dict(job.settings)}
    same = report == report | wanted | {'bytes': size}
    corrupt = report['remarks'].get(CORRUPT, 0)
    too_many = corrupt > max_bad_fraction * (report['records'] + corrupt)
    return report if same and not too_many and BROKEN not in report['remarks'] else None


def write_dataset(
    jobs: Sequence[ShardJob],
    settings: ShardSettings,
    check: Callable[[collections.Counter], None] = lambda remarks: None,
) -> list[dict]:
    """Writes the missing shards; returns the reports on all, in order.

    `check` sees the remarks so far, and may raise. Raises ValueError if more than
    `max_bad_fraction` of the records or of the units failed. Finished shards stay, for a run with
    other files or another limit.
    """
    limit = settings.max_bad_fraction
    reports = {job.path: report for job in jobs if (report := _finished(job, limit))}
    missing = [job for job in jobs if job.path not in reports]
    if reports:
        print(f'going on: {len(reports)} of {len(jobs)} shards are there', flush=True)
    num_units = sum(len(job.units) for job in jobs)
    run = _write_on_beam if settings.beam else _write_here
    with contextlib.closing(run(missing, settings)) as written:
        for job, report in written:
            reports[job.path] = report
            if len(reports) >= _EARLY * len(jobs):
                _check_failures(reports.values(), num_units, limit)
                check(total(reports.values(), 'remarks'))
    check(total(reports.values(), 'remarks'))
    return [reports[job.path] for job in jobs]


def total(reports: Iterable[dict], what: str) -> collections.Counter:
    """Sums of `sources` or `remarks` of reports."""
    return sum((collections.Counter(report[what]) for report in reports), collections.Counter())


def _check_failures(reports, num_units, max_bad_fraction):
    remarks = total(reports, 'remarks')
    records = sum(report['records'] for report in reports)
    for kind, of in ((BROKEN, num_units), (CORRUPT, records + remarks[CORRUPT])):
        if remarks[kind] > max_bad_fraction * of:
            failures = [failure for report in reports for failure in report['failures']]
            limit = f'more than max_bad_fraction={max_bad_fraction} of {of}'
            raise ValueError(f'{remarks[kind]} {kind}, {limit}: {"; ".join(failures[:10])}')


def _write_here(
    jobs: Sequence[ShardJob], settings: ShardSettings
) -> Iterator[tuple[ShardJob, dict]]:
    """Writes shards in processes of this machine, with a progress bar of persons."""
    counter = multiprocessing.get_context('spawn').Value('q', 0)
    sizes = [unit.size for job in jobs for unit in job.units]
    known = None if None in sizes else sum(sizes)
    with (
        workers.start_pool(settings.num_processes, _share, counter) as pool,
        cli.Progress('preparing', 'person', known) as bar,
    ):
        if pool is None:
            for job in jobs:
                yield job, write_shard(job, bar.update)
            return
        waiting = {pool.submit(_write_and_count, job): job for job in jobs}
        while waiting:
            done, _ = futures.wait(waiting, timeout=0.5, return_when=futures.FIRST_COMPLETED)
            bar.set(counter.value)
            bar.note(f'{len(waiting)} shards to go')
            for future in done:
                yield waiting.pop(future), future.result()


_written = None  # in a worker process: the number of records that all workers have written


def _share(counter):
    global _written
    _written = counter


def _count():
    with _written.get_lock():
        _written.value += 1


def _write_and_count(job):
    return write_shard(job, _count)


def _write_on_beam(
    jobs: Sequence[ShardJob], settings: ShardSettings
) -> Iterator[tuple[ShardJob, dict]]:
    """Writes shards on a cluster with a shared file system."""
    try:
        import apache_beam as beam
    except ImportError:
        raise ValueError('beam: needs the extra, pip install "tokenhmr_jax[beam]"') from None
    options = beam.options.pipeline_options.PipelineOptions(shlex.split(settings.beam))
    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | beam.Create(jobs) | beam.Reshuffle() | beam.Map(write_shard)
    for job in jobs:
        yield job, json.loads(job.report.read_text())


class Builder(tfds.core.dataset_builder.FileReaderBuilder, skip_registration=True):
    """A dataset of image records. A subclass has `name`, `pkg_dir_path`, `VERSION` and `units`."""

    def __init__(self, *, settings: ShardSettings, **kwargs):
        self._settings = settings
        self._units = {}
        self._skipped = []
        self._counts = {}
        super().__init__(**kwargs)

    @abc.abstractmethod
    def units(self) -> dict[str, list[Unit]]:
        """The units of each split, by the settings.

        Raises FileNotFoundError or ValueError if files are missing or cannot be read.
        """

    def check(self, remarks: collections.Counter) -> None:
        """Raises ValueError if the remarks so far show that the run makes no sense."""

    def _info(self):
        settings = prepare.deciding_fields(self._settings)
        metadata = tfds.core.MetadataDict(
            settings=settings, counts=self._counts, skipped=self._skipped
        )
        return self.dataset_info_from_configs(features=records.features(), metadata=metadata)

    def download_and_prepare(self, **kwargs):
        """As in TFDS; a bad `manual_dir` raises before anything is written."""
        if not self.is_prepared():
            self._units = self.units()
        super().download_and_prepare(**kwargs)

    def _download_and_prepare(self, dl_manager, download_config=None):
        """Writes shards beside the dataset's folder, then moves them into it."""
        del dl_manager, download_config
        partial = self.data_path.parent / f'partial_{self.version}'
        partial.mkdir(parents=True, exist_ok=True)
        jobs = {split: self._jobs(split, units, partial) for split, units in self._units.items()}
        flat = [job for each in jobs.values() for job in each]
        with _tidied(partial, flat):
            written = iter(write_dataset(flat, self._settings, self.check))
        split_infos = []
        for split, each in jobs.items():
            reports = list(itertools.islice(written, len(each)))
            self._describe(split, reports)
            info = tfds.core.SplitInfo(
                name=split,
                shard_lengths=[report['records'] for report in reports],
                num_bytes=sum(report['bytes'] for report in reports),
                filename_template=self._get_filename_template(split),
            )
            split_infos.append(info)
        for job in flat:
            shutil.move(job.path, self.data_path)
        shutil.rmtree(partial)
        self.info.set_splits(tfds.core.SplitDict(split_infos))

    def _jobs(self, split, units, folder):
        """Shards of consecutive units, as even as possible, under the file names of TFDS."""
        jobs, count = [], min(self._settings.num_shards, len(units))
        template = self._get_filename_template(split)
        settings = prepare.deciding_fields(self._settings)
        for shard in range(count):
            path = template.sharded_filepath(shard_index=shard, num_shards=count)
            ours = units[shard * len(units) // count : (shard + 1) * len(units) // count]
            jobs.append(ShardJob(str(folder / path.name), ours, settings, self.info.features))
        return jobs

    def _describe(self, split, reports):
        """Adds counts and failures of a split to the dataset's metadata."""
        sources, remarks = total(reports, 'sources'), total(reports, 'remarks')
        self._counts[split] = {'sources': sources, 'remarks': remarks}
        self._skipped += [failure for report in reports for failure in report['failures']]
        if not sources:
            raise ValueError(f'{split}: no record; {dict(remarks)}; {self._skipped[:10]}')


@contextlib.contextmanager
def _tidied(folder: epath.Path, jobs: Sequence[ShardJob]) -> Iterator[None]:
    """Removes all files but finished ones of these jobs, before and after the body."""
    ours = {str(path) for job in jobs for path in (job.path, job.report)}

    def tidy():
        for path in folder.iterdir():
            if str(path) not in ours:
                path.unlink(missing_ok=True)

    tidy()
    try:
        yield
    finally:
        tidy()
