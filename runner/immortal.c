#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "runner/immortal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#ifdef _Py_IMMORTAL_REFCNT

/* Objects that are immortal, while what they refer to may not be yet. */
struct pending {
	PyObject **object;
	size_t count, capacity;
	bool failed;
};

static int make_immortal(PyObject *object, void *context)
{
	struct pending *pending = context;
	PyObject **more;

	if (!object || _Py_IsImmortal(object) || pending->failed)
		return 0;
	if (pending->count == pending->capacity) {
		pending->capacity = pending->capacity ? 2 * pending->capacity : 4096;
		more = realloc(pending->object, pending->capacity * sizeof(*more));
		if (!more) {
			pending->failed = true;
			return 0;
		}
		pending->object = more;
	}
	Py_SET_REFCNT(object, _Py_IMMORTAL_REFCNT);
	pending->object[pending->count++] = object;
	return 0;
}

/* The collector does not know code, and what that refers to. */
static void make_code_immortal(PyCodeObject *code, struct pending *pending)
{
	PyObject *const parts[] = {code->co_consts, code->co_names, code->co_exceptiontable,
		code->co_localsplusnames, code->co_localspluskinds, code->co_filename,
		code->co_name, code->co_qualname, code->co_linetable};
	size_t i;

	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		make_immortal(parts[i], pending);
}

static void make_referents_immortal(PyObject *object, struct pending *pending)
{
	traverseproc traverse = Py_TYPE(object)->tp_traverse;

	if (traverse)
		traverse(object, make_immortal, pending);
	else if (PyCode_Check(object))
		make_code_immortal((PyCodeObject *)object, pending);
}

static int visit(PyObject *object, void *context)
{
	make_immortal(object, context);
	make_referents_immortal(object, context); /* also of one that was immortal before */
	return 1;
}

int immortal_make_all(struct err *err)
{
	struct pending pending = {0};
	bool failed;

	PyUnstable_GC_VisitObjects(visit, &pending);
	while (pending.count && !pending.failed)
		make_referents_immortal(pending.object[--pending.count], &pending);
	failed = pending.failed;
	free(pending.object);
	return failed ? err_set(err, ENOMEM, "make objects immortal") : 0;
}

#else

int immortal_make_all(struct err *err)
{
	(void)err;
	return 0;
}

#endif
