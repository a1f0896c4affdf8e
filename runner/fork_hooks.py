"""Keeps what libraries want done at a fork until there is a script that forks.

The first module that the template loads: threading and its like are to be imported after it.
"""

import os

_postponed_hooks = []
_register_at_fork = os.register_at_fork


def _postpone_fork_hooks(**hooks):
    """os.register_at_fork while the template is made: what libraries ask for is kept for later.

    The fork that makes an execution needs none of it, but each hook that runs touches memory that
    then has to be copied. Forks of the script itself get them all (see install).
    """
    _postponed_hooks.append(hooks)


os.register_at_fork = _postpone_fork_hooks


def install():
    """In an execution: from here on forks run all hooks, those that were kept included."""
    os.register_at_fork = _register_at_fork
    for hooks in _postponed_hooks:
        _register_at_fork(**hooks)
