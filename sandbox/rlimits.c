#include "sandbox/rlimits.h"

#include <errno.h>
#include <stddef.h>
#include <sys/resource.h>

static const uint64_t MIB = UINT64_C(1024) * 1024;

struct row {
	int resource;
	uint64_t value;
	const char *name;
};

static int set_all(const struct row *rows, size_t count, struct err *err)
{
	struct rlimit limit;
	size_t i;

	for (i = 0; i < count; i++) {
		limit.rlim_cur = limit.rlim_max = rows[i].value;
		if (setrlimit((__rlimit_resource_t)rows[i].resource, &limit) < 0)
			return err_set(err, errno, "set %s", rows[i].name);
	}
	return 0;
}

int rlimits_set_cell(const struct rlimits_cell *limits, struct err *err)
{
	const struct row rows[] = {
		{RLIMIT_CORE, 0, "RLIMIT_CORE"},
		{RLIMIT_FSIZE, limits->file_mib * MIB, "RLIMIT_FSIZE"},
		{RLIMIT_NOFILE, limits->open_files, "RLIMIT_NOFILE"},
		{RLIMIT_NPROC, limits->processes, "RLIMIT_NPROC"},
		{RLIMIT_STACK, limits->stack_mib * MIB, "RLIMIT_STACK"},
		{RLIMIT_MEMLOCK, UINT64_C(64) * 1024, "RLIMIT_MEMLOCK"},
		{RLIMIT_MSGQUEUE, 0, "RLIMIT_MSGQUEUE"},
		{RLIMIT_SIGPENDING, 256, "RLIMIT_SIGPENDING"},
		{RLIMIT_LOCKS, 256, "RLIMIT_LOCKS"},
		{RLIMIT_NICE, 0, "RLIMIT_NICE"},
		{RLIMIT_RTPRIO, 0, "RLIMIT_RTPRIO"},
		{RLIMIT_RTTIME, 0, "RLIMIT_RTTIME"},
	};

	return set_all(rows, sizeof(rows) / sizeof(rows[0]), err);
}

int rlimits_set_role(const struct rlimits_role *limits, struct err *err)
{
	const struct row rows[] = {
		{RLIMIT_DATA, limits->data_bytes, "RLIMIT_DATA"},
		{RLIMIT_CORE, 0, "RLIMIT_CORE"},
		{RLIMIT_MEMLOCK, 0, "RLIMIT_MEMLOCK"},
		{RLIMIT_MSGQUEUE, 0, "RLIMIT_MSGQUEUE"},
		{RLIMIT_NICE, 0, "RLIMIT_NICE"},
		{RLIMIT_RTPRIO, 0, "RLIMIT_RTPRIO"},
		{RLIMIT_NOFILE, limits->open_files, "RLIMIT_NOFILE"},
	};

	return set_all(rows, sizeof(rows) / sizeof(rows[0]) - !limits->open_files, err);
}

int rlimits_set_job(const struct rlimits_job *limits, struct err *err)
{
	uint64_t memory = limits->memory_mib * MIB;
	uint64_t room = ((uint64_t)limits->processes * THREAD_STACK_MIB + MAPPED_FILES_MIB) * MIB;
	const struct row rows[] = {
		{RLIMIT_CPU, limits->cpu_s, "RLIMIT_CPU"},
		{RLIMIT_DATA, limits->data_bytes + memory, "RLIMIT_DATA"},
		{RLIMIT_AS, limits->address_bytes + memory + room, "RLIMIT_AS"},
	};

	return set_all(rows, sizeof(rows) / sizeof(rows[0]), err);
}
