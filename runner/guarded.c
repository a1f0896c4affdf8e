#define PY_SSIZE_T_CLEAN
#include "runner/guarded.h"

/* pair: the guard and the function. */
static PyObject *call(PyObject *pair, PyObject *arguments, PyObject *keywords)
{
	PyObject *passed = PyObject_Call(PyTuple_GET_ITEM(pair, 0), arguments, keywords);

	if (!passed)
		return NULL;
	Py_DECREF(passed);
	return PyObject_Call(PyTuple_GET_ITEM(pair, 1), arguments, keywords);
}

static PyMethodDef definition = {
	"guarded", (PyCFunction)(void (*)(void))call, METH_VARARGS | METH_KEYWORDS, NULL};

PyObject *guarded_new(PyObject *self, PyObject *arguments)
{
	PyObject *guard, *function, *pair, *made;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "OO", &guard, &function))
		return NULL;
	pair = PyTuple_Pack(2, guard, function);
	if (!pair)
		return NULL;
	made = PyCFunction_New(&definition, pair);
	Py_DECREF(pair);
	return made;
}
