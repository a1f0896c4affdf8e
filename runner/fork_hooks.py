"""Keeps what libraries want to be run around forks for the forks of the script itself.

The fork that makes an execution needs none of it, but each hook that runs touches memory that then
has to be copied. One hook of ours, which finds out whether a script runs, stands for them all.
"""

import os

_hooks = []
_are_wanted = False
_register_at_fork = os.register_at_fork


def _keep(**hooks):
    _hooks.append(hooks)


def _run(kind, hooks):
    if _are_wanted:
        for each in hooks:
            if kind in each:
                each[kind]()


def postpone():
    """os.register_at_fork while the template imports: what libraries ask for is kept."""
    os.register_at_fork = _keep


def settle():
    """The template is complete: what a script registers is its own."""
    os.register_at_fork = _register_at_fork


def run_from_now_on():
    """An execution: the forks that follow are the script's."""
    global _are_wanted
    _are_wanted = True


_register_at_fork(before=lambda: _run("before", reversed(_hooks)),
                  after_in_parent=lambda: _run("after_in_parent", _hooks),
                  after_in_child=lambda: _run("after_in_child", _hooks))
postpone()
