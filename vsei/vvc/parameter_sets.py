"""The parameter sets that a decoder holds. Their identifiers are one space for all layers (H.266 7.4.2.4.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from vsei.syntax import Syntax
from vsei.vvc.pps import Pps
from vsei.vvc.sps import Sps
from vsei.vvc.vps import Vps


@dataclass(slots=True)
class ParameterSets:
    """By identifier, as last received."""

    vps: dict[int, Vps] = field(default_factory=dict)
    sps: dict[int, Sps] = field(default_factory=dict)
    pps: dict[int, Pps] = field(default_factory=dict)

    def of_picture(self, s: Syntax, pps_id: int) -> tuple[Sps, Pps]:
        """The sets that a picture header refers to. VseiError when one has not come."""
        pps = self.pps.get(pps_id)
        if pps is None:
            raise s.fail("ph_pic_parameter_set_id", f"PPS {pps_id} has not come")
        sps_id = pps.values["pps_seq_parameter_set_id"]
        sps = self.sps.get(sps_id)
        if sps is None:
            raise s.fail("pps_seq_parameter_set_id", f"SPS {sps_id} has not come")
        return sps, pps
