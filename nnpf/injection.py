"""Messages put into a stream, as a specification says: the plan for one stream, checked, and carried out.

with open_stream("in.266") as source, open("out.266", "wb") as out:
    inject(source, plan(specification, source), out)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Literal

from nnpf import spec
from nnpf.spec import Spec, SpecError, Target
from nnpf.timing import at_times
from nnpf.yaml_document import KeyPath
from vsei import edit, selection
from vsei.annexb import NalUnit, split
from vsei.edit import Inserted, OnExisting, Placement
from vsei.errors import VseiError
from vsei.grouping import PictureStart, groups
from vsei.nal import Codec
from vsei.pictures import PictureFormat, picture_units
from vsei.restoring import Taken, restore
from vsei.rules import DECODERS, Decoder, Finding, Rule
from vsei.source import Output, Progress, Stream, byte_stream
from vsei.splicing import splice

# So many pictures are checked with their messages before anything is written (for a certain decoder: all). Rules that
# need what came before are broken early, if at all, and reading headers takes much longer than copying.
CHECKED_PICTURES = 256


Activate = Literal["base", "update", "none"]
Note = Callable[[str, Rule | None], None]


class BrokenRule(VseiError):
    """With the messages in, the stream would break a rule of the standard."""

    def __init__(self, text: str, rule: Rule) -> None:
        super().__init__(f"{text} ({rule.name}, {rule.clause})")


# --- the common case -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonCase:
    """One filter, active everywhere: what a specification file is not needed for.

    Attributes:
        base: model file, .onnx (sent by URI) or .nnc (sent in the message); None where the stream has the base already.
        uri: nnpfc_uri of the base; None: its path seen from `folder`, where the stream will be.
        updates: model files, each with its pictures as `vsei.selection` writes them.
        nnpfc_id: 0..2^32 - 2.
        repeat: where the base stands: random_access, clvs_start or first.
        activate: None: the base, and from each update on that.
        activate_at: pictures; None: so that it holds for every picture.
        elements: of the NNPFC message of the base and of the NNPFA messages, by the standard's names.
        decoder: that the messages are for, beyond the standard.
        called: what each of these is called, in an error.
    """

    base: str | None = None
    uri: str | None = None
    folder: Path = Path()
    updates: Sequence[tuple[str, str]] = ()
    nnpfc_id: int = 1
    repeat: str = "random_access"
    activate: Activate | None = None
    activate_at: str | None = None
    elements: Mapping[str, object] = field(default_factory=dict)
    decoder: Decoder | None = None
    called: Callable[[str], str] = str

    @property
    def follows_updates(self) -> bool:
        """Whether each activation is worked out from where the updates stand."""
        return bool(self.updates) and self.activate is None and self.activate_at is None

    def specification(self) -> Spec:
        """The specification that this stands for.

        Raises:
            SpecError: arguments that make no sense, alone or together.
        """
        called, activate = self.called, self.activate
        nnpfc, nnpfa = self._elements()
        if not 0 <= self.nnpfc_id < 2**32 - 1:
            raise SpecError(f"{called('nnpfc_id')} {self.nnpfc_id}: must be 0..{2**32 - 2}", None)
        if activate == "update" and not self.updates:
            raise SpecError(f"{called('activate')} update: needs {called('updates')}", None)
        if activate == "none" and (nnpfa or self.activate_at):
            raise SpecError(f"{called('activate')} none: there is no activation to set or to place", None)
        if self.base is None:
            idle = [called("uri")] if self.uri is not None else [f"{called('elements')} {name}" for name in nnpfc]
            if idle:
                raise SpecError(f"{idle[0]}: of a base filter, which {called('base')} gives", None)
        labels: dict[KeyPath, str] = {("filters", 0): called("base"), ("filters", 0, "base"): called("base")}
        labels[("filters", 0, "id")] = labels[("activations", 0, "target")] = called("nnpfc_id")
        labels[("filters", 0, "nnpfc")] = f"{called('elements')} "
        entry: dict[str, object] = {"id": self.nnpfc_id, "repeat": self.repeat, "updates": []}
        if self.base is not None:
            entry |= {"base": self.base, "nnpfc": nnpfc}
            if self.uri is not None:
                entry["uri"] = self.uri
            elif self.base.endswith(spec.MODEL_SUFFIXES) and not (self.decoder and self.decoder.uri_prefix):
                entry["uri"] = _uri_from(self.base, self.folder)
        updates = []
        for i, (payload, pictures) in enumerate(self.updates):
            self._check_pictures("updates", pictures)
            updates.append({"payload": payload, "at": pictures})
            for path in (("updates", i), ("updates", i, "payload")):
                labels[("filters", 0, *path)] = f"{called('updates')} {payload}@{pictures}"
        entry["updates"] = updates
        activations: list[dict[str, object]] = []
        if activate != "none":
            # What is there is activated: without a base, the stream has it, or nobody.
            of_base = int(activate == "base" or (activate is None and not (updates and self.activate_at)))
            first: dict[str, object] = {
                "target": self.nnpfc_id,
                "nnpfa": {"nnpfa_target_base_flag": of_base, **nnpfa},
            }
            activations.append(first)
            if self.activate_at is not None:
                self._check_pictures("activate_at", self.activate_at)
                first["at"] = self.activate_at
            elif activate is None:
                # See `_following`.
                of_update = {"nnpfa_target_base_flag": 0, **nnpfa}
                activations += [{"target": self.nnpfc_id, "nnpfa": of_update, "at": u["at"]} for u in updates]
        labels |= {("activations", i): called("activate") for i in range(len(activations))}
        labels |= {("activations", i, "nnpfa"): f"{called('elements')} " for i in range(len(activations))}
        # By construction it conforms to the schema; loading what checks that takes longer than most streams.
        return Spec({"filters": [entry], "activations": activations}, None, Path(), labels=labels)

    def _elements(self) -> tuple[dict[str, object], dict[str, object]]:
        """The elements, sorted by message."""
        found: dict[str, dict[str, object]] = {"nnpfc_": {}, "nnpfa_": {}}
        for name, value in self.elements.items():
            if not name.startswith(tuple(found)):
                raise SpecError(
                    f"{self.called('elements')} {name}: give the standard's name of an element of NNPFC or NNPFA, "
                    "as in nnpfc_padding_type",
                    None,
                )
            found[name[:6]][name] = value
        return found["nnpfc_"], found["nnpfa_"]

    def _check_pictures(self, name: str, pictures: str) -> None:
        try:
            selection.parse(pictures)
        except VseiError as error:
            raise SpecError(f"{self.called(name)}: {error}", None) from None


def _uri_from(model: str, folder: Path) -> str:
    """How the stream names the model: by its path from the folder of the stream, which is where `apply` looks."""
    try:
        path = Path(model).resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        # The model lies elsewhere: only its name is sent; who applies it is asked for the folder.
        path = Path(model).name
    return spec.local_uri(path)


# --- the plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectOptions:
    """How to inject.

    Attributes:
        decoder: that has to get along with the messages, beyond the standard.
        checked: messages that break the standard are refused.
        on_existing: what becomes of NNPFC and NNPFA messages that the stream has; None: as the specification says.
        follow_updates: the base is active until an update comes (see `CommonCase.follows_updates`).
        rate: pictures per second of a byte stream, where pictures are named by times; None: as it says itself.
        layer_id: nuh_layer_id of the pictures that get messages; None: of all layers (of H.265 the base layer).
        note: called with what a user should know, and the rule that says so.
    """

    decoder: Decoder | None = None
    checked: bool = True
    on_existing: OnExisting | None = None
    follow_updates: bool = False
    rate: Fraction | None = None
    layer_id: int | None = None
    note: Note = lambda _, __: None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with a stream.

    Attributes:
        decided: the pictures of each placement, where NAL unit types do not tell them.
        taken: what `nnpf.extraction` took out of it.
        stripped: NAL units that the stream should have before `taken` is put back.
    """

    codec: Codec
    placements: Sequence[Placement]
    decided: Sequence[frozenset[int]] | None
    taken: Sequence[Taken]
    stripped: int | None
    on_existing: OnExisting


@dataclass(frozen=True, slots=True)
class Injected:
    """What was done.

    Attributes:
        bytes_in, bytes_out: length of the streams.
        messages: that were put in.
        nal_units_restored: of them, the NAL units that `nnpf.extraction` had taken out.
        pictures: coded pictures of the stream; None where they were not counted.
    """

    bytes_in: int
    bytes_out: int
    messages: int
    nal_units_restored: int
    pictures: int | None


def decoder_named(name: str | None, codec: Codec) -> Decoder | None:
    """One of `vsei.rules.DECODERS`. VseiError where there is none of that name, or it does not decode that codec."""
    if name is None:
        return None
    if name not in DECODERS:
        raise VseiError(f"no decoder {name!r}: there are {', '.join(DECODERS)}")
    if codec is not Codec.VVC:
        raise VseiError(f"{DECODERS[name].version} decodes {Codec.VVC.standard}, the stream is {codec.standard}")
    return DECODERS[name]


def plan(given: Spec, source: Stream, options: InjectOptions = InjectOptions()) -> Plan:
    """What a specification means for a stream, checked against the standard's rules.

    A pipe is read to its end where the pictures ask for it (`Source.keep`).

    Raises:
        SpecError: the specification asks for what cannot be.
        BrokenRule: with the messages in, the stream would break the standard.
        VseiError: the stream has no such picture.
    """
    codec = source.codec
    wanted = given.data.get("codec", codec.value)
    if wanted != codec.value:
        raise given.error(["codec"], f"{wanted}, the stream is {codec.value}")
    target = Target(
        codec=codec,
        picture=_picture_format(source, options.layer_id),
        decoder=options.decoder,
        checked=options.checked,
        note=options.note,
    )
    placements = spec.placements(given, codec, target)
    # Of H.265 only the base layer has pictures here.
    layer_id = 0 if codec is Codec.HEVC and options.layer_id is None else options.layer_id
    by_picture = [replace(p.pictures, layer_id=layer_id) for p in placements]
    by_picture = at_times(by_picture, source, options.rate)
    placements = [replace(p, pictures=pictures) for p, pictures in zip(placements, by_picture, strict=True)]
    taken = spec.taken(given, codec)
    decided: Sequence[frozenset[int]] | None = None
    if options.decoder is not None or options.layer_id is not None or any(p.pictures.needs_headers for p in placements):
        source.keep()
        decided = edit.pictures_of_stream(source.nal_units, codec, [p.pictures for p in placements])
        for placement, indices in zip(placements, decided, strict=True):
            if not indices:
                raise VseiError(f"the stream has no picture {placement.pictures}")
    if options.follow_updates and decided is not None:
        decided = _following(source, decided)
    if options.decoder is not None and decided is not None:
        from vsei.arranging import arrange, orders

        starts = [group.start for group in groups(source.nal_units(), codec) if group.start is not None]
        order = orders(source.nal_units(), codec) if options.decoder.activation_once else {}
        decided = arrange(placements, decided, starts, options.decoder, order)
        # The arrangement has dealt with it: what it adds may lie beyond.
        placements = [replace(p, clvs=None) for p in placements]
    found = Plan(
        codec,
        placements,
        decided,
        taken,
        given.data.get("stripped_stream", {}).get("nal_units"),
        options.on_existing or given.data.get("on_existing", "error"),
    )
    if options.checked and placements:
        _check(source, found, target)
    return found


def _following(source: Stream, decided: Sequence[frozenset[int]]) -> Sequence[frozenset[int]]:
    """The default of `activate`: the base, then updates. The last placements are the updates, and the activations."""
    from vsei.arranging import follow_updates, orders

    count = (len(decided) - 1) // 2
    before, updates, base = decided[: -2 * count - 1], decided[-2 * count - 1 : -count - 1], decided[-count - 1]
    left, found = follow_updates(base, updates, orders(source.nal_units(), source.codec))
    return [*before, *updates, left, *found]


def _picture_format(source: Stream, layer_id: int | None) -> PictureFormat | None:
    """The format of the first picture of a layer (None: of any), where its headers can be read."""
    pictures = (unit.picture for unit in picture_units(split([source.head]), source.codec))
    return next((p.format for p in pictures if p is not None and layer_id in (None, p.layer_id)), None)


def _check(source: Stream, found: Plan, target: Target) -> None:
    """VseiError where messages that go in break a rule in the stream, or make those break one that are there already.

    A stream that can be read again is checked as it will be written; of a pipe only its head, before it is written.
    """
    from vsei.listing import nal_units_of
    from vsei.rules import Level, check

    def units() -> Iterator[NalUnit]:
        pictures = 0
        whole = source.nal_units() if source.size is not None else split([source.head])
        for group in groups(whole, found.codec):
            pictures += group.start is not None
            if target.decoder is None and pictures > CHECKED_PICTURES:
                return
            yield from (unit.nal for unit in group.units)

    put_in: set[int] = set()  # NAL units

    def marked() -> Iterator[NalUnit]:
        coming: list[Inserted] = []
        edited = _edited(units(), replace(found, taken=()), coming.append)
        for index, unit in enumerate(edited):
            if coming:
                put_in.add(index)
                coming.clear()
            yield unit

    def findings(nal_units: Iterable[NalUnit]) -> Iterator[Finding]:
        return check(nal_units_of(nal_units, found.codec), found.codec, decoder=target.decoder)

    # Messages that stay may be broken already; that is not for this to tell.
    before = {_on_message(finding) for finding in findings(units())} if found.on_existing == "keep" else None
    for finding in findings(marked()):
        if finding.picture is None:
            continue
        name = finding.name or "NAL unit"
        if finding.nal_index not in put_in:
            broken = finding.name is not None and finding.rule.level is Level.VIOLATION
            if before is None or not broken or _on_message(finding) in before:
                continue
            name = f"with what goes in, {name} that is there"
        element = f"{finding.element}: " if finding.element else ""
        text = f"{name} at picture {finding.picture.decode_index}: {element}{finding.message}"
        if finding.rule.level is Level.VIOLATION:
            raise BrokenRule(text, finding.rule)
        target.note(text, finding.rule)


def _on_message(finding: Finding) -> tuple[object, ...]:
    """What a finding says, wherever in the stream the message stands by now."""
    index = finding.picture.decode_index if finding.picture is not None else None
    return finding.rule.name, index, finding.name, finding.element, finding.message


# --- the edit --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Counts:
    """What the edit comes by; passes on how far it is."""

    progress: Progress | None
    messages: int = 0
    pictures: int = 0
    bytes_in: int = 0

    def advance(self, n: int = 1, /) -> None:
        self.bytes_in += n
        if self.progress is not None:
            self.progress.advance(n)

    def see(self, _: PictureStart) -> None:
        self.pictures += 1


def inject(
    source: Stream,
    planned: Plan,
    out: BinaryIO | Output,
    *,
    tell: edit.Tell | None = None,
    count: bool = True,
    progress: Progress | None = None,
) -> Injected:
    """Write the stream with the messages in.

    Args:
        out: a file for a byte stream; or what was made for the stream (`nnpf.opening.writing`).
        tell: called for each message put in.
        count: count the pictures. Without, it is faster, and decode indices that are told mean nothing.
        progress: told of bytes read.

    Raises:
        VseiError: the stream has messages that must not be there, lacks a picture, or is no byte stream.
    """
    counts = _Counts(progress)
    placed: set[int] = set()  # id() of messages

    def told(inserted: Inserted) -> None:
        counts.messages += 1
        placed.add(id(inserted.message))
        if tell is not None:
            tell(inserted)

    pictures: int | None
    output = out if isinstance(out, Output) else byte_stream(source, out)
    by_units = planned.taken or planned.on_existing == "replace" or any(p.suffix for p in planned.placements)
    if by_units or output.file is None:
        bytes_out = output.take(_edited(output.nal_units(counts), planned, told, counts.see))
        bytes_in, pictures = counts.bytes_in, counts.pictures
    else:
        spliced = splice(
            source.rest(),
            output.file,
            planned.codec,
            planned.placements,
            planned.decided,
            keep_existing=planned.on_existing == "keep",
            tell=told,
            count=count,
            advance=counts.advance,
            head=source.head,
        )
        bytes_in, bytes_out, pictures = spliced.bytes_in, spliced.bytes_out, spliced.pictures
    for placement in planned.placements if planned.decided is None else ():
        if id(placement.message) not in placed:
            raise VseiError(f"the stream has no picture {placement.pictures}")
    restored = sum(len(part.payload_types) for part in planned.taken)
    return Injected(bytes_in, bytes_out, counts.messages + restored, len(planned.taken), pictures)


def _edited(units: Iterable[NalUnit], found: Plan, tell: edit.Tell, see: edit.See | None = None) -> Iterator[NalUnit]:
    """The NAL units of the stream with the messages in."""
    codec = found.codec
    if found.taken:
        # What stands there already is dealt with first: places are counted without it.
        units = restore(
            _counted(edit.inject(units, codec, [], None, found.on_existing), found.stripped), codec, found.taken
        )
        return edit.inject(units, codec, found.placements, found.decided, "keep", tell, see)
    return edit.inject(units, codec, found.placements, found.decided, found.on_existing, tell, see)


def _counted(units: Iterable[NalUnit], expected: int | None) -> Iterator[NalUnit]:
    """VseiError where the stream is not the one that the places are counted in."""
    count = 0
    for unit in units:
        count += 1
        yield unit
    if expected is not None and count != expected:
        raise VseiError(
            f"{count} NAL units; the stream that the messages were taken out of has {expected} without them"
        )
