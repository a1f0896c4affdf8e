/* The module "_vivarium", through which the harness speaks. For python.c; CPython's own rules hold. */
#ifndef VIVARIUM_PYTHON_MODULE_H
#define VIVARIUM_PYTHON_MODULE_H

#include <Python.h>

#include <stdbool.h>

/* For PyImport_AppendInittab. Returns a new reference, or NULL with an exception set. */
PyObject *python_module_make(void);

/*
 * Has the allocator for large blocks remember what it refused, for the harness to tell. Between
 * pre-initialisation and initialisation of Python.
 */
void python_module_wrap_allocator(void);

/* As python_set_venv; what the harness learns of it. Before the module is made. */
void python_module_set_venv(const char *path, bool has_system);

/* Where frames are sent from now on; stays the caller's. */
void python_module_set_channel(int channel);

/* Keeps memory that a script which has run out of it is told with; once is enough. */
void python_module_reserve_memory(void);

#endif
