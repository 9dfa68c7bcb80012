"""What known decoders of NNPF messages need: facts in one place, for the rules and for whoever writes for them.

A writer gives each element the first of the values accepted:

    elements = {name: values[0] for name, values in NOKIA.base.items()}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vsei.messages.nnpf import MODE_NNC, MODE_URI, STRENGTH_INPUT, VISUAL_QUALITY

Accepted = Mapping[str, tuple[int | str, ...]]  # element -> values that are taken, the best one first


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A decoder that reads NNPF messages.

    Attributes:
        name: as `--for` takes it.
        version: that the facts were seen in.
        base, update, activation: elements with the values that are taken. Elements that are not named are free.
        uri_prefix: how nnpfc_uri of a base begins.
        max_id: largest nnpfc_id.
        different_messages: whether a picture may have different messages of one payload type: base and update, or two
            activations. Where not, an update or a second filter waits for the next picture.
        base_resets: a base, repeated or not, drops update and activation of its id: they must follow in the same
            picture, after it.
        update_wins: once an update came, it is used, whatever nnpfa_target_base_flag says.
        update_base: the file that updates are applied to, whatever nnpfc_uri of the base says.
        activation_once: an activation that persists is not to come again while it is in force.
    """

    name: str
    version: str
    base: Accepted = field(default_factory=dict)
    update: Accepted = field(default_factory=dict)
    activation: Accepted = field(default_factory=dict)
    uri_prefix: str = ""
    max_id: int = 255
    different_messages: bool = True
    base_resets: bool = False
    update_wins: bool = False
    update_base: str | None = None
    activation_once: bool = False


# The reference software. It applies no filter, but it refuses streams.
VTM = Decoder(
    name="vtm",
    version="VTM 23.13",
    # A prefix NNPFA without output flags stops it. The form of V4 always: it takes the closing bit of a shorter message
    # for nnpfa_prompt_update_flag.
    activation={
        "nnpfa_num_output_entries": (1,),
        "nnpfa_prompt_update_flag": (0, 1),
        "nnpfa_seed_update_flag": (0, 1),
        "nnpfa_selected_input_flag": (0, 1),
    },
    max_id=(1 << 31) - 1,
    different_messages=False,
    # At the end of the stream it checks the activations of the pictures that its buffer holds. Of the filters it knows
    # by then only those of a first picture of a CLVS that the buffer holds, too; else it stops.
    activation_once=True,
)

# github.com/nokia/fraunhoferhhi-vvdec, commit 8db4b94 (April 2026)
NOKIA = Decoder(
    name="nokia-vvdec",
    version="VVdeC 3.1, Nokia 8db4b94",
    base={
        "nnpfc_purpose": (VISUAL_QUALITY, 0),
        "nnpfc_mode_idc": (MODE_URI,),
        "nnpfc_tag_uri": ("tag:onnx.ai,2017:onnx",),
        "nnpfc_property_present_flag": (1,),
        "nnpfc_num_input_pics_minus1": (0,),
        "nnpfc_component_last_flag": (0,),
        "nnpfc_inp_format_idc": (0,),
        "nnpfc_auxiliary_inp_idc": (STRENGTH_INPUT,),
        "nnpfc_inp_order_idc": (3,),
        "nnpfc_out_format_idc": (0,),
        "nnpfc_out_order_idc": (3,),
    },
    update={"nnpfc_mode_idc": (MODE_NNC,), "nnpfc_property_present_flag": (0,)},
    activation={"nnpfa_persistence_flag": (1,)},
    uri_prefix="file://",
    base_resets=True,
    update_wins=True,
    update_base="model3.onnx",
)

DECODERS = {decoder.name: decoder for decoder in (VTM, NOKIA)}
