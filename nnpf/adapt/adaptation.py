"""Fit an update of a base filter to each segment of a clip, and send it only where it pays."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from nnpf.adapt import DEFAULT_STEPS
from nnpf.adapt.checkpoint import Checkpoint
from nnpf.adapt.clip import ClipPicture, Segment
from nnpf.adapt.coding import DENSITY, Coded, Coder
from nnpf.adapt.fit import Fit, FitData, State
from nnpf.adapt.measure import Receiver, channel_weights, check_supported, evenly, gain, training_picture
from nnpf.adapt.price import Price, default_slope
from nnpf.adapt.scope import scope_of
from nnpf.errors import NnpfError
from nnpf.metrics import Difference, average
from nnpf.nnc.quantization import step_size
from nnpf.prepare import update_tensor
from nnpf.sources import Base, ModelSources, apply_update
from vsei.messages import NnpfCharacteristics
from vsei.nal import Codec

# Pictures that step sizes are chosen on and progress is watched on; the decision is taken on all.
WATCHED_PICTURES: Final = 6
# Pictures that are trained on. More of one segment show little that is new, and their tensors take memory.
TRAINED_PICTURES: Final = 128
# The quantisation step in the loop, as a multiple of the one at which distortion and rate are in balance at high rate.
# Of 0.5, 1 and 2 the first two were alike on a training clip, and the last was worse.
STEP_MULTIPLE: Final = 0.7
# The update is coded and measured this many times on the way.
_LOOKS: Final = 8
# dB: less than this in two looks is standing still. In the first half of the looks a fit may: a difference shows only
# when it has grown to half a quantisation step.
_STANDSTILL: Final = 0.001
_PATIENCE: Final = 2
LEARNING_RATE: Final = 0.004
# dB: a fit that has lost so much since its best look goes back to it, and on with half the learning rate.
_LOST: Final = 0.03
_LEAST_PACE: Final = 1 / 16
# dB by which an update above the budget counts as worse: it comes after any that keeps to it.
_OVER_BUDGET: Final = 100.0
# What bytes cost is known about so well, as a share: the slope comes from neighbouring rate points, and bends between.
# An update that would pay by less is not sent.
_COST_DOUBT: Final = 0.2
# An update above the budget makes bytes dearer, up to so many times from one look to the next.
_LARGEST_PRESSURE: Final = 4.0

Decision = Literal["update", "base", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptOptions:
    """How to adapt.

    Attributes:
        params: see `nnpf.adapt.scope.scope_of`; "auto": see `scopes_to_try`; what pays most is kept.
        budget: bytes that an update may have at most.
        steps: of gradient descent, for a segment.
        slope: dB of 6:1:1 PSNR for each factor e of rate; None: by the QP.
        serves: bytes of video that one update serves; None: those of its segment.
        device: of torch: "auto", "cpu", "cuda", "mps".
        threads: of the CPU.
        checkpoints: a folder for them; None: none are kept.
        resume: go on from them.
    """

    params: str = "auto"
    budget: int | None = None
    steps: int = DEFAULT_STEPS
    seed: int = 0
    slope: float | None = None
    serves: float | None = None
    device: str = "auto"
    threads: int = 1
    checkpoints: Path | None = None
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a fit stands. `gain`: 6:1:1 dB over the base on the watched pictures, by an update of `payload_bytes`."""

    segment: int
    params: str
    step: int
    steps: int
    gain: float
    payload_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class SegmentResult:
    """What was found for a segment.

    Attributes:
        decision: "update": it pays; "base": the base alone is better; "off": the decoded pictures are best.
        reason: why no update is sent; empty where one is.
        payload: of the update; None where none is sent.
        scope, tensors, steps: which parameters were free; which tensors are sent, with which quantisation step.
        message_bytes: of one SEI NAL unit with the update; it is sent `len(segment.copies)` times.
        price: what bytes cost here.
        decoded, base, update: PSNR of each picture; `update` is None where none was found at all.
    """

    segment: Segment
    decision: Decision
    reason: str
    payload: bytes | None
    scope: str
    steps: Mapping[str, float]
    message_bytes: int
    price: Price
    decoded: Sequence[Difference]
    base: Sequence[Difference]
    update: Sequence[Difference] | None

    def document(self) -> dict[str, Any]:
        """For a report: plain data."""
        shown = {"off": self.decoded, "base": self.base, "update": self.update}[self.decision]
        assert shown is not None
        cost = self.price.cost(self.message_bytes) if self.message_bytes else 0.0
        return {
            "segment": asdict(self.segment),
            "decision": self.decision,
            "reason": self.reason,
            "params": self.scope,
            "tensors": dict(self.steps),
            "payload_bytes": None if self.payload is None else len(self.payload),
            "message_bytes": self.message_bytes,
            "copies": len(self.segment.copies),
            "slope": self.price.slope,
            "serves_bytes": self.price.stream_bytes,
            "cost_db": cost,
            "gain_base_db": asdict(gain(self.decoded, self.base)),
            "gain_update_db": None if self.update is None else asdict(gain(self.base, self.update)),
            "psnr_decoded": average(self.decoded).psnr,
            "psnr_base": average(self.base).psnr,
            "psnr_update": None if self.update is None else average(self.update).psnr,
            "psnr_result": average(shown).psnr,
            "pictures": [
                {"output_index": self.segment.first + at, "psnr_decoded": d.psnr, "psnr_result": r.psnr}
                for at, (d, r) in enumerate(zip(self.decoded, shown, strict=True))
            ],
        }


def scopes_to_try(base: Base, params: str) -> list[str]:
    """What "auto" tries: all parameters; and the tensor of a prepared base alone, which costs next to nothing."""
    if params != "auto":
        return [params]
    prepared = update_tensor(base.model)
    return [*(["+".join(prepared.spans)] if prepared is not None else []), "all"]


def adapt_segment(
    base: Base,
    message: NnpfCharacteristics,
    segment: Segment,
    pictures: Sequence[ClipPicture],
    options: AdaptOptions,
    *,
    codec: Codec,
    tell: Callable[[Progress], None] = lambda _: None,
) -> SegmentResult:
    """Fit and code an update for one segment, and decide whether it pays.

    Raises:
        NnpfError: the filter is of a kind that cannot be adapted, has no such parameters, or a checkpoint is of another
            run.
    """
    return _Adaptation(base, message, segment, pictures, options, codec, tell).run()


class _Adaptation:
    def __init__(
        self,
        base: Base,
        message: NnpfCharacteristics,
        segment: Segment,
        pictures: Sequence[ClipPicture],
        options: AdaptOptions,
        codec: Codec,
        tell: Callable[[Progress], None],
    ) -> None:
        self._base, self._segment, self._pictures, self._options = base, segment, pictures, options
        self._tell = tell
        model = base.model
        process = check_supported(model, message, pictures[0])
        self._checkpoint = Checkpoint(
            options.checkpoints, segment.index, self._identity(message), resume=options.resume
        )
        self._receiver = Receiver(message, threads=options.threads)
        self._decoded = self._receiver.measure(None, pictures)
        self._filtered = self._receiver.measure(model, pictures)
        qp = float(np.mean([picture.picture.slice_qp_y for picture in pictures]))
        slope = options.slope if options.slope is not None else default_slope(qp)
        self._price = Price(slope, options.serves or segment.stream_bytes, len(segment.copies))
        watched = evenly(range(len(pictures)), WATCHED_PICTURES)
        self._watched = [pictures[at] for at in watched]
        self._watched_before = [self._filtered[at] for at in watched]
        self._coder = Coder(
            base,
            message,
            self._receiver,
            self._watched,
            self._watched_before,
            self._price,
            codec=codec,
            budget=options.budget,
            threads=options.threads,
        )
        trained = evenly(range(len(pictures)), TRAINED_PICTURES)
        self._data = FitData(
            [training_picture(model, process, pictures[at]) for at in trained],
            [channel_weights(process, self._filtered[at]) for at in trained],
        )

    def _identity(self, message: NnpfCharacteristics) -> str:
        """What a checkpoint must agree with."""
        digest = hashlib.sha256(self._base.model.sha256.encode())
        for picture in self._pictures:
            for plane in (*picture.decoded.planes, *picture.original.planes):
                digest.update(np.ascontiguousarray(plane).data)
        o = self._options
        settings = [o.params, o.budget, o.steps, o.seed, o.slope, o.serves, message.nnpfc_id, asdict(self._segment)]
        digest.update(json.dumps(settings).encode())
        return digest.hexdigest()

    def run(self) -> SegmentResult:
        done = self._checkpoint.decisions.get("done")
        if done is not None:
            payload = base64.b64decode(done["payload"]) if done["payload"] else None
            scope = str(done["scope"])
        else:
            payload, scope = self._fitted()
            coded64 = base64.b64encode(payload).decode() if payload else None
            self._checkpoint.decide(done={"payload": coded64, "scope": scope})
        coded = None if payload is None else self._coder.judged(payload, self._pictures, self._filtered)
        return self._decided(coded, scope)

    # --- fitting ---

    def _fitted(self) -> tuple[bytes | None, str]:
        """The best payload, and which parameters were free."""
        best: Coded | None = None
        scopes = scopes_to_try(self._base, self._options.params)
        chosen = scopes[0]
        for scope in scopes:
            found = self._best_of(scope)
            if found is not None and (best is None or found.net > best.net):
                best, chosen = found, scope
        return (None if best is None else best.payload), chosen

    def _best_of(self, scope: str) -> Coded | None:
        fit = Fit(
            self._base.model,
            scope_of(self._base.model, scope),
            self._data,
            device=self._options.device,
            seed=self._options.seed,
            threads=self._options.threads,
        )
        parameters = {name: self._coder.parameter(float(h.mean()), STEP_MULTIPLE) for name, h in fit.curvature.items()}
        state = self._descended(fit, parameters)
        return self._coder.best(fit.deltas(state), fit.curvature, parameters)

    def _descended(self, fit: Fit, parameters: Mapping[str, int]) -> State:
        """The state with the best look. The fit goes on until it stands still, or its steps are done."""
        total, decisions = self._options.steps, self._checkpoint.decisions.get(fit.label, {})
        stride = max(1, math.ceil(total / _LOOKS))
        steps = {name: step_size(qp, DENSITY) for name, qp in parameters.items()}
        start = fit.start()
        state, best = (self._checkpoint.load(f"{fit.label} {name}", start) for name in ("now", "best"))
        scores: list[float] = list(decisions.get("scores", []))
        gains: list[float] = list(decisions.get("gains", []))
        pace, pressure = float(decisions.get("pace", 1)), float(decisions.get("pressure", 1))
        patient_from = int(decisions.get("patient_from", 0))
        while state.step < total and pace >= _LEAST_PACE and not stands_still(scores, patient_from):
            state = fit.run(
                state,
                min(total, (state.step // stride + 1) * stride),
                total,
                rate=pressure * self._price.per_byte,
                learning_rate=pace * LEARNING_RATE,
                steps=steps,
            )
            coded = self._coder.exact(fit.deltas(state), parameters)
            gained, size = (0.0, 0) if coded is None else (coded.gain.combined, len(coded.payload))
            excess = size / (self._options.budget or math.inf)
            # An update without any difference is not sent and costs nothing.
            score = (0.0 if coded is None else coded.net) - (_OVER_BUDGET if excess > 1 else 0.0)
            self._tell(Progress(self._segment.index, fit.label, state.step, total, gained, size))
            if not scores or score > max(scores):
                best = state
                self._checkpoint.save(f"{fit.label} best", best)
            elif gained < max(gains) - _LOST and excess <= 1:
                state, pace = State(state.step, best.values, best.first, best.second), pace / 2
                patient_from = len(scores) + 1
            if excess > 1:
                pressure *= min(_LARGEST_PRESSURE, excess)
            scores.append(score)
            gains.append(gained)
            self._checkpoint.save(f"{fit.label} now", state)
            decided = {
                "scores": scores,
                "gains": gains,
                "pace": pace,
                "pressure": pressure,
                "patient_from": patient_from,
            }
            self._checkpoint.decide(**{fit.label: decided})
        return best

    # --- deciding ---

    def _decided(self, coded: Coded | None, scope: str) -> SegmentResult:
        over_decoded = gain(self._decoded, self._filtered)
        fallback: Decision = "base" if min(over_decoded.combined, over_decoded.luma) >= 0 else "off"
        decision: Decision = fallback
        reason = ""
        after: Sequence[Difference] | None = None
        if coded is None:
            limit = "" if self._options.budget is None else f" that keeps to {self._options.budget} bytes"
            reason = f"no update{limit} changes anything for the better"
        else:
            after = coded.measured
            # The same over the decoded pictures: an update must make up for a base that does harm, too.
            total = min(
                over_decoded.combined + coded.gain.combined - self._price.cost(coded.message_bytes),
                over_decoded.luma + coded.gain.luma - self._price.luma_cost(coded.message_bytes),
            )
            cost = self._price.cost(coded.message_bytes)
            if coded.net <= _COST_DOUBT * cost:
                reason = (
                    f"{coded.message_bytes} bytes cost {cost:.3f} dB, give or take {_COST_DOUBT:.0%}; the gain is "
                    f"{coded.gain.combined:.3f} dB ({coded.gain.luma:.3f} dB of luma)"
                )
            elif total <= 0:
                reason = "the decoded pictures are better than those filtered with the update"
            else:
                decision = "update"
                self._check(coded)
        sent = coded if decision == "update" else None
        return SegmentResult(
            self._segment,
            decision,
            reason,
            None if sent is None else sent.payload,
            scope,
            {} if coded is None else coded.steps,
            0 if coded is None else coded.message_bytes,
            self._price,
            self._decoded,
            self._filtered,
            after,
        )

    def _check(self, coded: Coded) -> None:
        """The payload, decoded once more and applied to the base, is the model that was measured; NnpfError if not."""
        received = apply_update(self._base, coded.message, ModelSources())
        for name, value in coded.model.parameters.items():
            if not np.array_equal(received.parameters[name], value):
                raise NnpfError(f"the update does not decode to what was measured: {name!r} differs")
        changed = {
            name
            for name, value in coded.model.parameters.items()
            if not np.array_equal(value, self._base.model.parameters[name])
        }
        if changed - set(coded.tensors):
            raise NnpfError(f"changed, and not in the update: {', '.join(sorted(changed - set(coded.tensors)))}")


def stands_still(scores: Sequence[float], patient_from: int) -> bool:
    """Whether the last looks brought nothing. Those before `patient_from` are not held against the fit."""
    recent = scores[max(patient_from, _LOOKS // 2 - _PATIENCE) :][-_PATIENCE:]
    return len(recent) == _PATIENCE and max(recent) < max(scores[:-_PATIENCE]) + _STANDSTILL
