/* A Python function behind a guard. For what is in C and talks to Python. */
#ifndef VIVARIUM_GUARDED_H
#define VIVARIUM_GUARDED_H

#include <Python.h>

/*
 * guarded(guard, function), as a method of a module: a function that calls the guard with what it
 * is called with, and then, unless that raised something, function. It leaves no frame of its own:
 * tracebacks and sys._getframe() do not see it. Returns a new reference, or NULL with an exception.
 */
PyObject *guarded_new(PyObject *self, PyObject *arguments);

#endif
