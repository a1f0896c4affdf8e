#define PY_SSIZE_T_CLEAN
#include "runner/python_module.h"

#include "runner/channel.h"
#include "runner/guarded.h"
#include "runner/heat.h"
#include "runner/outputs.h"
#include "sandbox/frame.h"
#include "sandbox/globs.h"
#include "sandbox/job.h"
#include "sandbox/json_scan.h"

#include <signal.h>
#include <sys/random.h>

enum {
	RESERVE_BYTES = 4 << 20,
};

static const char *venv; /* NULL: none */
static bool has_system_packages = true;
static int channel_fd = -1;
static void *memory_reserve; /* given back when a script ran out of memory, to say so */

/* send(type, payload, is_last=False): one frame, and the last word of all behind it. */
static PyObject *vivarium_send(PyObject *self, PyObject *arguments)
{
	const char *payload;
	Py_ssize_t length;
	unsigned type;
	int is_last = 0, r;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "Iy#|p", &type, &payload, &length, &is_last))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	r = channel_send(channel_fd, (enum frame_type)type, payload, (size_t)length, is_last);
	Py_END_ALLOW_THREADS
	if (r < 0) {
		errno = -r;
		return PyErr_SetFromErrno(PyExc_OSError);
	}
	Py_RETURN_NONE;
}

/* send_file(path, most): one output file; its size, which was not sent if it is over most. */
static PyObject *vivarium_send_file(PyObject *self, PyObject *arguments)
{
	unsigned long long most;
	const char *path;
	uint64_t size;
	int r;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "yK", &path, &most))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	r = outputs_send_file(channel_fd, path, most, &size);
	Py_END_ALLOW_THREADS
	if (r < 0) {
		errno = -r;
		return PyErr_SetFromErrno(PyExc_OSError);
	}
	return PyLong_FromUnsignedLongLong(size);
}

/* globs_match(globs, path): whether a file is one that was asked for; both in bytes. */
static PyObject *vivarium_globs_match(PyObject *self, PyObject *arguments)
{
	const char *globs, *path;
	Py_ssize_t length, path_length;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "y#y#", &globs, &length, &path, &path_length))
		return NULL;
	return PyBool_FromLong(globs_match(globs, (size_t)length, path, (size_t)path_length));
}

/* scan(text): None when the bytes are JSON that a client can read, else what is wrong. */
static PyObject *vivarium_scan(PyObject *self, PyObject *arguments)
{
	const struct json_scan_options options = {.max_bytes = SIZE_MAX,
		.max_depth = RESULT_MAX_DEPTH,
		.max_number_digits = RESULT_MAX_DIGITS,
		.ascii_only = true};
	struct json_scan_result result;
	const char *text;
	Py_ssize_t length;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "y#", &text, &length))
		return NULL;
	if (json_scan(text, (size_t)length, &options, NULL, NULL, &result) == 0)
		Py_RETURN_NONE;
	return PyUnicode_FromString(json_scan_error_text(result.error));
}

/* spare_memory(): gives the reserve back, so that a script out of memory can be told. */
static PyObject *vivarium_spare_memory(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	free(memory_reserve);
	memory_reserve = NULL;
	Py_RETURN_NONE;
}

/*
 * Python's allocator for what is too large for its own pools, wrapped to remember the size that was
 * refused last: a MemoryError does not tell.
 */
static PyMemAllocatorEx raw_allocator;
static size_t refused_bytes;

static void *note_refused(void *block, size_t bytes)
{
	if (!block)
		refused_bytes = bytes;
	return block;
}

static void *raw_malloc(void *context, size_t bytes)
{
	(void)context;
	return note_refused(raw_allocator.malloc(raw_allocator.ctx, bytes), bytes);
}

static void *raw_calloc(void *context, size_t count, size_t bytes)
{
	(void)context;
	return note_refused(raw_allocator.calloc(raw_allocator.ctx, count, bytes), count * bytes);
}

static void *raw_realloc(void *context, void *old, size_t bytes)
{
	(void)context;
	return note_refused(raw_allocator.realloc(raw_allocator.ctx, old, bytes), bytes);
}

static void raw_free(void *context, void *block)
{
	(void)context;
	raw_allocator.free(raw_allocator.ctx, block);
}

void python_module_wrap_allocator(void)
{
	PyMemAllocatorEx wrapper = {NULL, raw_malloc, raw_calloc, raw_realloc, raw_free};

	PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &raw_allocator);
	PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &wrapper);
}

/* refused_bytes(): size of the last allocation that failed, 0 if none did. */
static PyObject *vivarium_refused_bytes(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	return PyLong_FromSize_t(refused_bytes);
}

/* draw(address, bytes): fills memory of the interpreter's own with random bytes. */
static PyObject *vivarium_draw(PyObject *self, PyObject *arguments)
{
	unsigned long long address;
	Py_ssize_t bytes, at, n;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "Kn", &address, &bytes))
		return NULL;
	for (at = 0; at < bytes; at += n) {
		n = getrandom((char *)(uintptr_t)address + at, (size_t)(bytes - at), 0);
		if (n < 0)
			return PyErr_SetFromErrno(PyExc_OSError);
	}
	Py_RETURN_NONE;
}

/* begin_module(name): which module is being imported from here on. */
static PyObject *vivarium_begin_module(PyObject *self, PyObject *arguments)
{
	const char *name;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "s", &name))
		return NULL;
	heat_begin_module(name);
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{"begin_module", vivarium_begin_module, METH_VARARGS,
		"begin_module(name): which one is being imported"},
	{"draw", vivarium_draw, METH_VARARGS, "draw(address, bytes): random bytes in place"},
	{"send", vivarium_send, METH_VARARGS, "send(type, payload, is_last=False): one frame"},
	{"send_file", vivarium_send_file, METH_VARARGS, "send_file(path, most): one output file"},
	{"globs_match", vivarium_globs_match, METH_VARARGS,
		"globs_match(globs, path): whether the file was asked for"},
	{"scan", vivarium_scan, METH_VARARGS, "scan(text): None or what is wrong with the JSON"},
	{"guarded", guarded_new, METH_VARARGS, "guarded(guard, function): guard is called first"},
	{"refused_bytes", vivarium_refused_bytes, METH_NOARGS, "size of the last failed allocation"},
	{"spare_memory", vivarium_spare_memory, METH_NOARGS, "give the reserve back"},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_vivarium",
	.m_size = -1,
	.m_methods = methods,
};

static const struct number {
	const char *name;
	long value;
} numbers[] = {
	{"FRAME_RESULT", FRAME_RESULT},
	{"FRAME_FAILURE", FRAME_FAILURE},
	{"FRAME_TRACEBACK", FRAME_TRACEBACK},
	{"FRAME_DONE", FRAME_DONE},
	{"FRAME_CONTENT", FRAME_CONTENT},
	{"FRAME_FIGURE", FRAME_FIGURE},
	{"FRAME_FILES", FRAME_FILES},
	{"FRAME_WARNING", FRAME_WARNING},
	{"EXCEPTION", VERDICT_EXCEPTION},
	{"MEMORY", VERDICT_MEMORY},
	{"EXIT", VERDICT_EXIT},
	{"SYNTAX", VERDICT_SYNTAX},
	{"NO_MAIN", VERDICT_NO_MAIN},
	{"NOT_JSON", VERDICT_NOT_JSON},
	{"BLOCKED_IMPORT", VERDICT_BLOCKED_IMPORT},
	{"ERROR_TEXT_MAX_BYTES", ERROR_TEXT_MAX_BYTES},
	{"ERROR_TYPE_MAX_BYTES", ERROR_TYPE_MAX_BYTES},
	{"TRACEBACK_MAX_BYTES", TRACEBACK_MAX_BYTES},
	{"WARNING_MAX_BYTES", WARNING_MAX_BYTES},
	{"CONTENT_MAX_BYTES", CONTENT_MAX_BYTES},
	{"FILES_MAX", FILES_MAX},
	{"FILES_MAX_BYTES", FILES_MAX_BYTES},
	{"FIGURES_MAX", FIGURES_MAX},
	{"FIGURES_MAX_BYTES", FIGURES_MAX_BYTES},
	{"FLAG_FIGURES", JOB_FIGURES},
	{"FLAG_RICH", JOB_RICH},
	{"FLAG_ENTRY_IF_DEFINED", JOB_ENTRY_IF_DEFINED},
	{"FLAG_OWN", JOB_OWN},
};

PyObject *python_module_make(void)
{
	PyObject *module = PyModule_Create(&module_definition);
	size_t i;

	for (i = 0; module && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (PyModule_AddIntConstant(module, numbers[i].name, numbers[i].value) < 0)
			Py_CLEAR(module);
	}
	if (module && PyModule_AddIntConstant(module, "TRACE_SIGNAL", SIGRTMAX) < 0)
		Py_CLEAR(module);
	if (module && PyModule_AddStringConstant(module, "VENV", venv ? venv : "") < 0)
		Py_CLEAR(module);
	if (module && PyModule_AddIntConstant(module, "SYSTEM_PACKAGES", has_system_packages) < 0)
		Py_CLEAR(module);
	return module;
}

void python_module_set_venv(const char *path, bool has_system)
{
	venv = path;
	has_system_packages = has_system;
}

void python_module_set_channel(int channel)
{
	channel_fd = channel;
}

void python_module_reserve_memory(void)
{
	if (!memory_reserve)
		memory_reserve = malloc(RESERVE_BYTES);
}
