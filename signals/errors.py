"""Errors of this app, by what the caller must do.

ParameterError (signals.parameters.parameter)   show the text; nothing was saved
└── StaleParameters                             somebody saved in between: show both, ask again
"""

from signals.parameters.parameter import ParameterError


class StaleParameters(ParameterError):
    """The set was edited from a version that is no longer the active one."""
