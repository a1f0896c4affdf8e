/* The embedded interpreter, and the module "_vivarium" through which the harness speaks. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "runner/python.h"
#include "sandbox/frame.h"
#include "sandbox/job.h"
#include "sandbox/json_scan.h"

#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static PyObject *harness_module;
static const char *directory = "/tmp";
static int channel_fd = -1;
static void *memory_reserve; /* given back when a script ran out of memory, to say so */

enum {
	RESERVE_BYTES = 4 << 20,
};

const char *python_name(void)
{
	return "python" Py_STRINGIFY(PY_MAJOR_VERSION) "." Py_STRINGIFY(PY_MINOR_VERSION);
}

/* Writes all parts to the channel; the socket is blocking and the worker always drains it. */
static int send_all(const struct frame_header *header, const char *payload)
{
	struct iovec parts[2] = {{.iov_base = (void *)header, .iov_len = sizeof(*header)},
		{.iov_base = (void *)payload, .iov_len = header->length}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	size_t left = sizeof(*header) + header->length;
	ssize_t n;

	while (left) {
		n = sendmsg(channel_fd, &message, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		left -= (size_t)n;
		while (message.msg_iovlen && (size_t)n >= message.msg_iov->iov_len) {
			n -= (ssize_t)message.msg_iov->iov_len;
			message.msg_iov++;
			message.msg_iovlen--;
		}
		if (message.msg_iovlen) {
			message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + n;
			message.msg_iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

/* send(type, payload): one frame. */
static PyObject *vivarium_send(PyObject *self, PyObject *arguments)
{
	struct frame_header header;
	const char *payload;
	Py_ssize_t length;
	unsigned type;
	int r;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "Iy#", &type, &payload, &length))
		return NULL;
	header = (struct frame_header){.type = type, .length = (uint32_t)length};
	Py_BEGIN_ALLOW_THREADS
	r = send_all(&header, payload);
	Py_END_ALLOW_THREADS
	if (r < 0) {
		errno = -r;
		return PyErr_SetFromErrno(PyExc_OSError);
	}
	Py_RETURN_NONE;
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

static PyMethodDef methods[] = {
	{"send", vivarium_send, METH_VARARGS, "send(type, payload): one frame to the worker"},
	{"scan", vivarium_scan, METH_VARARGS, "scan(text): None or what is wrong with the JSON"},
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
	{"EXCEPTION", VERDICT_EXCEPTION},
	{"EXIT", VERDICT_EXIT},
	{"SYNTAX", VERDICT_SYNTAX},
	{"NO_MAIN", VERDICT_NO_MAIN},
	{"NOT_JSON", VERDICT_NOT_JSON},
	{"ERROR_TEXT_MAX_BYTES", ERROR_TEXT_MAX_BYTES},
	{"ERROR_TYPE_MAX_BYTES", ERROR_TYPE_MAX_BYTES},
	{"TRACEBACK_MAX_BYTES", TRACEBACK_MAX_BYTES},
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
	return module;
}

/* The pending exception as one line in *err. */
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
	err_set(err, code, "%s: %s: %.120s", what,
		type ? ((PyTypeObject *)type)->tp_name : "no exception", words ? words : "");
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

static void set_environment(void)
{
	const char *const pairs[][2] = {
		{"PATH", "/usr/bin:/bin"},
		{"HOME", directory},
		{"TMPDIR", directory},
		{"LANG", "C.UTF-8"},
		{"TZ", "UTC"},
		{"MPLBACKEND", "Agg"},
		{"MPLCONFIGDIR", directory},
		/* a library's own threads would not survive the fork */
		{"OPENBLAS_NUM_THREADS", "1"},
		{"OMP_NUM_THREADS", "1"},
		{"MKL_NUM_THREADS", "1"},
		{"NUMEXPR_NUM_THREADS", "1"},
	};
	size_t i;

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

int python_start(const char *harness, size_t length, struct err *err)
{
	PyObject *source = NULL, *code = NULL;
	int r;

	set_environment();
	if (PyImport_AppendInittab("_vivarium", make_module) < 0)
		return err_set(err, ENOMEM, "register _vivarium");
	r = initialise(err);
	if (r < 0)
		return r;
	source = PyBytes_FromStringAndSize(harness, (Py_ssize_t)length);
	if (source)
		code = Py_CompileString(PyBytes_AS_STRING(source), "<vivarium>", Py_file_input);
	if (code)
		harness_module = PyImport_ExecCodeModule("_vivarium_harness", code);
	Py_XDECREF(code);
	Py_XDECREF(source);
	return harness_module ? 0 : exception(err, EIO, "load the harness");
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

int python_warm(const char *sample, size_t length, struct err *err)
{
	PyObject *done = PyObject_CallMethod(
		harness_module, "warm", "y#", sample, (Py_ssize_t)length);

	Py_XDECREF(done);
	return done ? 0 : exception(err, EIO, "run the sample script");
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

int python_run(const struct python_job *job, int channel, struct err *err)
{
	PyObject *done;

	channel_fd = channel;
	done = PyObject_CallMethod(harness_module, "run", "y#z#", job->script,
		(Py_ssize_t)job->script_bytes, job->entry, (Py_ssize_t)job->entry_bytes);
	Py_XDECREF(done);
	return done ? 0 : exception(err, EIO, "report the outcome");
}
