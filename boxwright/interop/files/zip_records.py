"""The records of a zip file, read with every claim checked.

Python's zipfile trusts the sizes in a file until it has read it. Here a record must lie inside the file, memory is
charged before it is taken, and the checksum is compared before the bytes are used.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import torch

from boxwright.errors import WeightsError
from boxwright.interop.files.byte_source import Budget, Source

MAX_RECORDS = 100_000  # one per tensor and a few more
_STORED, _DEFLATED = 0, 8
_END = b"PK\x05\x06"
_END_LENGTH = 22
_END64_LOCATOR = b"PK\x06\x07"
_LOCATOR_LENGTH = 20
_END64 = b"PK\x06\x06"


@dataclass(frozen=True, slots=True)
class _Record:
    name: str
    method: int
    checksum: int
    packed: int  # bytes in the file
    size: int  # bytes when unpacked
    header: int  # where its local header starts


class ZipRecords:
    """The records by name; `read` gives one as a (size,) uint8 tensor."""

    def __init__(self, file: BinaryIO, *, name: str, size: int, budget: Budget) -> None:
        self._file = file
        self._size = size
        self._budget = budget
        self.name = name
        self.records = {record.name: record for record in self._directory()}
        # Writers may be told to leave out checksums: then all of them are zero.
        self._is_checked = any(record.checksum for record in self.records.values())

    def read(self, name: str) -> torch.Tensor:
        """The content of a record, in memory of its own."""
        record = self.records.get(name)
        if record is None:
            raise WeightsError(
                f"{self.name}: the record {name!r} is missing: the file is cut short or altered. {_AGAIN}"
            )
        source = self._content(record)
        self._budget.take(record.size, f"the record {name!r}")
        if record.method == _STORED:
            content = torch.empty(record.size, dtype=torch.uint8)
            source.read_into(content.numpy().data)
        else:
            content = torch.from_numpy(np.frombuffer(self._inflate(source, record), np.uint8))
        if self._is_checked and zlib.crc32(content.numpy().data) != record.checksum:
            raise WeightsError(
                f"{self.name}: the record {name!r} does not match its checksum: the file is damaged. {_AGAIN}"
            )
        return content

    def _content(self, record: _Record) -> Source:
        """Where the packed bytes of a record begin: behind its local header, which says itself how long it is."""
        header = self._source(record.header, self._size)
        signature, name_length, extra_length = struct.unpack("<4s22xHH", header.take(30))
        if signature != b"PK\x03\x04":
            raise header.damaged(f"the record {record.name!r} does not begin here")
        start = header.position + name_length + extra_length
        end = start + record.packed
        if end > self._size or (record.method == _STORED and record.packed != record.size):
            raise header.damaged(f"the record {record.name!r} claims {record.size:,} bytes, which are not there")
        return self._source(start, end)

    def _inflate(self, source: Source, record: _Record) -> bytearray:
        if record.method != _DEFLATED:
            raise source.damaged(f"the record {record.name!r} is packed by an unknown method ({record.method})")
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = unpack.decompress(source.take(record.packed), record.size + 1)
        except zlib.error as error:
            raise source.damaged(f"the record {record.name!r} cannot be unpacked ({error})") from None
        if len(content) != record.size:
            raise source.damaged(f"the record {record.name!r} does not unpack to the {record.size:,} bytes it claims")
        return bytearray(content)

    def _directory(self) -> list[_Record]:
        count, length, start = self._end()
        if count > MAX_RECORDS or length > self._size - start:
            raise WeightsError(f"{self.name}: the zip directory claims {count:,} records in {length:,} bytes. {_AGAIN}")
        source = self._source(start, start + length)
        records = [self._entry(source) for _ in range(count)]
        if len({record.name for record in records}) != count:
            raise source.damaged("two records have one name")
        if sum(record.packed for record in records) > self._size:  # each could be unpacked from the same bytes
            raise source.damaged("its records overlap")
        return records

    def _entry(self, source: Source) -> _Record:
        fields = struct.unpack("<4s6xH4xIIIHHH8xI", source.take(46))
        signature, method, checksum, packed, size, name_length, extra_length, comment_length, header = fields
        if signature != b"PK\x01\x02":
            raise source.damaged("the zip directory is broken")
        name = source.take(name_length).decode("utf-8", "replace")
        extra = source.take(extra_length)
        source.take(comment_length)
        size, packed, header = _widen(extra, (size, packed, header))
        return _Record(name, method, checksum, packed, size, header)

    def _end(self) -> tuple[int, int, int]:
        """The number of records, and the length and start of the directory."""
        tail_start = max(0, self._size - 2**16 - _END_LENGTH)
        tail = self._source(tail_start, self._size).take(self._size - tail_start)
        place = tail.rfind(_END)
        if place < 0 or place + _END_LENGTH > len(tail):
            raise WeightsError(f"{self.name}: the zip directory at its end is missing: the file is cut short. {_AGAIN}")
        count, length, start = struct.unpack_from("<10xHII", tail, place)
        locator = place - _LOCATOR_LENGTH
        if locator >= 0 and tail[locator : locator + 4] == _END64_LOCATOR:
            where = struct.unpack_from("<8xQ", tail, locator)[0]
            source = self._source(where, self._size)
            signature, count, length, start = struct.unpack("<4s28xQQQ", source.take(56))
            if signature != _END64:
                raise source.damaged("the zip directory is broken")
        return count, length, start

    def _source(self, start: int, end: int) -> Source:
        if start > self._size:
            raise WeightsError(f"{self.name}: it refers to byte {start:,} of {self._size:,}: it is cut short. {_AGAIN}")
        return Source(self._file, name=self.name, start=start, end=end)


_AGAIN = "Fetch or save the file again."


def _widen(extra: bytes, fields: tuple[int, int, int]) -> list[int]:
    """64-bit values out of the extra field, for those of (size, packed, header) that did not fit in 32 bits."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        content = extra[place + 4 : place + 4 + length]
        if kind == 1 and len(content) == length:
            wide = [value for (value,) in struct.iter_unpack("<Q", content[: length // 8 * 8])]
            return [wide.pop(0) if field == 0xFFFFFFFF and wide else field for field in fields]
        place += 4 + length
    return list(fields)
