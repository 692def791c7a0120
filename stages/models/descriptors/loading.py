"""load_descriptor: from a name to a descriptor."""

from stages.models.descriptors.base import Descriptor
from stages.models.descriptors.gem import load_gem
from stages.models.descriptors.network import NetworkDescriptor, preprocess
from stages.models.descriptors.pixels import Pixels
from stages.models.descriptors.spec import DescriptorSpec, pixels_side, score_name, sizing
from stages.models.descriptors.sscd import load_sscd
from stages.models.placement import place
from stages.models.source import descriptor_folder
from stages.models.unreadable import UNREADABLE, first_line


def load_descriptor(spec: DescriptorSpec) -> Descriptor:
    """Return the descriptor that `spec` names, on its device.

    Its type is float32 unless the spec says otherwise: rounding would move scores near a threshold.
    """
    if pixels_side(spec.model) is not None:
        return Pixels(score_name(spec), sizing(spec).height)
    placement = place(spec)
    try:
        load = load_sscd if spec.model.startswith("sscd:") else _folder
        return load(spec).to(placement, spec.batch)
    except UNREADABLE as error:
        raise ValueError(
            f"descriptor {spec.model!r}: expected readable weights, but found: {first_line(error)}"
        ) from error


def _folder(spec: DescriptorSpec) -> NetworkDescriptor:
    network, config = load_gem(descriptor_folder(spec.model))
    steps = preprocess(sizing(spec), config.mean, config.std)
    return NetworkDescriptor(score_name(spec), network, steps, config.dimension)
