"""The form in which networks run fast."""

from torch import nn


def inference_form(network: nn.Sequential) -> nn.Sequential:
    """Return a network for inference from one in the form in which it is trained."""
    return network
