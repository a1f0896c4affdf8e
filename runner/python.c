/* The embedded interpreter. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "runner/python.h"

#include "runner/heat_survey.h"
#include "runner/immortal.h"
#include "runner/placing.h"
#include "runner/python_module.h"

#include <limits.h>
#include <malloc.h>
#include <unistd.h>

#ifdef Py_GIL_DISABLED
#error "without the GIL objects have another allocator: see runner/placing.h"
#endif

static PyObject *harness_module;
static const char *directory = "/tmp";

enum {
	SMALL_MAX_BYTES = 512,
	POOL_BYTES = 16384 - 64, /* in a pool of 3.10 and later, without its header */
	HOLES_MAX = 1 << 16, /* of one size; should an allocator be another one, or its heap elsewhere */
	GAP_MAX_BYTES = 120 << 10, /* larger blocks get mappings of their own at first (mallopt(3)) */
};

const char *python_name(void)
{
	return "python" Py_STRINGIFY(PY_MAJOR_VERSION) "." Py_STRINGIFY(PY_MINOR_VERSION);
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
	python_module_set_venv(path, has_system);
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

/* Python's own allocator for objects, which is that for what objects hold, too. */
static struct allocator own_allocator;

static void set_allocator(void)
{
	struct allocator front = heat_survey_is_on() ? heat_survey_allocator(&own_allocator)
						     : placing_allocator(&own_allocator);
	PyMemAllocatorEx wanted = {
		front.context, front.malloc, front.calloc, front.realloc, front.free};

	PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &wanted);
	PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &wanted);
}

static void take_allocators(void)
{
	PyMemAllocatorEx own;

	python_module_wrap_allocator();
	PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &own);
	own_allocator =
		(struct allocator){own.ctx, own.malloc, own.calloc, own.realloc, own.free};
	set_allocator();
}

void python_end_placing(void)
{
	heat_end_names();
	set_allocator();
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
	take_allocators(); /* the moment for it, by the C API's manual */
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
	if (PyImport_AppendInittab("_vivarium", python_module_make) < 0)
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
			block = own_allocator.malloc(own_allocator.context, size);
			run = last && block == last + size ? run + 1 : 0;
			last = block;
		}
	}
}

/*
 * The same with the C library's: what is free between its blocks is taken and kept, the largest
 * first, and what executions allocate lies together at the end of the heap.
 */
static void fill_gaps(void)
{
	const char *end = (char *)sbrk(0) - mallinfo2().keepcost;
	char *volatile block; /* or the compiler would remove it */
	size_t size, count;

	for (size = GAP_MAX_BYTES; size >= 16; size -= 16) {
		count = 0;
		do {
			block = malloc(size);
		} while (block && block < end && ++count < HOLES_MAX);
		if (block >= end)
			free(block);
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
	int r;

	if (!done)
		return exception(err, EIO, "settle");
	Py_DECREF(done);
	r = immortal_make_all(err);
	if (r < 0)
		return r;
	if (!heat_survey_is_on()) { /* whose allocator is another one */
		fill_holes();
		fill_gaps();
	}
	python_module_reserve_memory();
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

int python_warm_caches(struct err *err)
{
	PyObject *done = PyObject_CallMethod(harness_module, "warm_caches", NULL);

	Py_XDECREF(done);
	return done ? 0 : exception(err, EIO, "warm caches");
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

	python_module_set_channel(channel);
	given = gather(job);
	if (given)
		done = PyObject_CallMethod(harness_module, "run", "y#z#IO", job->script,
			(Py_ssize_t)job->script_bytes, job->entry, (Py_ssize_t)job->entry_bytes,
			job->flags, given);
	Py_XDECREF(given);
	Py_XDECREF(done);
	return done ? 0 : exception(err, EIO, "report the outcome");
}
