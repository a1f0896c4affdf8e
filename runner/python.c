/* The embedded interpreter, and the module "_vivarium" through which the harness speaks. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "runner/python.h"

#include "runner/channel.h"
#include "runner/guarded.h"
#include "runner/outputs.h"
#include "sandbox/frame.h"
#include "sandbox/job.h"
#include "sandbox/json_scan.h"

#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

static PyObject *harness_module;
static const char *directory = "/tmp";
static const char *venv; /* NULL: none */
static bool has_system_packages = true;
static int channel_fd = -1;
static void *memory_reserve; /* given back when a script ran out of memory, to say so */

enum {
	RESERVE_BYTES = 4 << 20,
	SMALL_MAX_BYTES = 512,
	POOL_BYTES = 16384 - 64, /* in a pool of 3.10 and later, without its header */
	HOLES_MAX = 1 << 16, /* of one size; should the allocator be another one */
};

const char *python_name(void)
{
	return "python" Py_STRINGIFY(PY_MAJOR_VERSION) "." Py_STRINGIFY(PY_MINOR_VERSION);
}

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

static void wrap_allocator(void)
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

static PyMethodDef methods[] = {
	{"draw", vivarium_draw, METH_VARARGS, "draw(address, bytes): random bytes in place"},
	{"send", vivarium_send, METH_VARARGS, "send(type, payload, is_last=False): one frame"},
	{"send_file", vivarium_send_file, METH_VARARGS, "send_file(path, most): one output file"},
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

static PyObject *make_module(void)
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

/* The pending exception in *err, which needs no words for its code besides. */
static int exception(struct err *err, int code, const char *what)
{
	PyObject *type, *value, *traceback;
	PyObject *text = NULL;
	const char *words = NULL;

	PyErr_Fetch(&type, &value, &traceback);
	if (value)
		text = PyObject_Str(value);
	if (text)
		words = PyUnicode_AsUTF8(text);
	if (err) {
		err->code = code;
		snprintf(err->text, sizeof(err->text), "%s: %s: %s", what,
			type ? ((PyTypeObject *)type)->tp_name : "no exception", words ? words : "");
	}
	Py_XDECREF(text);
	Py_XDECREF(type);
	Py_XDECREF(value);
	Py_XDECREF(traceback);
	PyErr_Clear();
	return -code;
}

void python_set_directory(const char *path)
{
	directory = path;
}

const char *python_directory(void)
{
	return directory;
}

void python_set_venv(const char *path, bool has_system)
{
	venv = path;
	has_system_packages = has_system;
}

static void set_environment(void)
{
	char hidden[PATH_MAX]; /* no output file of a script */
	const char *const pairs[][2] = {
		{"PATH", "/usr/bin:/bin"},
		{"HOME", directory},
		{"TMPDIR", directory},
		{"LANG", "C.UTF-8"},
		{"TZ", "UTC"},
		{"MPLBACKEND", "Agg"},
		{"MPLCONFIGDIR", hidden},
		/* a library's own threads would not survive the fork */
		{"OPENBLAS_NUM_THREADS", "1"},
		{"OMP_NUM_THREADS", "1"},
		{"MKL_NUM_THREADS", "1"},
		{"NUMEXPR_NUM_THREADS", "1"},
	};
	size_t i;

	snprintf(hidden, sizeof(hidden), "%s/.matplotlib", directory);
	clearenv();
	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		setenv(pairs[i][0], pairs[i][1], 1);
}

static int initialise(struct err *err)
{
	PyPreConfig before;
	PyConfig config;
	PyStatus status;

	PyPreConfig_InitIsolatedConfig(&before);
	before.utf8_mode = 1;
	status = Py_PreInitialize(&before);
	if (PyStatus_Exception(status))
		return err_set(err, EIO, "start Python: %s", status.err_msg);
	wrap_allocator(); /* the raw domain's moment, by the C API's manual */
	PyConfig_InitIsolatedConfig(&config);
	config.install_signal_handlers = 1;
	config.write_bytecode = 0;
	config.site_import = 0; /* no .pth file of the host is executed; the harness does the rest */
	config.pathconfig_warnings = 0;
	status = PyConfig_SetBytesString(&config, &config.program_name, "/usr/bin/python3");
	if (!PyStatus_Exception(status))
		status = PyConfig_SetBytesString(&config, &config.executable, "/usr/bin/python3");
	if (!PyStatus_Exception(status))
		status = Py_InitializeFromConfig(&config);
	PyConfig_Clear(&config);
	if (PyStatus_Exception(status))
		return err_set(err, EIO, "start Python: %s", status.err_msg);
	return 0;
}

int python_start(struct err *err)
{
	set_environment();
	if (PyImport_AppendInittab("_vivarium", make_module) < 0)
		return err_set(err, ENOMEM, "register _vivarium");
	return initialise(err);
}

int python_load(const char *name, const char *source, struct err *err)
{
	PyObject *code = Py_CompileString(source, "<vivarium>", Py_file_input);
	char full_name[64];

	snprintf(full_name, sizeof(full_name), "_vivarium_%s", name);
	Py_CLEAR(harness_module);
	if (code)
		harness_module = PyImport_ExecCodeModule(full_name, code);
	Py_XDECREF(code);
	return harness_module ? 0 : exception(err, EIO, full_name);
}

int python_import(const char *modules, struct err *err)
{
	PyObject *done = PyObject_CallMethod(harness_module, "import_modules", "s", modules);

	if (done) {
		Py_DECREF(done);
		return 0;
	}
	if (PyErr_ExceptionMatches(PyExc_ModuleNotFoundError))
		return exception(err, ENOENT, "not installed");
	return exception(err, EIO, "import");
}

int python_restrict_imports(const char *denied, const char *allowed, struct err *err)
{
	PyObject *done = PyObject_CallMethod(
		harness_module, "restrict_imports", "ss", denied, allowed);

	Py_XDECREF(done);
	return done ? 0 : exception(err, EIO, "restrict imports");
}

int python_warm(const char *sample, size_t length, struct err *err)
{
	PyObject *done = PyObject_CallMethod(
		harness_module, "warm", "y#", sample, (Py_ssize_t)length);

	Py_XDECREF(done);
	return done ? 0 : exception(err, EIO, "run the sample script");
}

/*
 * Takes what is free in the pools that Python's allocator has begun, and keeps it: what executions
 * allocate then lies together in fresh pages, and not in a hole here and a hole there, each of
 * which is a page to copy. A pool that was not begun hands out blocks one behind the other.
 */
static void fill_holes(void)
{
	char *block, *last;
	size_t size, run, count;

	for (size = 16; size <= SMALL_MAX_BYTES; size += 16) {
		last = NULL;
		run = 0;
		for (count = 0; count < HOLES_MAX && run < POOL_BYTES / size - 1; count++) {
			block = PyObject_Malloc(size);
			run = last && block == last + size ? run + 1 : 0;
			last = block;
		}
	}
}

/*
 * malloc_trim gives free pages back; a large block then makes malloc consolidate and sort its free
 * lists once, here, and not in every child (4.5 ms against 3.8 ms were measured for pandas). The
 * pointer is volatile, or the compiler would remove the pair.
 */
int python_settle(struct err *err)
{
	PyObject *done = PyObject_CallMethod(harness_module, "settle", NULL);
	void *volatile block;

	if (!done)
		return exception(err, EIO, "settle");
	Py_DECREF(done);
	fill_holes();
	if (!memory_reserve)
		memory_reserve = malloc(RESERVE_BYTES);
	malloc_trim(0);
	block = malloc(1 << 20);
	free(block);
	return 0;
}

pid_t python_fork(void)
{
	pid_t pid;

	PyOS_BeforeFork();
	pid = fork();
	if (pid)
		PyOS_AfterFork_Parent();
	else
		PyOS_AfterFork_Child();
	return pid;
}

void python_before_fork(void)
{
	PyOS_BeforeFork();
}

void python_after_fork_parent(void)
{
	PyOS_AfterFork_Parent();
}

int python_wake(struct err *err)
{
	PyObject *done;

	PyOS_AfterFork_Child();
	done = PyObject_CallMethod(harness_module, "wake", "s", directory);
	Py_XDECREF(done);
	return done ? 0 : exception(err, EIO, "wake up");
}

int python_rehearse(struct err *err)
{
	PyObject *done = PyObject_CallMethod(harness_module, "rehearse", NULL);

	Py_XDECREF(done);
	return done ? 0 : exception(err, EIO, "rehearse");
}

/* One part of the job as bytes under its name; the text is freed, for scripts need the memory. */
static int give_text(PyObject *given, const char *name, struct buffer *text)
{
	PyObject *bytes = PyBytes_FromStringAndSize(text->data, (Py_ssize_t)text->length);
	int r = bytes ? PyDict_SetItemString(given, name, bytes) : -1;

	Py_XDECREF(bytes);
	buffer_free(text);
	return r;
}

/* What came with the job beside script and entry; None, and no work, when nothing did. */
static PyObject *gather(struct python_job *job)
{
	static const char *const names[PYTHON_TEXTS] = {[PYTHON_ARGS] = "args",
		[PYTHON_KWARGS] = "kwargs",
		[PYTHON_ARGV] = "argv",
		[PYTHON_ENV] = "env",
		[PYTHON_OUTPUTS] = "outputs"};
	PyObject *given = NULL, *failure;
	size_t i;
	int r = 0;

	for (i = 0; i < PYTHON_TEXTS && !r; i++) {
		if (!job->text[i].length)
			continue;
		given = given ? given : PyDict_New();
		r = given ? give_text(given, names[i], &job->text[i]) : -1;
	}
	if (!r && job->input_error) {
		given = given ? given : PyDict_New();
		failure = Py_BuildValue("(is)", job->input_error, job->input_path);
		r = given && failure ? PyDict_SetItemString(given, "input_error", failure) : -1;
		Py_XDECREF(failure);
	}
	if (r) { /* there is no memory: the script's failure, which the harness reports */
		PyErr_Clear();
		Py_XDECREF(given);
		return Py_BuildValue("{s(is)}", "input_error", ENOMEM, "");
	}
	return given ? given : Py_NewRef(Py_None);
}

int python_run(struct python_job *job, int channel, struct err *err)
{
	PyObject *done = NULL, *given;

	channel_fd = channel;
	given = gather(job);
	if (given)
		done = PyObject_CallMethod(harness_module, "run", "y#z#IO", job->script,
			(Py_ssize_t)job->script_bytes, job->entry, (Py_ssize_t)job->entry_bytes,
			job->flags, given);
	Py_XDECREF(given);
	Py_XDECREF(done);
	return done ? 0 : exception(err, EIO, "report the outcome");
}
