#include "fcgi-app/launch.h"

#include "fcgi-app/exit_status.h"
#include "sandbox/identity.h"
#include "sandbox/log.h"
#include "sandbox/probe.h"
#include "sandbox/scope.h"
#include "sandbox/work_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
	BACKLOG = 4096,
	DESCRIPTORS_WANTED = 65536,
	DESCRIPTORS_LEAST = 4096,
	INSTANCES_MAX = 1000,
};

/* --- sockets ------------------------------------------------------------------------------- */

static int give_to_group(const char *path, const char *group, struct err *err)
{
	const struct group *entry;

	if (!*group)
		return 0;
	entry = getgrnam(group);
	if (!entry)
		return err_set(err, ENOENT, "socket_group %s", group);
	if (chown(path, (uid_t)-1, entry->gr_gid) < 0 || chmod(path, 0660) < 0)
		return err_set(err, errno, "give %s to group %s", path, group);
	return 0;
}

/* Whether somebody listens there: then it is not ours to take away. */
static bool is_alive(const struct sockaddr_un *address)
{
	SCOPE_FD probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = probe < 0 ? -1
			  : connect(probe, (const struct sockaddr *)address, sizeof(*address));

	return r == 0 || (probe >= 0 && errno == EAGAIN);
}

static int listen_at(const struct config *config, const char *name, int *listener, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	SCOPE_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	mode_t mask;
	int r;

	if (fd < 0)
		return err_set(err, errno, "make a socket");
	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", config->runtime_dir,
		    name) >= (int)sizeof(address.sun_path))
		return err_set(err, ENAMETOOLONG, "runtime_dir %s", config->runtime_dir);
	if (is_alive(&address))
		return err_set(err, EADDRINUSE, "%s: another instance listens there",
			address.sun_path);
	unlink(address.sun_path);
	mask = umask(0177);
	r = bind(fd, (const struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (r < 0 || listen(fd, BACKLOG) < 0)
		return err_set(err, errno, "listen at %s", address.sun_path);
	r = give_to_group(address.sun_path, config->socket_group, err);
	if (!r)
		*listener = fd_take(&fd);
	return r;
}

int launch_listen(const struct config *config, int *execute, int *control, struct err *err)
{
	int r;

	if (mkdir(config->runtime_dir, 0755) < 0 && errno != EEXIST)
		return err_set(err, errno, "make runtime_dir %s", config->runtime_dir);
	r = listen_at(config, "execute.sock", execute, err);
	return r < 0 ? r : listen_at(config, "control.sock", control, err);
}

/* --- what root, or the owner of the files, can still read ---------------------------------- */

static int open_file(const char *path, int flags, int *fd, struct err *err)
{
	*fd = open(path, flags | O_CLOEXEC);
	return *fd < 0 ? err_set(err, errno, "open %s", path) : 0;
}

/* Templates look it up by its name, below another working directory. */
static int find_venv(struct master_setup *setup, struct err *err)
{
	const char *path = setup->config->python_venv;
	SCOPE_FREE char *real = *path ? realpath(path, NULL) : NULL;

	if (!*path)
		return 0;
	if (!real)
		return err_set(err, errno, "python_venv %s", path);
	if (strlen(real) >= sizeof(setup->venv))
		return err_set(err, ENAMETOOLONG, "python_venv %s", path);
	memcpy(setup->venv, real, strlen(real) + 1);
	return 0;
}

static int open_files(struct master_setup *setup, struct err *err)
{
	const struct config *config = setup->config;
	int r = open_file(config->template_program, O_PATH, &setup->program, err);

	if (!r)
		r = open_file(config->seccomp_policy, O_RDONLY, &setup->policy, err);
	if (!r)
		r = open_file(config->dispatcher_policy, O_RDONLY, &setup->dispatcher_policy, err);
	if (!r)
		r = open_file(config->worker_policy, O_RDONLY, &setup->worker_policy, err);
	if (!r)
		r = open_file(config->harness_dir, O_RDONLY | O_DIRECTORY, &setup->harness, err);
	return r < 0 ? r : find_venv(setup, err);
}

/* Threads of the dispatcher need two descriptors each, an execution's channel number 1000. */
static int raise_descriptors(struct err *err)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return err_set(err, errno, "get RLIMIT_NOFILE");
	limit.rlim_cur = limit.rlim_max < DESCRIPTORS_WANTED ? limit.rlim_max : DESCRIPTORS_WANTED;
	if (limit.rlim_cur < DESCRIPTORS_LEAST)
		return err_set(err, EMFILE, "RLIMIT_NOFILE is %llu and has to be %d at least",
			(unsigned long long)limit.rlim_max, DESCRIPTORS_LEAST);
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return err_set(err, errno, "set RLIMIT_NOFILE");
	return 0;
}

/*
 * Instances on one machine must not share ids: a neighbour's pipes and processes would count
 * against one's own. An abstract socket, which goes with the process, marks a range as taken.
 */
static int take_id_range(uint32_t *host_base, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	uint32_t i;
	int fd, n;

	for (i = 0; i < INSTANCES_MAX; i++) {
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return err_set(err, errno, "make a socket");
		n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
			"vivarium/ids/%u", i);
		if (bind(fd, (const struct sockaddr *)&address,
			    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) ==
			0) {
			*host_base = IDENTITY_HOST_FIRST + i * IDENTITY_RANGE;
			return fd; /* open for as long as this process lives */
		}
		close(fd);
	}
	return err_set(err, EADDRINUSE, "find a free range of ids");
}

/* --- the launcher's own life --------------------------------------------------------------- */

/* Ends with the master's exit code; until then, what it is told it tells the master. */
static int pass_signals(pid_t master, const sigset_t *signals, int failure_code)
{
	int number, status;

	for (;;) {
		number = sigwaitinfo(signals, NULL);
		if (number == SIGTERM || number == SIGINT || number == SIGHUP)
			kill(master, number);
		if (number != SIGCHLD || waitpid(master, &status, WNOHANG) != master)
			continue;
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		log_error("launcher", "the master was killed by SIG%s",
			sigabbrev_np(WTERMSIG(status)));
		return failure_code;
	}
}

/* --- what is to be had here ---------------------------------------------------------------- */

static void say_missing(const struct probe_row *rows, uint32_t missing)
{
	size_t i;

	for (i = 0; i < LAYER_COUNT; i++) {
		if (LAYER_HAS(missing, i) && rows[i].title)
			log_warning("launcher", "missing: %s (%s): %s. Cure: %s",
				layer_name((enum layer)i), rows[i].title, rows[i].err.text,
				rows[i].cure);
	}
}

/* Decides on the layers; a required one that is missing is said with its cure. */
static int arrange(struct master_setup *setup, struct err *err)
{
	struct probe_row rows[LAYER_COUNT] = {0};
	uint32_t found = probe_layers_quickly(rows), *layers = &setup->arrangement.layers;
	int r = layers_plan((enum isolation)setup->config->isolation, found, layers, err);

	if (r < 0 || !setup->quiet)
		say_missing(rows, layers_missing(r < 0 ? found : *layers));
	return r;
}

static int add_work_dirs(const struct master_setup *setup, struct err *err)
{
	const struct arrangement *arrangement = &setup->arrangement;
	size_t cells = setup->workers * setup->cells_per_worker, i;
	char name[24];
	uint32_t id = arrangement_id(arrangement, IDENTITY_TEMPLATE), own;
	int r = work_dir_add(arrangement->work, "template", id, err);

	for (i = 0; !r && i < cells; i++) {
		snprintf(name, sizeof(name), "%zu", i);
		id = arrangement_id(arrangement, IDENTITY_CELL_FIRST + (uint32_t)i);
		own = arrangement_execution_id(arrangement, id);
		r = work_dir_add(arrangement->work, name, own ? own : id, err);
	}
	return r;
}

static int make_work_dirs(struct master_setup *setup, struct err *err)
{
	struct arrangement *arrangement = &setup->arrangement;
	int r;

	if (LAYER_HAS(arrangement->layers, LAYER_MOUNT))
		return 0;
	r = work_dir_begin(arrangement->work, sizeof(arrangement->work), err);
	if (r < 0) {
		*arrangement->work = '\0';
		return r;
	}
	return add_work_dirs(setup, err);
}

/* A parent that asked to be outlived by nobody (setpriv --pdeathsig): new credentials clear that. */
static int enter_user_namespace(uint32_t host_base, struct arrangement *arrangement,
	struct err *err)
{
	bool has_procfs = LAYER_HAS(arrangement->layers, LAYER_PROCFS);
	int flags = arrangement_flags(arrangement, CLONE_NEWNS), death_signal = 0, r;
	pid_t parent = getppid();
	uint32_t range;

	if (prctl(PR_GET_PDEATHSIG, &death_signal) < 0)
		return err_set(err, errno, "get the parent-death signal");
	r = identity_enter_service(flags | (has_procfs ? CLONE_NEWPID : 0), host_base, &range, err);
	arrangement->ranged = range > 1;
	if (r < 0 || !death_signal)
		return r;
	if (prctl(PR_SET_PDEATHSIG, death_signal) < 0)
		return err_set(err, errno, "set the parent-death signal");
	return getppid() == parent ? 0 : err_set(err, ECANCELED, "the parent has died");
}

/* Before the ids change, for nobody inside could. cgroup = required: with both, or no start. */
static int make_cgroup(struct master_setup *setup, struct err *err)
{
	struct cgroup *cgroup = &setup->cgroup;
	const char *wanted = setup->config->cgroup;

	if (strcmp(wanted, "off") == 0)
		cgroup_make_none(cgroup, "cgroup = off");
	else
		cgroup_make(cgroup, setup->workers * setup->cells_per_worker);
	if (strcmp(wanted, "required") == 0 && (!cgroup->memory || !cgroup->pids))
		return err_set(err, ENOENT, "cgroup = required, but %.180s", cgroup->text);
	return 0;
}

/* Without user namespaces root gives away ids as they are, and an ordinary user has the one. */
static int enter_service(uint32_t host_base, struct arrangement *arrangement, struct err *err)
{
	if (LAYER_HAS(arrangement->layers, LAYER_USER))
		return enter_user_namespace(host_base, arrangement, err);
	arrangement->ranged = LAYER_HAS(arrangement->layers, LAYER_OWN_UID);
	arrangement->id_base = identity_plain_base();
	if (arrangement->id_base == IDENTITY_HOST_FIRST)
		arrangement->id_base = host_base;
	return 0;
}

/* Forks the master and waits for its end. Returns the exit code or a negative errno. */
static int start_master(const struct master_setup *setup, struct err *err)
{
	sigset_t signals;
	pid_t master;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	master = fork();
	if (master < 0)
		return err_set(err, errno, "fork the master");
	if (!master) {
		setsid();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(master_main(setup));
	}
	if (setup->ready >= 0)
		close(setup->ready);
	if (setup->keys.reader >= 0)
		close(setup->keys.reader); /* the reader ends when the master does */
	return pass_signals(master, &signals, setup->failure_code);
}

struct master_setup launch_setup_one_cell(const struct config *config, struct library_sets *sets,
	const char *name, int (*front)(const struct front_setup *), const void *job)
{
	return (struct master_setup){.config = config,
		.sets = sets,
		.workers = 1,
		.cells_per_worker = 1,
		.template_trees = 1,
		.quiet = true,
		.execute_listener = -1,
		.control_listener = -1,
		.ready = -1,
		.feed = -1,
		.keys = {.reader = -1, .table = -1},
		.front_name = name,
		.front = front,
		.job = job,
		.failure_code = EXIT_STATUS_INTERNAL,
		.front_is_all = true};
}

int launch(struct master_setup *setup, struct err *err)
{
	uint32_t host_base = 0;
	int r = open_files(setup, err);

	if (!r)
		r = raise_descriptors(err);
	if (!r)
		r = arrange(setup, err);
	if (!r)
		r = make_cgroup(setup, err);
	if (!r && geteuid() == 0)
		r = take_id_range(&host_base, err);
	if (r >= 0)
		r = enter_service(host_base, &setup->arrangement, err);
	if (!r)
		r = make_work_dirs(setup, err);
	if (!r)
		r = start_master(setup, err);
	if (*setup->arrangement.work)
		work_dir_end(setup->arrangement.work);
	return r;
}
