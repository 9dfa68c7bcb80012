"""The filters of a stream behind one another, each a stage that takes the pictures which the one before gives.

    cascade = Cascade(infer)
    for source, following in pictures:
        for item in cascade.take(source, following):
            ...                    # shown next; its samples may still be under way
    for item in cascade.finish():
        ...

The stages stand in the order of application (`nnpf.activation.Active.rank`). One is there while its filter is known to
need pictures before it is in force, while it is in force, and while it remembers pictures that it changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from nnpf import limits
from nnpf.characteristics import num_input_pics
from nnpf.inference import Given
from nnpf.intake import InputPicture
from nnpf.sequence import Item, Notes
from nnpf.stage import Infer, Rank, Stage

# Pictures that are kept for filters of several input pictures before any such filter is known.
_KEPT_BYTES = 24 << 20
_LAST: Rank = (1 << 31, 0)


class Cascade:
    """All stages. Memory is bounded by what the filters take at once, not by the length of the stream.

    Args:
        infer: begins an inference.
        skip_failures: what goes wrong is a reason in the notes of the current picture, not an error.
    """

    def __init__(self, infer: Infer, *, skip_failures: bool = False) -> None:
        self._infer, self._skip_failures = infer, skip_failures
        # The last one is never a filter: it remembers what came out of the others, for those that may come.
        self._stages = [Stage(_LAST, infer, skip_failures=skip_failures)]

    def take(self, source: InputPicture, following: InputPicture | None = None) -> Iterator[Item]:
        """The next decoded picture in. Gives those that nothing can change any more.

        Args:
            following: the one after it, where it is there; of it only what it says of filters to come is taken.

        Raises:
            NnpfError: a filter cannot be had, or does not suit the pictures.
        """
        self._check_memory(source)
        self._prepare(source, following)
        notes = Notes(list(source.reasons))
        items = [Item(source, "filtered", Fraction(source.output_index), Given(source.frame), notes=notes)]
        for stage in self._stages:
            items = [out for item in items for out in stage.take(item)]
        yield from items

    def finish(self) -> Iterator[Item]:
        """There are no more pictures in. Gives the rest."""
        items: list[Item] = []
        for stage in self._stages:
            items = [out for item in items for out in stage.take(item)] + stage.finish()
        yield from items

    def _prepare(self, source: InputPicture, following: InputPicture | None) -> None:
        """Stages for the filters that are in force or may come into force, and no others."""
        known = {*source.known, *(following.known if following is not None else ())}
        for one in known:
            stage = self._stage(one.rank)
            stage.inputs, stage.reach = max(stage.inputs, one.inputs), max(stage.reach, one.reach)
        for active in source.active:
            self._stage(active.rank)
        under_way = (item.source for stage in self._stages for item in stage.waiting)
        wanted = {one.rank for one in known} | {_LAST}
        wanted.update(active.rank for one in (source, *under_way) for active in one.active)
        self._stages = [stage for stage in self._stages if stage.rank in wanted or not stage.idle]
        for stage in self._stages:
            stage.room = _KEPT_BYTES // len(self._stages)
            if stage.rank not in wanted:
                stage.inputs, stage.reach = 1, 0  # what it holds back goes on, and then it can go itself

    def _stage(self, rank: Rank) -> Stage:
        at = next(at for at, stage in enumerate(self._stages) if stage.rank >= rank)
        if self._stages[at].rank != rank:
            stage = Stage(rank, self._infer, skip_failures=self._skip_failures, before=self._stages[at])
            self._stages.insert(at, stage)
        return self._stages[at]

    def _check_memory(self, source: InputPicture) -> None:
        """Refuse filters that keep too many pictures together; the bitstream was held against the limit filter by
        filter."""
        counts = [num_input_pics(active.base) for active in source.active]
        inputs = sum(count for count in counts if count > 1)
        taken = inputs * source.frame.format.file_bytes
        if taken > (allowed := limits.current().input_bytes):
            problem = f"filters of {inputs} input pictures together need {taken} bytes, more than {allowed}"
            raise limits.exceeded("input_bytes", problem)
